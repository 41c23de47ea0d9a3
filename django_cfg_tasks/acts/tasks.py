"""Enqueues jobs of tasks that are known by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django_cfg_tasks.acts.jobs import NOT_DONE
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import UnknownTaskError, WrongStateError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task


def declared(name: str) -> Task[..., Any]:
    """Return a task of the project; UnknownTaskError where there is none of that name."""
    if name not in tasks:
        raise UnknownTaskError(f"No task is called {name!r}.")
    return tasks[name]


def enqueue(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[JobRecord, bool]:
    """Return the job, and whether it is new: one with the same id and arguments may be there already.

    WrongStateError where another one is in its way; raises what enqueueing raises.
    """
    record = task.record(args, kwargs)
    [existing] = get_rearq_client().enqueue([record])
    if existing is None:
        return record, True
    if existing.job_id != record.job_id:
        raise WrongStateError(f"{NOT_DONE}: {existing.job_id}.")
    if (existing.args, existing.kwargs) != (record.args, record.kwargs):
        raise WrongStateError("The job's id was used for a call with other arguments.")
    return existing, False


def run_now(name: str, user: Any) -> JobRecord:
    """Enqueue a job of a cron task for ``user``, the key of a user, whatever its schedule says.

    UnknownTaskError where no schedule has this name; raises as `enqueue` does.
    """
    task = declared(name)
    if task.cron is None:
        raise UnknownTaskError(f"The task {name!r} has no schedule.")
    record, _ = enqueue(task.using(user=user), (), {})
    return record
