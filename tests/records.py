"""Job records as the engine would send them, for tests of those who receive them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus

NOON = dt.datetime(2025, 10, 30, 12, 0, tzinfo=dt.UTC)


def queued(job_id: str = "job-1", **changes: Any) -> JobRecord:
    """A job that was just accepted."""
    fields: dict[str, Any] = {
        "job_id": job_id,
        "task": "send_email",
        "queue": "default",
        "args": ["a@example.com"],
        "kwargs": {"subject": "Hi"},
        "status": JobStatus.queued,
        "job_retry": 3,
        "job_retry_after": 60,
        "enqueue_time": NOON,
    }
    return JobRecord(**fields | changes)


def running(job_id: str = "job-1", attempt: int = 1, **changes: Any) -> JobRecord:
    """A job that a worker has claimed for the ``attempt``-th time."""
    fields = {
        "status": JobStatus.in_progress,
        "attempt": attempt,
        "owner": "host:1",
        "start_time": NOON + dt.timedelta(seconds=1),
        "attempts": [failure(number) for number in range(1, attempt)],
    }
    return queued(job_id, **fields | changes)


def succeeded(job_id: str = "job-1", **changes: Any) -> JobRecord:
    """A job that ended well at its first attempt, after 1.5 s."""
    start, finish = NOON + dt.timedelta(seconds=1), NOON + dt.timedelta(seconds=2.5)
    fields = {
        "status": JobStatus.success,
        "attempt": 1,
        "owner": "host:1",
        "start_time": start,
        "finish_time": finish,
        "result": {"sent": True},
        "attempts": [Attempt(1, "host:1", start, finish, AttemptOutcome.success)],
    }
    return queued(job_id, **fields | changes)


def failure(number: int, outcome: AttemptOutcome = AttemptOutcome.retried) -> Attempt:
    """An attempt that raised."""
    start = NOON + dt.timedelta(minutes=number)
    return Attempt(
        number,
        "host:1",
        start,
        start + dt.timedelta(milliseconds=250),
        outcome,
        error_class="ConnectionError",
        error_message="mail server said 451",
        traceback='Traceback (most recent call last):\n  File "mail.py", line 7, in send\nConnectionError: 451',
    )
