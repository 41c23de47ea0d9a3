"""Running what waits in memory, as workers and timers would: `run_enqueued`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django_cfg_tasks.job import Job
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.options import Moment, expire_time
from django_cfg_tasks.testing.enqueued import local_client

MOST_RUNS = 1000


def run_enqueued(*, until: Moment | None = None, most: int = MOST_RUNS, check: bool = True) -> list[Job[Any]]:
    """Run all jobs that wait and are due, and those that they enqueue, in this thread; return them in that order.

    ``until`` (seconds or a timedelta from now, or a datetime) runs those as well that are due by then. Retries follow
    at once. A job of a transaction that is open does not run, unless it is the transaction of a `django.test.TestCase`.

    AssertionError if a job failed for good, unless ``check`` is False; TasksError after ``most`` runs.
    """
    __tracebackhide__ = True
    client = local_client()
    ran, errors = client.call(client.run_waiting(_moment(until), most), instead="await arun_enqueued(...)")
    return _jobs(ran, client.load(ran), errors, check)


async def arun_enqueued(*, until: Moment | None = None, most: int = MOST_RUNS, check: bool = True) -> list[Job[Any]]:
    """`run_enqueued`, for async code."""
    __tracebackhide__ = True
    client = local_client()
    ran, errors = await client.run_waiting(_moment(until), most)
    return _jobs(ran, await client.aload(ran), errors, check)


def _moment(until: Moment | None) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    return expire_time(until, now) or now


def _jobs(
    ran: list[str], records: Mapping[str, JobRecord], errors: Mapping[str, BaseException], check: bool
) -> list[Job[Any]]:
    __tracebackhide__ = True
    found = [records[job_id] for job_id in ran if job_id in records]
    failed = [record for record in found if record.status is JobStatus.failed]
    if check and failed:
        lines = [f"  {record.task} {record.job_id}: {record.error_class}: {record.error_message}" for record in failed]
        raise AssertionError(
            f"{len(failed)} of {len(found)} jobs failed (check=False lets that pass):\n" + "\n".join(lines)
        ) from errors.get(failed[0].job_id)
    return [Job(record) for record in found]


__all__ = ["arun_enqueued", "run_enqueued"]
