"""Changes jobs that wait, and deletes jobs that have ended. What is done to the truth, its history shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import router

from django_cfg_tasks.acts.jobs import Outcome
from django_cfg_tasks.client import ReArqClient, get_rearq_client
from django_cfg_tasks.exceptions import JobNotFoundError, WrongStateError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.masking import MASK
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.retention import delete_logs
from django_cfg_tasks.signals import announce

MOST_ATTEMPTS = 5_000
"""That one statement deletes."""
_INSTEAD = "sync_to_async"


def edit(
    job_id: str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    job_retry: int | None = None,
    job_retry_after: int | None = None,
    expire: dt.datetime | None = None,
) -> JobRecord:
    """Change a job that waits, and return it as it is now; None leaves what it is about.

    WrongStateError where it waits no more: then nothing was changed. JobNotFoundError; and what enqueueing raises for
    arguments and options that can't be used.
    """
    client = get_rearq_client()
    old = client.load([job_id]).get(job_id)
    if old is None:
        raise JobNotFoundError(f"No job has the id {job_id!r}.")
    if old.unique_key is not None and (args, kwargs) != (None, None):
        raise WrongStateError("The job is unique by its arguments. Cancel it, and enqueue another.")
    if has_mask(args) or has_mask(kwargs):
        raise WrongStateError(f"{MASK} stands for a secret that is not shown, and can't be its value.")
    call: dict[str, Any] = {
        "job_id": job_id,
        "queue": old.queue or None,
        "job_retry": old.job_retry if job_retry is None else job_retry,
        "job_retry_after": old.job_retry_after if job_retry_after is None else job_retry_after,
        "expire": old.expire_time if expire is None else expire,
    }
    # What enqueueing would refuse is refused here as well.
    task = tasks[old.task].using(**call)
    new = task.record(old.args if args is None else args, old.kwargs if kwargs is None else kwargs)
    if call["expire"] is None:
        new.expire_time = None  # not the task's own, reckoned from now
    changed = client.call(client.store.edit(new), instead=_INSTEAD)
    if changed is None:
        status = client.load([job_id]).get(job_id, old).status
        raise WrongStateError(f"The job is {status}: only one that waits can be changed.")
    announce([changed])
    return changed


def remove_many(job_ids: Sequence[str]) -> Outcome:
    """Delete those of these jobs that have ended, with their attempts and their history.

    StoreUnavailableError while SQL is away.
    """
    client = get_rearq_client()
    records = client.load(list(job_ids))
    refused = {
        job_id: f"The job is {record.status}: cancel it first."
        for job_id, record in records.items()
        if not record.status.is_final
    }
    ids = [record.id for job_id, record in records.items() if job_id not in refused and record.id is not None]
    if ids:
        _delete(client, ids)
    # Those that are gone meanwhile, or were gone before, leave a history without a job.
    gone = set(job_ids) - refused.keys() - client.load([job_id for job_id in job_ids if job_id in records]).keys()
    alias = router.db_for_write(TaskLog)
    logs = TaskLog.objects.using(alias).filter(job_id__in=gone)
    delete_logs(alias, logs.values_list("pk", "queue_name", "status"))
    return Outcome(frozenset(gone), refused)


def has_mask(data: Any) -> bool:
    """Tell whether a value in this JSON data is what stands for a hidden one."""
    if isinstance(data, Mapping):
        return any(has_mask(value) for value in data.values())
    if isinstance(data, list | tuple):
        return any(has_mask(value) for value in data)
    return bool(data == MASK)


def _delete(client: ReArqClient, ids: list[int]) -> None:
    # Attempts first: in SQLite, nobody may see to foreign keys.
    while client.call(client.store.delete_attempts(ids, MOST_ATTEMPTS), instead=_INSTEAD) == MOST_ATTEMPTS:
        pass
    client.call(client.store.delete_jobs(ids), instead=_INSTEAD)
