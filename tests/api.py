"""What tests of the API share: addresses, and how answers are read."""

from __future__ import annotations

from typing import Any

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
