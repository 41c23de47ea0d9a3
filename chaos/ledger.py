"""The ledger: what producers and tasks saw with their own eyes, one line each, and the reading of it.

Writing needs nothing but a folder (``CHAOS_FOLDER``): no package, no server. A line is written in one piece, so that
those of many processes don't mix, and stands when its writer is killed the moment after.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from chaos.plan import POISON

FOLDER = "CHAOS_FOLDER"
RUNS = "runs.txt"
PRODUCERS = "producers.txt"


def note(name: str, *lines: tuple[object, ...]) -> None:
    """Write lines, each with the time, in one write in append mode."""
    text = "".join(f"{time.time():.4f} {' '.join(map(str, line))}\n" for line in lines)
    descriptor = os.open(Path(os.environ[FOLDER]) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(folder: Path, name: str) -> list[list[str]]:
    """Return the words of each whole line."""
    file = folder / name
    text = file.read_text() if file.exists() else ""
    return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]


@dataclass(slots=True)
class Run:
    """One run of a job, as its task noted it. ``ended`` is None where it was cut short without a word."""

    job_id: str
    attempt: int
    pid: int
    began: float
    ended: float | None = None
    how: str = ""
    """``end`` (it returned), ``raise`` (as its kind does), ``stopped`` (it was interrupted), or nothing."""


@dataclass(slots=True)
class Ledger:
    """All that was noted."""

    accepted: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Job id -> its kind, and when its producer was told."""
    rolled_back: set[str] = field(default_factory=set)
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    """Job id -> its runs, in the order of their beginning."""
    repeated: list[str] = field(default_factory=list)
    """Job ids that began twice as the same attempt."""

    def ends(self) -> list[float]:
        """Return when runs came to an end of their own, in order."""
        times = (run.ended for runs in self.runs.values() for run in runs if run.how in ("end", "raise"))
        return sorted(moment for moment in times if moment is not None)


def ran_poison(folder: Path, pid: int) -> bool:
    """Tell whether a process has begun a poison task."""
    return any(line[-1] == str(pid) and is_poison(line[2]) for line in read(folder, RUNS))


def is_poison(job_id: str) -> bool:
    """Tell whether this is the id of a poison job."""
    return job_id.startswith(f"{POISON}-")


def load(folder: Path) -> Ledger:
    """Read what was noted in ``folder``."""
    ledger = Ledger()
    for moment, verb, _producer, _step, *job in read(folder, PRODUCERS):
        if verb == "accepted":
            ledger.accepted[job[0]] = (job[1], float(moment))
        elif verb == "rolled-back":
            ledger.rolled_back.add(job[0])
    by_attempt: dict[tuple[str, int, int], Run] = {}
    for moment, verb, job_id, attempt, pid in read(folder, RUNS):
        key = (job_id, int(attempt), int(pid))
        if verb == "start":
            if any(run.attempt == int(attempt) for run in ledger.runs[job_id]):
                ledger.repeated.append(job_id)
            by_attempt[key] = Run(*key, began=float(moment))
            ledger.runs[job_id].append(by_attempt[key])
        else:
            by_attempt[key].ended, by_attempt[key].how = float(moment), verb
    return ledger
