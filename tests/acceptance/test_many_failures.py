"""Thousands of jobs of a task that fails at random: attempts, retries and final states add up in all three tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import random
from django_cfg_tasks import Retry, task

@task(bind=True, job_retry=3, job_retry_after=0)
async def moody(ctx, number: int):
    mood = random.random()
    if mood < 0.2:
        raise ValueError(f"bad mood {number}")
    if mood < 0.3:
        raise Retry(countdown=0.2)
    if mood < 0.4 and ctx.attempt < 10:
        raise Retry(countdown=0, count=False)
    return [ctx.attempt, ctx.job_retries]
"""
ENQUEUE = """\
from shop.tasks import moody
for start in range(0, {jobs}, 1000):
    moody.enqueue_many([(number,) for number in range(start, start + 1000)])
"""
OPEN = """\
from django_cfg_tasks.models import TaskLog
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM rearq_job WHERE status IN ('queued', 'deferred', 'in_progress')")
    emit([cursor.fetchone()[0], TaskLog.objects.filter(success=None).count()])
"""
# For each job: status, retries, attempts in rearq_job; attempts and last outcome in rearq_job_results.
ADD_UP = """\
import json
from collections import Counter
from django.db import connection
from django_cfg_tasks.models import TaskLog

def rows(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()

jobs = {row[0]: row[1:] for row in rows("SELECT job_id, status, job_retries, attempt FROM rearq_job")}
outcomes = {}
for job_id, outcome, number, result in rows(
    "SELECT j.job_id, r.outcome, r.attempt, r.result FROM rearq_job_results r JOIN rearq_job j ON j.id = r.job_id "
    "ORDER BY r.attempt"
):
    outcomes.setdefault(job_id, []).append((number, outcome, result))
faults = []
for job_id, (status, retries, attempts) in jobs.items():
    kept = outcomes[job_id]
    names = [outcome for _, outcome, _ in kept]
    if [number for number, _, _ in kept] != list(range(1, attempts + 1)):
        faults.append(f"{job_id}: attempts {kept} of {attempts}")
    if names != ["retried"] * (attempts - 1) + [status]:
        faults.append(f"{job_id}: {status} after {names}")
    if not (retries <= 3 and retries < attempts and (status != "failed" or retries == 3)):
        faults.append(f"{job_id}: {retries} retries in {attempts} attempts, {status}")
    if status == "success" and json.loads(kept[-1][2]) != [attempts, retries]:
        faults.append(f"{job_id}: the task saw {kept[-1][2]}, the tables {[attempts, retries]}")
for row in TaskLog.objects.iterator():
    kept = [(attempt["attempt"], attempt["outcome"]) for attempt in row.attempts]
    if jobs.pop(row.job_id) != (row.status, row.job_retries, len(row.attempts)):
        faults.append(f"{row.job_id}: TaskLog says {row.status}, {row.job_retries}, {len(row.attempts)}")
    if kept != [(number, outcome) for number, outcome, _ in outcomes[row.job_id]]:
        faults.append(f"{row.job_id}: TaskLog's attempts are {kept}")
emit([len(outcomes), sorted(jobs), faults[:10], Counter(row.status for row in TaskLog.objects.all())])
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["postgres"])
def test_all_adds_up(make_project: Callable[..., TaskProject], database: str) -> None:
    jobs = 10_000
    project = make_project(TASKS, database=database, rearq={"max_jobs": 50})
    for number in range(2):
        project.worker("--with-timer", name=f"worker-{number}")
    project.run(ENQUEUE.format(jobs=jobs), timeout=120)

    def left() -> Any:
        return project.json(OPEN)

    wait_until(lambda: left() == [0, 0], "every job is final, in the history too", timeout=240)
    found, unknown, faults, statuses = project.json(ADD_UP, timeout=120)
    assert (found, unknown, faults) == (jobs, [], [])
    assert set(statuses) == {"success", "failed"}
    assert sum(statuses.values()) == jobs
