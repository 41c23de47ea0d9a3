"""One job's row, and those that are like it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from django_cfg_tasks.history.unions import any_of
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.masking import mask, mask_arguments
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks

SHORT = (
    "id",
    "job_id",
    "task_name",
    "queue_name",
    "status",
    "success",
    "job_retries",
    "duration_ms",
    "enqueue_time",
    "start_time",
    "finish_time",
    "worker_id",
    "user",
)
"""The columns of a list: what fits a table, none that may be large."""
NEIGHBOURS = 1_000
"""Jobs of the same task, before a job and after it, that are compared with it."""
MOST_RELATED = 50
MOST_RUNNING = 1_000
"""Running jobs that are told with their workers."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker runs, by the task log."""

    pk: int
    job_id: str
    task_name: str
    start_time: dt.datetime | None
    progress: float | None


def find(key: str, queryset: QuerySet[TaskLog]) -> TaskLog | None:
    """Return the row with this id, else the row of the job with this id; None if there is neither."""
    if "\x00" in key:
        return None
    wanted = Q(job_id=key)
    if key.isascii() and key.isdecimal() and len(key) < 19:
        wanted |= Q(pk=int(key))
    found = sorted(queryset.filter(wanted).order_by()[:2], key=lambda log: str(log.pk) != key)
    return found[0] if found else None


def related_to(log: TaskLog) -> list[TaskLog]:
    """Return up to `MOST_RELATED` other jobs, newest first, in one query.

    A task may have millions, and no index knows arguments: only `NEIGHBOURS` on both sides are looked at. Where a task
    keeps its arguments out of the log, none are known to be alike.
    """
    linked = Q(retry_of__gt="", retry_of=log.job_id)
    if log.retry_of:
        linked |= Q(job_id=log.retry_of) | Q(retry_of__gt="", retry_of=log.retry_of)
    near = [TaskLog.objects.filter(linked).order_by()[:MOST_RELATED]]
    wanted = linked
    task = tasks.get(log.task_name)
    if task is None or task.options.log_args:
        same = TaskLog.objects.filter(task_name=log.task_name)
        near.append(same.filter(enqueue_time__gte=log.enqueue_time).order_by("enqueue_time")[:NEIGHBOURS])
        near.append(same.filter(enqueue_time__lt=log.enqueue_time).order_by("-enqueue_time")[:NEIGHBOURS])
        wanted |= Q(args=log.args, kwargs=log.kwargs)
    found = TaskLog.objects.filter(wanted, pk__in=any_of(near)).exclude(pk=log.pk)
    return list(found.only(*SHORT, "retry_of")[:MOST_RELATED])


def running_by_worker(alias: str) -> dict[str, list[RunningJob]]:
    """Return what each worker runs, the newest first, as far as the log knows; up to `MOST_RUNNING` jobs in all."""
    running = TaskLog.objects.using(alias).filter(status=JobStatus.in_progress.value).order_by("-enqueue_time")
    rows = running.values_list("worker_id", "pk", "job_id", "task_name", "start_time", "progress")
    found: dict[str, list[RunningJob]] = {}
    for worker, pk, job_id, task_name, start_time, progress in rows[:MOST_RUNNING]:
        found.setdefault(worker, []).append(RunningJob(pk, job_id, task_name, start_time, progress))
    return found


def masked(log: TaskLog) -> tuple[list[Any], dict[str, Any], Any]:
    """Return the arguments and the result that may be shown: rows may be older than what their task says of them now.

    Where a task keeps its arguments out of the log, they are empty.
    """
    task = tasks.get(log.task_name)
    if task is not None and not task.options.log_args:
        return [], {}, None
    parameters, extra_keys = (task.parameters, task.options.mask) if task is not None else ((), ())
    args = log.args if isinstance(log.args, list) else []
    kwargs = log.kwargs if isinstance(log.kwargs, dict) else {}
    shown_args, shown_kwargs = mask_arguments(args, kwargs, parameters, extra_keys)
    return shown_args, shown_kwargs, mask(log.result, extra_keys)


def first_start(log: TaskLog) -> dt.datetime | None:
    """Return when a job started for the first time; attempts that another process wrote are read with care."""
    attempts = log.attempts if isinstance(log.attempts, list) else []
    for attempt in attempts:
        text = attempt.get("start_time") if isinstance(attempt, dict) else None
        if isinstance(text, str):
            try:
                started = dt.datetime.fromisoformat(text)
            except ValueError:
                continue
            return started if timezone.is_aware(log.enqueue_time) == timezone.is_aware(started) else log.start_time
    return log.start_time
