"""Redis after very many jobs: what was acknowledged is gone, and no key has grown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task

@task(job_retry=1, job_retry_after=0)
async def noop(number: int):
    if number % 1000 == 0:
        raise ValueError(number)
"""
JOBS = 100_000
FINAL = """
from django.db import connection
cursor = connection.cursor()
cursor.execute("SELECT COUNT(*) FROM rearq_job WHERE status IN ('success', 'failed')")
emit(cursor.fetchone()[0])
"""


def sizes(redis_server: Any) -> dict[str, int]:
    with redis_server.client() as redis:
        return {key: redis.memory_usage(key, samples=0) for key in redis.scan_iter()}


def run_jobs(project: TaskProject, first: int, count: int) -> None:
    project.run(
        "from shop.tasks import noop\n"
        f"for start in range({first}, {first + count}, 5000):\n"
        f"    noop.enqueue_many([[n] for n in range(start, min(start + 5000, {first + count}))])",
        timeout=300,
    )
    wait_until(lambda: project.json(FINAL) == first + count, f"{first + count} final jobs", timeout=600)


@pytest.mark.timeout(1200)
def test_no_key_has_grown_after_100_000_jobs(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS, database="postgres", rearq={"max_jobs": 50})
    worker = project.worker("--with-timer")
    worker.wait_for_log("leads")
    run_jobs(project, 0, 1000)
    before = sizes(redis_server)
    run_jobs(project, 1000, JOBS)
    with redis_server.client() as redis:
        wait_until(lambda: redis.xlen("rearq:queue:default") == 0, "all is acknowledged", timeout=30)
        assert redis.xpending("rearq:queue:default", "rearq")["pending"] == 0
    after = sizes(redis_server)
    print(before, after)
    lasting = {"rearq:pulse", "rearq:grace", "rearq:swept", "rearq:timer:leader"}
    assert after.keys() - lasting <= before.keys()
    # A stream keeps the pages that it has got; a few of them, whatever went through.
    assert all(after[key] <= before[key] + 4096 for key in after if key in before), (before, after)
    worker.sigterm()
    assert worker.wait() == 0
