"""Retries and cancels jobs: one, which is done or refused, or many, of which each is.

A retry is a new job of the same task with the arguments and options of the old, and its link. What was asked for comes
from the truth, never from the history, in which secrets are masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError, UnknownTaskError, WrongStateError, is_sql_away
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.registry import tasks

LINK = "retry_of"
"""The option of a job that names the one it runs again."""
_DELETED = "The job itself was deleted, only its history is left."
NOT_DONE = "The task is unique, and an equal job is not done"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of an act on many jobs: the ids of those it was done to, and why it was not done to the others."""

    done: frozenset[str]
    refused: Mapping[str, str]


def retry(job_id: str) -> JobRecord:
    """Run a job again that has ended, and return the new one.

    WrongStateError says why it can't be; StoreUnavailableError, or an EnqueueError caused by it, while SQL is away.
    """
    client = get_rearq_client()
    new = _rerun_of(client.load([job_id]).get(job_id))
    [existing] = client.enqueue([new])
    if existing is not None:
        raise WrongStateError(f"{NOT_DONE}: {existing.job_id}.")
    return new


def retry_many(ids: Mapping[str, str]) -> Outcome:
    """Run those of these jobs again that have ended. ``ids`` maps them to the ids of the new jobs.

    So it may be repeated: a new job that is there already counts as done. Raises as `retry` does while SQL is away.
    """
    client = get_rearq_client()
    records = client.load(list(ids))
    done: set[str] = set()
    refused: dict[str, str] = {}
    for job_id, new_id in ids.items():
        try:
            new = _rerun_of(records.get(job_id), new_id)
            [existing] = client.enqueue([new])
        except TasksError as error:
            if is_sql_away(error):
                raise
            refused[job_id] = str(error)
            continue
        if existing is None or existing.job_id == new.job_id:
            done.add(job_id)
        else:
            refused[job_id] = f"{NOT_DONE}."
    return Outcome(frozenset(done), refused)


def cancel(job_id: str) -> JobRecord:
    """Cancel a job that has not ended, tell one that runs to stop, and return it as it was.

    WrongStateError says why it can't be.
    """
    client = get_rearq_client()
    record = client.load([job_id]).get(job_id)
    if record is None:
        raise WrongStateError(_DELETED)
    if record.status.is_final or job_id not in client.cancel_many([job_id]):
        raise WrongStateError(_ended(client.load([job_id]).get(job_id, record)))
    return record


def cancel_many(job_ids: Sequence[str]) -> Outcome:
    """Cancel those of these jobs that have not ended."""
    client = get_rearq_client()
    done = client.cancel_many(job_ids)
    others = [job_id for job_id in job_ids if job_id not in done]
    records = client.load(others) if others else {}
    refused = {job_id: _ended(records[job_id]) if job_id in records else _DELETED for job_id in others}
    return Outcome(frozenset(done), refused)


def _ended(record: JobRecord) -> str:
    return f"The job has ended already: {record.status}."


def _rerun_of(old: JobRecord | None, job_id: str | None = None) -> JobRecord:
    """Return a new job, not stored yet, that runs ``old`` again at once; WrongStateError where that can't be.

    Queue, retries, timeout and user are the old job's; a lock, a key or a time to expire are reckoned anew.
    """
    if old is None:
        raise WrongStateError(f"{_DELETED[:-1]}: it can't be run again.")
    if not old.status.is_final:
        raise WrongStateError(f"The job is {old.status}: only one that has ended can be run again.")
    timeout = old.options.get("job_timeout")
    call: dict[str, Any] = {
        "job_id": job_id,
        "queue": old.queue or None,
        "job_retry": old.job_retry,
        "job_retry_after": old.job_retry_after,
        "job_timeout": math.inf if timeout == "inf" else timeout,
        "user": old.options.get("user"),
    }
    try:
        new = tasks[old.task].using(**call).record(old.args, old.kwargs)
    except UnknownTaskError as error:
        raise WrongStateError(f"The job's task {old.task!r} is not declared any more.") from error
    except TasksError as error:
        if is_sql_away(error):
            raise
        raise WrongStateError(f"The job can't be run again: {error}") from error
    new.options[LINK] = old.job_id
    return new
