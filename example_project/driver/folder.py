"""The folder that a run of the demo writes to: one run at a time, and nothing of yours is deleted."""

import fcntl
import os
import shutil
from pathlib import Path

MARK = ".shop-demo"


class FolderRefused(Exception):
    """The folder can't be used; the message says why."""


def claim(folder: Path, *, ours: bool) -> int:
    """Make the folder ready for use by this run, and return the descriptor of the lock that keeps others out.

    Raises FolderRefused if another run uses it, or if there are files in it and nothing says that they may be
    deleted: it is not `ours`, and no demo has used it before.

    The lock ends with the last process that has the descriptor. Hand it to the children: if this process is
    killed, a worker that it left behind still keeps the next run from changing the database under its feet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    if not ours and not mark.exists() and any(folder.iterdir()):
        raise FolderRefused(f"{folder} holds files that are not the demo's. Give another one: --var FOLDER")
    lock = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise FolderRefused(
            f"another demo is running in {folder} (or left a process behind). Stop it, or: --var FOLDER"
        ) from None
    return lock


def empty(folder: Path) -> None:
    """Delete what earlier runs left in a claimed folder."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARK:
            entry.unlink()
