"""Decides whether the promise was kept: holds the ledger, SQL, Redis and the log of faults against each other.

Each `Check` counts something that must not be; its examples say of which jobs. Pure: it reads no server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chaos.causes import Lives, Repeats, explain_repeats, failed_as_poison, lives_of, overlaps, unexpected_failures
from chaos.faults import Event
from chaos.fleet import Life
from chaos.ledger import Ledger
from chaos.plan import MUST_FAIL, POISON, Fault
from chaos.times import Times, measure
from chaos.witness import FINAL, Doorbell, JobRow

EXAMPLES = 10


@dataclass(frozen=True)
class Check:
    """Something that must not be, or (``tolerated``) that is only worth knowing; and where it was."""

    what: str
    found: list[str]
    tolerated: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.found) and not self.tolerated


@dataclass(frozen=True)
class Evidence:
    """All that is known when everything has ended."""

    ledger: Ledger
    jobs: dict[str, JobRow]
    doorbell: Doorbell
    lives: Sequence[Life]
    events: Sequence[Event]
    left_out: Sequence[Fault]
    told_wrong: Sequence[str]
    """In what the metrics differ from SQL."""
    told_less: Sequence[str]
    """Counters of the metrics that fell."""
    complaints: Sequence[str]
    """What went wrong with the processes, or with the run itself."""


@dataclass(frozen=True)
class Verdict:
    """What came of a run."""

    accepted: int
    unheard: int
    """Jobs that were stored though their producer was not told, for it was killed or SQL was cut off."""
    ran: int
    runs: int
    statuses: Counter[str]
    repeats: Repeats
    times: Times
    checks: list[Check] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not any(check.failed for check in self.checks)


def audit(evidence: Evidence) -> Verdict:
    """Judge a run."""
    ledger, jobs = evidence.ledger, evidence.jobs
    lives = lives_of(evidence.lives, ledger)
    repeats = explain_repeats(ledger, jobs, lives)
    return Verdict(
        accepted=len(ledger.accepted),
        unheard=len(jobs.keys() - ledger.accepted.keys()),
        ran=len(ledger.runs),
        runs=sum(map(len, ledger.runs.values())),
        statuses=Counter(job.status for job in jobs.values()),
        repeats=repeats,
        times=measure(ledger, jobs, evidence.events, lives),
        checks=[
            *_jobs(ledger, jobs),
            *_runs(ledger, jobs, lives, repeats),
            *_history(jobs.values()),
            *_redis(evidence.doorbell),
            Check("metrics that say otherwise than SQL", list(evidence.told_wrong)),
            Check("counters of the metrics that fell", list(evidence.told_less)),
            Check("processes that failed, waiting in vain", list(evidence.complaints)),
            Check("planned faults that found no target", [str(fault) for fault in evidence.left_out]),
        ],
    )


def _jobs(ledger: Ledger, jobs: dict[str, JobRow]) -> Iterator[Check]:
    yield Check(
        "lost: accepted, and not final",
        [_status(job_id, jobs) for job_id in ledger.accepted if job_id not in jobs or jobs[job_id].status not in FINAL],
    )
    yield Check(
        "stuck: not final in SQL", [_status(job_id, jobs) for job_id in jobs if jobs[job_id].status not in FINAL]
    )
    yield Check(
        "rolled back, and there all the same",
        [job_id for job_id in ledger.rolled_back if job_id in jobs or job_id in ledger.runs],
    )
    wrong = (
        job.job_id
        for job in jobs.values()
        if (job.task in MUST_FAIL and job.status != "failed") or (job.task == POISON and not failed_as_poison(job))
    )
    yield Check("should have failed, and did not", [_status(job_id, jobs) for job_id in wrong])


def _runs(ledger: Ledger, jobs: dict[str, JobRow], lives: Lives, repeats: Repeats) -> Iterator[Check]:
    by_driver, others = unexpected_failures(jobs.values(), lives)
    yield Check("innocent jobs that failed", others)
    yield Check(
        "innocent jobs that failed because the driver killed or froze their last chance", by_driver, tolerated=True
    )
    yield Check("runs beyond the first that nothing explains", repeats.unexplained)
    yield Check("two runs of a job at once", list(overlaps(ledger, lives)))
    yield Check("attempts that began twice", list(ledger.repeated))
    yield Check("successes without a run that came to its end", list(_hollow(ledger, jobs)))
    yield Check(
        "more than one outcome for an attempt, or more than one success for a job",
        [
            job.job_id
            for job in jobs.values()
            if any(len(recorded) > 1 for recorded in job.attempts.values())
            or sum(attempt.outcome == "success" for recorded in job.attempts.values() for attempt in recorded) > 1
        ],
    )


def _hollow(ledger: Ledger, jobs: dict[str, JobRow]) -> Iterator[str]:
    for job in jobs.values():
        if job.status == "success":
            ended = {run.attempt for run in ledger.runs.get(job.job_id, ()) if run.how == "end"}
            good = {number for number, kept in job.attempts.items() if any(a.outcome == "success" for a in kept)}
            if not ended & good:
                yield f"{job.job_id}: attempts {sorted(ended)} came to an end, {sorted(good)} are called a success"


def _history(jobs: Iterable[JobRow]) -> Iterator[Check]:
    yield Check(
        "history (TaskLog) that is missing or says otherwise",
        [f"{job.job_id} is {job.status}, in the history {job.history}" for job in jobs if job.history != job.status],
    )


def _redis(bell: Doorbell) -> Iterator[Check]:
    yield Check("entries left in the streams", bell.entries)
    yield Check("entries never acknowledged", bell.pending)
    yield Check("keys left in Redis", bell.others)
    yield Check("names left in the list of workers", bell.workers)
    yield Check("consumers left in the groups", bell.consumers)


def _status(job_id: str, jobs: dict[str, JobRow]) -> str:
    if job_id not in jobs:
        return f"{job_id} is not in SQL"
    job = jobs[job_id]
    attempts = [
        f"{a.number} {a.outcome} by {a.worker}" for number in sorted(job.attempts) for a in job.attempts[number]
    ]
    return f"{job_id} is {job.status} after {', '.join(attempts) or 'no attempt'}"
