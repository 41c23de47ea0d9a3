"""Keeps measured tables in the docs' pages: each benchmark owns the section that has its name."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

EXPLANATION = Path(__file__).resolve().parent.parent / "docs" / "explanation"
PAGE = EXPLANATION / "performance.md"
SCALING = EXPLANATION / "scaling.md"
WIDTH = 120


def write_section(name: str, text: str, file: Path = PAGE) -> None:
    """Put ``text`` (Markdown) between the page's marks ``<!-- name -->`` and ``<!-- /name -->``.

    ValueError where the page has no such section.
    """
    page = file.read_text(encoding="utf-8")
    text = "\n".join(_wrapped(line) for line in text.strip().splitlines())
    marks = re.compile(f"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"{file} has no section {name!r}.")
    file.write_text(marks.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page), encoding="utf-8")


def _wrapped(line: str) -> str:
    """Keep a line of prose within the page's width; rows of tables stay as they are."""
    if line.startswith("|") or len(line) <= WIDTH:
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
