"""What tests of the API share: addresses, and how answers are read."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django_cfg_tasks.jobs import JobStatus
from tests.records import NOON, failure, queued

LOGS = "/cfg/tasks/logs/"
ROW_FIELDS = {
    "id", "job_id", "task_name", "queue_name", "status", "status_display", "success", "job_retries", "duration_ms",
    "enqueue_time", "start_time", "finish_time", "worker_id", "user",
}  # fmt: skip


def ids(answer: Any) -> list[str]:
    """Return the job ids of a list, which must have been answered."""
    assert answer.status_code == 200, answer.content
    return [row["job_id"] for row in answer.json()["results"]]


def refused(answer: Any) -> list[str]:
    """Return which parameters a 400 names."""
    assert answer.status_code == 400, answer.content
    return list(answer.json())


def failed(job_id: str, **changes: Any) -> Any:
    """A job whose last attempt failed, after five seconds."""
    start = NOON + dt.timedelta(seconds=10)
    fields: dict[str, Any] = {
        "status": JobStatus.failed,
        "job_retries": 2,
        "start_time": start,
        "finish_time": start + dt.timedelta(seconds=5),
        "error_class": "ConnectionError",
        "error_message": "Mail server said 451",
        "attempts": [failure(1), failure(2)],
        "owner": "other:7",
    }
    return queued(job_id, **fields | changes)
