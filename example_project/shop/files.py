"""Writes files that others read meanwhile."""

import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write the file, replacing an older one. Its readers see all of the old text or all of the new.

    That holds if this process dies half-way, too: the text goes to another name first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
