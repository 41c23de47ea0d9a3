"""How soon work went on after each fault, and how soon orphaned jobs were started again. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.causes import Lives
from chaos.faults import Event
from chaos.ledger import Ledger
from chaos.plan import LEASE
from chaos.stage import MAX_DELIVERIES
from chaos.witness import JobRow

SERVERS = ("redis-", "postgres-", "timer-")


@dataclass(slots=True)
class Orphan:
    """A job whose worker was killed or frozen while it ran, and how many seconds later it was started again."""

    job_id: str
    cause: str
    seconds: float
    meanwhile: list[str]
    """What else delayed it: other faults in this time (of a server: also shortly before), and that it ran alone."""


@dataclass(slots=True)
class Times:
    """Seconds, by kind of fault."""

    next_end: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From the end of a fault to the next run that came to its end."""
    orphans: list[Orphan] = field(default_factory=list)
    waits: list[tuple[float, str]] = field(default_factory=list)
    """From a job's acceptance to its first start, and its id; of those that were due at once, the longest first."""


def measure(ledger: Ledger, jobs: Mapping[str, JobRow], events: Sequence[Event], lives: Lives) -> Times:
    """Measure a run."""
    times, ends = Times(), ledger.ends()
    moments = [(event.kind, event.ended) for event in events]
    moments += [("poison", moment) for moment in lives.poisoned.values()]
    for kind, moment in moments:
        if (index := bisect_right(ends, moment)) < len(ends):
            times.next_end[kind].append(ends[index] - moment)
    for job_id, runs in ledger.runs.items():
        for before, after in pairwise(runs):
            recorded = jobs[job_id].attempts.get(before.attempt, []) if job_id in jobs else []
            fate = lives.fate(before.pid, before.began, after.began)
            if fate is not None and any(attempt.outcome == "orphaned" for attempt in recorded):
                cause, moment = fate
                meanwhile = _meanwhile(events, lives, moment, after.began)
                if _deaths(jobs[job_id], before.attempt) >= MAX_DELIVERIES - 1:
                    meanwhile.append("its last chance, alone")
                times.orphans.append(Orphan(job_id, cause, after.began - moment, meanwhile))
    times.waits = sorted(_waits(ledger), reverse=True)
    return times


def _waits(ledger: Ledger) -> Iterator[tuple[float, str]]:
    for job_id, (kind, accepted) in ledger.accepted.items():
        if kind != "late" and ledger.runs.get(job_id):
            # A job may start before its producer has noted the answer.
            yield max(0.0, ledger.runs[job_id][0].began - accepted), job_id


def _deaths(job: JobRow, until_attempt: int) -> int:
    return sum(
        attempt.outcome == "orphaned"
        for number, recorded in job.attempts.items()
        if number <= until_attempt
        for attempt in recorded
    )


def _meanwhile(events: Iterable[Event], lives: Lives, since: float, until: float) -> list[str]:
    found = [
        event.kind
        for event in events
        if event.began < until
        and since < event.ended + (LEASE if event.kind.startswith(SERVERS) else 0)
        # The fault itself is not "meanwhile".
        and not (event.began <= since <= event.ended and not event.kind.startswith(SERVERS))
    ]
    return found + ["poison" for moment in lives.poisoned.values() if since < moment < until]
