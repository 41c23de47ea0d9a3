"""README and docs, read as blocks: what is shown in fences, and what comments hide from the reader.

A comment starts with what it is: ``<!-- test: bare worker -->`` says how the page is run, ``<!-- setup: code -->``
and ``<!-- check: code -->`` are Python that runs at that place, ``<!-- file: path`` with lines below it is a file
of the project. A fence of Python whose first line is a path (``# shop/tasks.py``) is that file, or more of it. A fence
of ``python before`` is what a page converts from another library: it is parsed, and not run.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONTRIBUTING, CHANGELOG = ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_PART = re.compile(
    r"^```(?P<language>[^\n`]*)\n(?P<fenced>.*?)^```[ \t]*$"
    r"|<!-- (?P<kind>\w+): ?(?P<hidden>.*?)-->",
    re.MULTILINE | re.DOTALL,
)
_PATH = re.compile(r"# (?P<path>[\w/]+\.py)\n")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_IMAGE = re.compile(r"!\[(?P<text>[^\]\n]*)\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
HIDDEN = ("test", "setup", "check", "file")


@dataclass(frozen=True)
class Block:
    """One fence or comment. ``kind`` is a fence's language, or the first word of a comment."""

    page: Path
    line: int
    kind: str
    text: str
    path: str = ""
    """The project's file that it belongs to, if any."""

    @property
    def place(self) -> str:
        return f"{name(self.page)}:{self.line}"


def name(page: Path) -> str:
    """Return a page's path as the reader knows it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks in their order. ``line`` is that of a block's first line of text."""
    return list(_blocks(page, page.read_text()))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    for match in _PART.finditer(text):
        if match["fenced"] is not None:
            line = text.count("\n", 0, match.start("fenced")) + 1
            path = _PATH.match(match["fenced"]) if match["language"] == "python" else None
            yield Block(page, line, match["language"], match["fenced"], path["path"] if path else "")
            continue
        line = text.count("\n", 0, match.start("hidden")) + 1
        if match["kind"] == "file":
            path_line, _, content = match["hidden"].partition("\n")
            yield Block(page, line + 1, "file", content, path_line.strip())
        else:
            yield Block(page, line, match["kind"], match["hidden"])


def options(page: Path) -> set[str]:
    """Return the words of the page's ``test`` comment."""
    return {word for block in blocks(page) if block.kind == "test" for word in block.text.split()}


def prose(page: Path) -> str:
    """Return a page without its fences and comments."""
    return _PART.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the targets of all links, anchors included."""
    return [match["target"] for match in _LINK.finditer(prose(page))]


def images(page: Path) -> list[tuple[str, str]]:
    """Return the texts and the targets of all pictures."""
    return [(match["text"], match["target"]) for match in _IMAGE.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them: of two that are equal the second ends in -1."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        numbered = (anchor if not number else f"{anchor}-{number}" for number in itertools.count())
        found.add(next(each for each in numbered if each not in found))
    return found


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its first two lines."""
    section = re.split(rf"^#+ {re.escape(heading)} *$", page.read_text(), maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]
