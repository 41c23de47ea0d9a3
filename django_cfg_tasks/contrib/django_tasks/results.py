"""A job as Django's ``TaskResult`` shows it. Pure: what is asked of whom, the backend knows."""

from __future__ import annotations

import builtins
import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.utils import timezone

from django_cfg_tasks import conf
from django_cfg_tasks.contrib.django_tasks.framework import (
    AnyResult,
    AnyTask,
    InvalidTask,
    TaskError,
    TaskResult,
    TaskResultStatus,
)
from django_cfg_tasks.contrib.django_tasks.priorities import queue_and_level
from django_cfg_tasks.jobs import AttemptOutcome, JobRecord, JobStatus

OPTION = "django_task"
"""The option of a job that holds what its queue and its times don't tell of Django's task."""

_STATUSES = {
    JobStatus.deferred: TaskResultStatus.READY,
    JobStatus.queued: TaskResultStatus.READY,
    JobStatus.in_progress: TaskResultStatus.RUNNING,
    JobStatus.success: TaskResultStatus.SUCCESSFUL,
}
_CANCELED = "django_cfg_tasks.exceptions.JobCanceledError"
_EXPIRED = "django_cfg_tasks.exceptions.JobExpiredError"


def described(task: AnyTask) -> dict[str, Any]:
    """Return what to keep of a task with its job, beside its queue: nothing, for one that is all defaults."""
    kept: dict[str, Any] = {}
    if task.priority:
        kept["priority"] = int(task.priority)
    if task.run_after is not None:
        kept["run_after"] = task.run_after.isoformat()
    return {OPTION: kept} if kept else {}


def task_of(record: JobRecord, declared: AnyTask) -> AnyTask:
    """Return the task as it was when the job was enqueued, as far as the backend still takes it."""
    kept = record.options.get(OPTION) or {}
    queue, level = queue_and_level(record.queue or declared.queue_name)
    priority, run_after = kept.get("priority", level), kept.get("run_after")
    if run_after is None and (priority, queue) == (declared.priority, declared.queue_name):
        return declared
    try:
        return declared.using(
            priority=priority,
            queue_name=queue,
            run_after=dt.datetime.fromisoformat(run_after) if run_after is not None else None,
        )
    except InvalidTask:  # a queue that it has no more, or that somebody chose who runs the job again
        return declared


def result_of(record: JobRecord, task: AnyTask) -> AnyResult:
    """Return what is known of a job: its attempts must be loaded."""
    attempts = record.attempts
    workers = [attempt.worker or "" for attempt in attempts]
    # Of a run that goes on, or was told to stop, nothing is recorded yet. What expired was claimed, and never ran.
    started = None if record.status is JobStatus.expired and not attempts else record.start_time
    if len(attempts) < record.attempt and record.status in (JobStatus.in_progress, JobStatus.canceled):
        workers.append(record.owner or "")
    result: AnyResult = TaskResult(
        task=task,
        id=record.job_id,
        status=_STATUSES.get(record.status, TaskResultStatus.FAILED),
        enqueued_at=_shown(record.enqueue_time),
        started_at=_shown(attempts[0].start_time if attempts else started),
        last_attempted_at=_shown(started),
        finished_at=_shown(record.finish_time) if record.status.is_final else None,
        args=record.args,
        kwargs=record.kwargs,
        backend=task.backend,
        errors=list(_errors(record)),
        worker_ids=workers,
    )
    if record.status is JobStatus.success:
        object.__setattr__(result, "_return_value", record.result)
    return result


def _errors(record: JobRecord) -> Iterator[TaskError]:
    """What each run raised, then why a job ended that did not run to its end."""
    for attempt in record.attempts:
        if attempt.outcome in (AttemptOutcome.failed, AttemptOutcome.retried, AttemptOutcome.orphaned):
            kind = attempt.error_class or "WorkerLostError"
            text = attempt.traceback or f"{kind}: {attempt.error_message or 'the run was cut off.'}\n"
            yield TaskError(exception_class_path=_path(kind), traceback=text)
    if record.status is JobStatus.canceled:
        yield TaskError(exception_class_path=_CANCELED, traceback=f"{_CANCELED}: The job was canceled.\n")
    elif record.status is JobStatus.expired:
        at = f" at {record.expire_time.isoformat()}" if record.expire_time else ""
        text = f"{_EXPIRED}: The job expired{at} before it could start.\n"
        yield TaskError(exception_class_path=_EXPIRED, traceback=text)


def _path(name: str) -> str:
    """Return where an exception class can be imported from; the engine leaves the module out where it is plain."""
    if "." in name:
        return name
    return f"{'builtins' if hasattr(builtins, name) else 'django_cfg_tasks.exceptions'}.{name}"


def _shown(moment: dt.datetime | None) -> dt.datetime | None:
    """Return a moment as Django's own would be: naive, in local time, where it uses no time zones."""
    if moment is None or conf.uses_time_zones():
        return moment
    return timezone.make_naive(moment, conf.current_timezone())
