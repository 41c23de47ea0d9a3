"""The main job, through the real command line: from ``@task`` to a finished TaskLog row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.project import TaskProject

TASKS = """\
import time, uuid, asyncio, datetime as dt
from django_cfg_tasks import task, cron_task, Retry

@task
async def add(a: int, b: int) -> int:
    return a + b

@task(queue="threads")
def add_sync(a: int, b: int) -> int:
    from django.contrib.auth.models import User
    return a + b + User.objects.count()

@task(job_retry=0)
async def boom(text: str):
    raise ValueError(text)

@task(job_retry=2, job_retry_after=0)
async def flaky(stamp: str):
    raise RuntimeError("again")

@task(bind=True, job_retry=1)
async def patient(ctx, day: dt.date):
    if ctx.job_retries == 0:
        raise Retry(countdown=0.5)
    ctx.progress(1, "done")
    return [ctx.attempt, str(type(day)), day]

@task
async def shapeless():
    return object()
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
@pytest.mark.parametrize("own_database", [False, True], ids=["django-db", "db_url"])
def test_jobs_run_to_their_end(
    make_project: Callable[..., TaskProject], database: str, own_database: bool, request: pytest.FixtureRequest
) -> None:
    rearq = {}
    if own_database:
        rearq["db_url"] = "sqlite:///./jobs.db"
        if database != "sqlite":
            server = request.getfixturevalue(f"{database}_server")
            rearq["db_url"] = server.url(request.getfixturevalue(f"{database}_database"))
    project = make_project(TASKS, database=database, rearq=rearq)
    # Enqueued before the first worker ever started.
    first = project.json("from shop.tasks import add\nemit(add.enqueue(1, b=2).job_id)")
    worker = project.worker("--with-timer")
    worker.wait_for_log("consumes default, threads")
    answer = project.json(
        """
import asyncio
from shop.tasks import *
from django_cfg_tasks import get_rearq_client, JobStatus
from django_cfg_tasks.job import Job
jobs = [add.enqueue(2, 3), add_sync.enqueue(2, 3), boom.enqueue("x"), flaky.enqueue("s"),
        patient.enqueue(dt.date(2026, 1, 2)), shapeless.enqueue(),
        add.using(countdown=0.3).enqueue(5, 5)]
results = [job.wait(timeout=20) for job in jobs]
emit([[r.success, r.get_result_data(), r.error, str(r.status)] if r else None for r in results])
"""
    )
    assert answer[0] == [True, 5, None, "success"]
    assert answer[1] == [True, 5, None, "success"]
    assert answer[2] == [False, None, "ValueError: x", "failed"]
    assert answer[3] == [False, None, "RuntimeError: again", "failed"]
    assert answer[4] == [True, [2, "<class 'datetime.date'>", "2026-01-02"], None, "success"]
    assert answer[5][0] is False
    assert "can't be stored as JSON" in answer[5][2]
    assert answer[6] == [True, 10, None, "success"]
    worker.sigterm()
    assert worker.wait() == 0
    logs = project.json(
        "from django_cfg_tasks.models import TaskLog\n"
        "emit([[t.job_id, t.task_name, t.status, t.job_retries, len(t.attempts), t.success, t.duration_ms is not None]"
        " for t in TaskLog.objects.order_by('enqueue_time')])"
    )
    assert [row[1:] for row in logs] == [
        ["add", "success", 0, 1, True, True],
        ["add", "success", 0, 1, True, True],
        ["add_sync", "success", 0, 1, True, True],
        ["boom", "failed", 0, 1, False, True],
        ["flaky", "failed", 2, 3, False, True],
        ["patient", "success", 1, 2, True, True],
        ["shapeless", "failed", 0, 1, False, True],
        ["add", "success", 0, 1, True, True],
    ]
    assert logs[0][0] == first
