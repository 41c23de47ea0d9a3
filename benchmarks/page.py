"""Keeps measured tables in ``docs/explanation/performance.md``: each benchmark owns the section that has its name."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "performance.md"


def write_section(name: str, text: str) -> None:
    """Put ``text`` (Markdown) between the page's marks ``<!-- name -->`` and ``<!-- /name -->``.

    ValueError where the page has no such section.
    """
    page = PAGE.read_text(encoding="utf-8")
    marks = re.compile(f"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"{PAGE} has no section {name!r}.")
    PAGE.write_text(marks.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", page), encoding="utf-8")
