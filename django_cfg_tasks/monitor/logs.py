"""The end of a worker's log file, where ``logs_dir`` keeps some: as its lines are, nothing masked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import PermissionDenied

from django_cfg_tasks.acts.permissions import MANAGE
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import JobNotFoundError, WrongStateError
from django_cfg_tasks.live import ask, workers

MOST_BYTES = 256 * 1024


def tail(user: Any, name: str) -> str:
    """Return the last `MOST_BYTES` of a worker's log. Lines may hold what tasks log, so it asks for more than to look.

    WrongStateError where none is kept on this machine.
    """
    if not user.has_perm(MANAGE):
        raise PermissionDenied(f"That needs the permission {MANAGE}: tasks may log anything.")
    folder = get_rearq_client().rearq_config.logs_dir
    if folder is None:
        raise WrongStateError("Workers write no log files: RearqConfig.logs_dir is not set.")
    # Only names on the list, which are never a way to other files.
    if name not in {worker.name for worker in ask(workers)} or os.sep in name or "\0" in name:
        raise JobNotFoundError(f"No worker is called {name!r}.")
    # A timer that runs beside a worker writes to the worker's.
    own, beside = (Path(folder) / f"worker-{each}.log" for each in (name, name.removesuffix("-timer")))
    try:
        with (own if own.exists() else beside).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - MOST_BYTES))
            text = file.read(MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise WrongStateError(f"The log of {name} is not on this machine ({error.strerror}).") from None
    return text.partition("\n")[2] if end > MOST_BYTES else text
