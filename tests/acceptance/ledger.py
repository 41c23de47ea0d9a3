"""Tasks that leave a line for each run in a file, and the reading of it: how often did each job really run?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

LEDGER = """\
import os
from pathlib import Path

def note(line):
    # One write in append mode: lines of many processes don't mix.
    descriptor = os.open(Path(__file__).parent / "ledger.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\\n".encode())
    finally:
        os.close(descriptor)
"""


def runs(folder: Path) -> Counter[str]:
    """Return how often each line was noted."""
    file = folder / "shop" / "ledger.txt"
    return Counter(file.read_text().splitlines() if file.exists() else [])
