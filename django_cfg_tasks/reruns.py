"""Runs jobs again that have ended: a new job of the same task with the arguments and options of the old, and its link.

What was asked for comes from the truth, never from the history, in which secrets are masked.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import TasksError, is_sql_away
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.registry import tasks

logger = logging.getLogger("django_cfg_tasks.client")

LINK = "retry_of"
"""The option of a job that names the one it runs again."""


def rerun_of(old: JobRecord, job_id: str | None = None) -> JobRecord:
    """Return a new job, not stored yet, that runs ``old`` again at once.

    Queue, retries, timeout and user are the old job's; a lock, a key or a time to expire are reckoned anew.
    UnknownTaskError for a task that this process does not know, ArgumentsError where today's signature differs.
    """
    timeout = old.options.get("job_timeout")
    call: dict[str, Any] = {
        "job_id": job_id,
        "queue": old.queue or None,
        "job_retry": old.job_retry,
        "job_retry_after": old.job_retry_after,
        "job_timeout": math.inf if timeout == "inf" else timeout,
        "user": old.options.get("user"),
    }
    new = tasks[old.task].using(**call).record(old.args, old.kwargs)
    new.options[LINK] = old.job_id
    return new


def rerun_many(client: ReArqClient, ids: Mapping[str, str]) -> set[str]:
    """Run those of these jobs again that are final; return their ids. ``ids`` maps them to the ids of the new jobs.

    So it may be repeated: a new job that is there already counts. Left out, with a line in the log for each, is what
    can't be run again now. StoreUnavailableError, or an EnqueueError caused by it, while SQL is away.
    """
    done: set[str] = set()
    for job_id, old in client.load(list(ids)).items():
        if not old.status.is_final:
            continue
        try:
            new = rerun_of(old, ids[job_id])
            [existing] = client.enqueue([new])
        except TasksError as error:
            if is_sql_away(error):
                raise
            logger.info("Job %s is not run again. %s", job_id, error)
            continue
        if existing is None or existing.job_id == new.job_id:
            done.add(job_id)
        else:
            logger.info("Job %s is not run again: its like, %s, is not done.", job_id, existing.job_id)
    return done
