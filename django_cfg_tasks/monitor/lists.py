"""What the lists of jobs and of results show: rows of the task log that the filters of ReArq's pages let through.

Read as the admin reads them: by its indexes, with secrets masked, and counted without reading millions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.history.counts import EXACT, estimate, with_count
from django_cfg_tasks.history.filters import filtered_by
from django_cfg_tasks.history.rows import masked
from django_cfg_tasks.models import NEWEST_FIRST, TaskLog

MOST_ROWS = 100
"""Of one page."""
MOST_SKIPPED = 10_000
"""Rows before a page: to skip more costs seconds, and who wants older ones says from when."""

JOB_FILTERS = {
    "job_id": "job_id",
    "status": "status",
    "worker": "worker_id",
    "start_time": "start_time",
    "end_time": "end_time",
    "finish_time": "end_time",
}
"""What ReArq's pages ask by, and the filters of the task log that answer. A task's name is compared as it is."""
RESULT_FILTERS = {
    "job_id": "job_id",
    "worker": "worker_id",
    "start_time": "finished_after",
    "end_time": "finished_before",
    "finish_time": "finished_before",
}


class AskedWronglyError(TasksError):
    """A filter has a value that can't be read."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Some rows, and how many there are in all; ``counted`` says that it is not a guess."""

    rows: list[dict[str, Any]]
    total: int
    counted: bool
    offset: int
    limit: int


def list_jobs(query: Mapping[str, str]) -> Listed:
    """Return the jobs that ``query`` asks for, newest first."""
    return _listed(_found(query, JOB_FILTERS), query, job_row)


def list_results(query: Mapping[str, str]) -> Listed:
    """Return what came of the jobs that have ended, newest first."""
    found = _found(query, RESULT_FILTERS).completed()
    if (success := query.get("success")) in ("0", "1"):
        found = found.successful() if success == "1" else found.exclude(status="success")
    return _listed(found, query, result_row)


def job_row(log: TaskLog) -> dict[str, Any]:
    """Return a job as ReArq's server describes it, with its queue and its worker."""
    args, kwargs, _ = masked(log)
    return {
        "id": log.pk,
        "job_id": log.job_id,
        "task": log.task_name,
        "queue": log.queue_name,
        "worker": log.worker_id,
        "args": args,
        "kwargs": kwargs,
        "job_retry": log.job_retry,
        "job_retries": log.job_retries,
        "job_retry_after": log.job_retry_after,
        "enqueue_time": log.enqueue_time,
        "expire_time": log.expire_time,
        "status": log.status,
    }


def result_row(log: TaskLog) -> dict[str, Any]:
    """Return what came of a job as ReArq's server describes it: what it returned, or its error."""
    _, _, result = masked(log)
    error = ": ".join(part for part in (log.error_class, log.error_message) if part)
    return {
        "id": log.pk,
        "worker": log.worker_id,
        "success": bool(log.success),
        "result": result if log.success else error or None,
        "start_time": log.start_time,
        "finish_time": log.finish_time,
        "job": job_row(log),
    }


def _found(query: Mapping[str, str], filters: Mapping[str, str]) -> Any:
    logs = TaskLog.objects.all()
    if task := query.get("task"):
        if "\0" in task:
            raise AskedWronglyError("task: no name has a null character in it.")
        logs = logs.filter(task_name=task)
    wanted = {theirs: query[name] for name, theirs in filters.items() if query.get(name)}
    try:
        return filtered_by(wanted, logs)
    except ValidationError as error:
        raise AskedWronglyError("; ".join(error.messages)) from error


def _listed(logs: QuerySet[TaskLog], query: Mapping[str, str], row: Any) -> Listed:
    limit = min(_number(query, "limit", 10) or 1, MOST_ROWS)
    offset = _number(query, "offset", 0)
    if offset > MOST_SKIPPED:
        raise AskedWronglyError(f"offset={offset}: at most {MOST_SKIPPED}. Say from when to when instead.")
    counting = with_count(logs)
    if counting is None:
        return Listed([], 0, True, offset, limit)
    # Not what may be large and is not shown.
    page = list(counting.defer("traceback", "attempts").order_by(*NEWEST_FIRST)[offset : offset + limit])
    total = page[0].counted if page else (0 if offset == 0 else logs.order_by()[: EXACT + 1].count())  # type: ignore[attr-defined]
    counted = total <= EXACT
    return Listed([row(log) for log in page], total if counted else max(total, estimate(logs)), counted, offset, limit)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise AskedWronglyError(f"{name}={text!r}: it takes a whole number from 0.")
    return int(text)
