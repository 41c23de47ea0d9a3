"""Why a job ran more than once, and whether two of its runs overlapped. Pure: ledger, rows and lives, no servers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.fleet import Life
from chaos.ledger import Ledger, Run, is_poison
from chaos.plan import MUST_FAIL
from chaos.witness import Attempt, JobRow

RETRIED = frozenset({"flaky", "failing"})
WAKING = 1.0
"""Seconds that a worker which was frozen for longer than its lease may need to say that it lives: until then its jobs,
those among them that it starts in this moment, may be taken over."""


FREEZE = 10.0
"""Seconds; longer than any fault freezes a worker for."""


@dataclass(slots=True)
class Lives:
    """All processes, by pid, and when they died."""

    by_pid: dict[int, Life]
    poisoned: dict[int, float]
    """When the processes that a poison task killed died: no supervisor sees that as exactly as its ledger line."""

    def death(self, pid: int) -> float:
        """Return when a process was at its end; infinity while it lives."""
        life = self.by_pid[pid]
        if life.killed == "poison" and pid in self.poisoned:
            return self.poisoned[pid]
        return life.ended if life.ended is not None else math.inf

    def frozen(self, pid: int, since: float, until: float) -> float | None:
        """Return when the process was frozen, if it was in that time; None otherwise."""
        for begun, ended in self.by_pid[pid].stops:
            if begun < until and since < ended + WAKING:
                return begun
        return None

    def fate(self, pid: int, since: float, until: float) -> tuple[str, float] | None:
        """Return what ended the lease of a process in that time, and when; None if nothing known did."""
        life, death = self.by_pid[pid], self.death(pid)
        if life.killed is not None and death < until:
            return life.killed, death
        if (frozen := self.frozen(pid, since, until)) is not None:
            return "worker-stop", frozen
        if life.asked is not None and death < until:
            return "shutdown without SQL", death
        return None


def lives_of(lives: Iterable[Life], ledger: Ledger) -> Lives:
    """Put the processes in order."""
    poisoned = {run.pid: run.began for job_id in ledger.runs for run in ledger.runs[job_id] if is_poison(job_id)}
    return Lives({life.pid: life for life in lives}, poisoned)


@dataclass(slots=True)
class Repeats:
    """The runs beyond the first."""

    causes: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)


def explain_repeats(ledger: Ledger, jobs: dict[str, JobRow], lives: Lives) -> Repeats:
    """Find the reason for each run beyond a job's first: how the run before it ended, and who was to blame."""
    repeats = Repeats()
    for job_id, runs in ledger.runs.items():
        for before, after in pairwise(runs):
            job = jobs.get(job_id)
            cause = _cause(job, before, after, lives) or _late_cause(job, before, after, lives)
            if cause is None:
                repeats.unexplained.append(_both(before, after, jobs.get(job_id)))
            else:
                repeats.causes[cause] += 1
    return repeats


def _cause(job: JobRow | None, before: Run, after: Run, lives: Lives) -> str | None:
    recorded = job.attempts.get(before.attempt, []) if job else []
    if job is None or len(recorded) != 1 or f"-{before.pid}-" not in recorded[0].worker:
        return None
    outcome = recorded[0].outcome
    if outcome == "retried":
        return "retry by design" if job.task in RETRIED and before.how == "raise" else None
    if outcome == "released":
        return "released by a shutdown" if lives.by_pid[before.pid].asked is not None else None
    if outcome == "orphaned":
        fate = lives.fate(before.pid, before.began, after.began)
        return f"orphaned by {fate[0]}" if fate else None
    return None


def _late_cause(job: JobRow | None, before: Run, after: Run, lives: Lives) -> str | None:
    """Find the reason for a run that began after its successor: its worker was frozen on the way to its first line."""
    recorded = job.attempts.get(after.attempt, []) if job else []
    if after.attempt >= before.attempt or [attempt.outcome for attempt in recorded] != ["orphaned"]:
        return None
    frozen = lives.frozen(after.pid, before.began - FREEZE, after.began)
    return "begun late by a worker that was frozen, its outcome dropped" if frozen is not None else None


def overlaps(ledger: Ledger, lives: Lives) -> Iterator[str]:
    """Yield the runs of one job that overlapped though nobody had stopped the worker of the earlier one."""
    for runs in ledger.runs.values():
        for before, after in pairwise(runs):
            ended = min(before.ended or math.inf, lives.death(before.pid))
            if after.began < ended and lives.frozen(before.pid, before.began, after.began) is None:
                yield _both(before, after, None)


def unexpected_failures(jobs: Iterable[JobRow], lives: Lives) -> tuple[list[str], list[str]]:
    """Return the innocent jobs that failed: those for which the driver is to blame, and the others.

    The driver is to blame where the job failed because too many workers died over it, and the last of them, in which
    it ran alone, was killed or frozen by a fault: poison beside it had not been enough.
    """
    by_driver: list[str] = []
    others: list[str] = []
    for job in jobs:
        if job.status != "failed" or job.task in MUST_FAIL:
            continue
        attempts = [attempt for number in sorted(job.attempts) for attempt in job.attempts[number]]
        causes = [_blame(attempt, lives) for attempt in attempts if attempt.outcome == "orphaned"]
        line = f"{job.job_id}: {', '.join(_shown(attempt) for attempt in attempts)}; blamed on {causes}"
        (by_driver if failed_as_poison(job) and causes[-1] not in ("poison", "nobody") else others).append(line)
    return by_driver, others


def failed_as_poison(job: JobRow) -> bool:
    """Tell whether a job was given up because too many workers died over it."""
    return bool(job.attempts) and job.attempts[max(job.attempts)][-1].error_class == "PoisonedJobError"


def _blame(attempt: Attempt, lives: Lives) -> str:
    pid = int(attempt.worker.split("-")[-2])
    fate = lives.fate(pid, attempt.began, attempt.ended) if pid in lives.by_pid else None
    return fate[0] if fate else "nobody"


def _both(before: Run, after: Run, job: JobRow | None) -> str:
    recorded = job.attempts.get(before.attempt, []) if job else []
    ended = f"{before.how} at {before.ended:.2f}" if before.ended else "cut"
    outcome = f"; recorded: {', '.join(map(_shown, recorded)) or 'nothing'}" if job else ""
    return (
        f"{before.job_id}: attempt {before.attempt} in {before.pid} from {before.began:.2f} ({ended}),"
        f" attempt {after.attempt} in {after.pid} from {after.began:.2f}{outcome}"
    )


def _shown(attempt: Attempt) -> str:
    return f"{attempt.number} {attempt.outcome} {attempt.error_class} by {attempt.worker}".replace("  ", " ")
