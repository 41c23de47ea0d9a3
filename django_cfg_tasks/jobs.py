"""What a job is: its statuses, its record and its attempts, as plain data.

Everyone above talks about jobs in these terms; nothing here knows where a job is kept or how it is run.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import operator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

MAX_NAME = 200
"""The longest task name and job id: the width of ReArq's columns."""
MAX_QUEUE_NAME = 100
"""The longest queue name."""

FINAL_REVISION = 2**31 - 1
"""The `JobRecord.revision` of every final state."""


def shortened(name: str, longest: int) -> str:
    """Return ``name``, or where it is longer than ``longest`` (133 at least), one as unique that is not."""
    return name if len(name) <= longest else f"{name[:100]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"


class JobStatus(StrEnum):
    """The states of a job; the values are ReArq's."""

    deferred = "deferred"
    queued = "queued"
    in_progress = "in_progress"
    success = "success"
    failed = "failed"
    expired = "expired"
    canceled = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state will never run again."""
        return self in FINAL


FINAL = frozenset({JobStatus.success, JobStatus.failed, JobStatus.expired, JobStatus.canceled})
WAITING = frozenset({JobStatus.queued, JobStatus.deferred})


class AttemptOutcome(StrEnum):
    """How one attempt at a job ended."""

    success = "success"
    failed = "failed"
    retried = "retried"
    released = "released"
    """Put back in the queue by a worker that shut down; no retry was used."""
    canceled = "canceled"
    expired = "expired"
    orphaned = "orphaned"
    """Its worker died."""


@dataclass(slots=True)
class Attempt:
    """One run of a job by one worker."""

    number: int
    worker: str
    start_time: dt.datetime | None
    finish_time: dt.datetime | None
    outcome: AttemptOutcome
    error_class: str | None = None
    error_message: str | None = None
    traceback: str | None = None

    @property
    def duration(self) -> float | None:
        """How long it ran, in seconds; None where that is not known."""
        if self.start_time is None or self.finish_time is None:
            return None
        return max(0.0, (self.finish_time - self.start_time).total_seconds())

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON shows it: times in ISO 8601, UTC."""
        return {
            "attempt": self.number,
            "worker": self.worker,
            "start_time": self.start_time.isoformat() if self.start_time else None,
            "finish_time": self.finish_time.isoformat() if self.finish_time else None,
            "outcome": self.outcome.value,
            "error_class": self.error_class,
            "error_message": self.error_message,
            "traceback": self.traceback,
        }


@dataclass(slots=True)
class JobRecord:
    """All that is known of one job at one moment: its row, and its attempts as far as they were loaded.

    Times are aware, in UTC. ``args``, ``kwargs`` and ``result`` are plain JSON data. ``options`` holds what
    ReArq's row has no column for (``user``, ``job_timeout``).
    """

    job_id: str
    task: str
    queue: str
    args: list[Any]
    kwargs: dict[str, Any]
    status: JobStatus
    job_retry: int
    job_retry_after: int
    enqueue_time: dt.datetime
    job_retries: int = 0
    expire_time: dt.datetime | None = None
    due_time: dt.datetime | None = None
    options: dict[str, Any] = field(default_factory=dict)
    id: int | None = None
    owner: str | None = None
    attempt: int = 0
    deliveries: int = 0
    start_time: dt.datetime | None = None
    finish_time: dt.datetime | None = None
    result: Any = None
    error_class: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    progress: float | None = None
    progress_message: str = ""
    unique_key: str | None = None
    """What no other job that waits or runs may have. Its first letter says how long: until the Start, until Done, for
    a Time, which ends at ``unique_until``."""
    unique_until: dt.datetime | None = None
    even_if_disabled: bool = False

    @property
    def revision(self) -> int:
        """How far along its life this record is: a later state always has a higher number.

        The n-th claim counts 2n - 1, going back to the queue after it 2n, and a final state more than any.
        A projection that only ever replaces a row by one of an equal or higher revision never moves back.
        """
        if self.status in FINAL:
            return FINAL_REVISION
        return 2 * self.attempt - (self.status is JobStatus.in_progress)

    @property
    def success(self) -> bool | None:
        """True or False once the job is final, None before."""
        return self.status is JobStatus.success if self.status in FINAL else None

    @property
    def duration_ms(self) -> int | None:
        """How long the last attempt ran, in milliseconds; None while it has not ended or never started."""
        if self.start_time is None or self.finish_time is None:
            return None
        return max(0, round((self.finish_time - self.start_time).total_seconds() * 1000))

    def snapshot(self) -> JobRecord:
        """Return a copy that later changes to this record leave alone."""
        copy = JobRecord(*_all_of(self))
        copy.attempts = self.attempts.copy()
        return copy


_all_of = operator.attrgetter(*(field.name for field in fields(JobRecord)))  # `replace` takes five times as long
