"""The public API as type checkers see it: mypy --strict on code that uses it, right and wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]

# As a user has it: without our own settings, and with the plugin that makes pydantic's models strict.
CONFIG = """\
[mypy]
strict = true
plugins = pydantic.mypy
follow_imports = silent
ignore_missing_imports = true

[pydantic-mypy]
init_forbid_extra = true
init_typed = true
"""

Errors = set[tuple[int, str]]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Errors]:
    """What mypy says of each case: line numbers and kinds of error."""
    folder = tmp_path_factory.mktemp("mypy")
    (folder / "mypy.ini").write_text(CONFIG)
    options = ["--no-error-summary", "--no-pretty", "--hide-error-context", "--cache-dir", folder / "cache"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini", *options, *sorted(CASES.glob("*.py"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert not done.stderr, done.stderr
    found: dict[str, Errors] = {path.name: set() for path in CASES.glob("*.py")}
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"(.*\.py):(\d+): error: .*  \[([a-z-]+)\]", line):
            found[Path(match[1]).name].add((int(match[2]), match[3]))
        else:
            assert ": note: " in line, line
    return found


def test_right_code_is_accepted(reported: dict[str, Errors]) -> None:
    assert reported["accepted.py"] == set()


def test_each_mistake_is_found_where_it_is(reported: dict[str, Errors]) -> None:
    lines = (CASES / "refused.py").read_text().splitlines()
    marked = {
        (number, kind)
        for number, line in enumerate(lines, 1)
        if "# E: " in line
        for kind in line.rpartition("# E: ")[2].split(", ")
    }
    assert len(marked) > 20
    assert reported["refused.py"] == marked
