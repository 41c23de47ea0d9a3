"""The users of Redis that docs/howto/secure-redis.md makes: the real things run with exactly their rights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.docs import pages
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

PAGE = pages.ROOT / "docs" / "howto" / "secure-redis.md"
_USER = re.compile(r"^ACL SETUSER (?P<name>[\w-]+) on >(?P<password>\S+) .+$", re.MULTILINE)

TASKS = """\
import asyncio
from pathlib import Path
from django_cfg_tasks import cron_task, get_rearq_client, task

@task
async def add(a: int, b: int) -> int:
    async with get_rearq_client().lock("adding", wait=10):
        return a + b

@task(job_retry=1, job_retry_after=0)
def fails_once() -> None:
    if not Path("failed").exists():
        Path("failed").touch()
        raise ValueError

@task(run_with_lock=True)
async def alone() -> None:
    await asyncio.sleep(0.2)

@task(rate_limit="5/s", max_concurrent=1)
async def slowly() -> None:
    pass

@task
async def endless() -> None:
    await asyncio.sleep(600)

@cron_task("* * * * * *")
async def tick() -> None:
    pass
"""

CALLER = """
from django_cfg_tasks import get_rearq_client
from shop.tasks import add, alone, endless, fails_once, slowly
from django_cfg_tasks.models import TaskLog
from tests.waiting import wait_until
client = get_rearq_client()
with client.lock("mine"):
    pass
canceled = endless.enqueue()
jobs = [add.enqueue(1, 2), add.using(countdown=1).enqueue(3, 4), *alone.enqueue_many([[]] * 3)]
jobs += slowly.enqueue_many([[]] * 8)
statuses = [job.wait(timeout=60).status for job in (*jobs, fails_once.enqueue())]
wait_until(lambda: canceled.refresh().status == "in_progress", "it runs")
canceled.cancel()
statuses.append(canceled.wait(timeout=10).status)
emit(statuses)
"""

OVERVIEW = """
from tests.waiting import wait_until
from django_cfg_tasks.health import check_health
from django_cfg_tasks import get_rearq_client, live
from shop.tasks import add
client = get_rearq_client()
client.disable("add")
parked = add.using(even_if_disabled=True).enqueue(5, 6)
wait_until(lambda: live.ask(live.queues)[0].waiting_at_gates, "it waits")
client.enable("add")
standing = live.ask_all()
emit([check_health().as_dict(), len(standing.workers), len(standing.queues), parked.wait(timeout=30).status])
"""


def users() -> dict[str, tuple[str, str]]:
    """Return name -> (password, line)."""
    return {match["name"]: (match["password"], match[0]) for match in _USER.finditer(PAGE.read_text())}


@pytest.mark.long
def test_the_rights_suffice(make_project: Callable[..., TaskProject], make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(password="operator")
    with server.client() as redis:
        for _, line in users().values():
            redis.execute_command(*line.split())

        def at(user: str) -> dict[str, str]:
            return {"TASKS_REDIS_URL": f"redis://{user}:{users()[user][0]}@127.0.0.1:{server.port}/2"}

        settings = 'import os\nDJANGO_CFG_TASKS["rearq"]["redis_url"] = os.environ["TASKS_REDIS_URL"]\n'
        project = make_project(TASKS, rearq={"lease": 2, "shutdown_timeout": 1}, settings=settings)
        project.write("shop/tasks.py", TASKS)
        processes = [
            project.worker(name="worker", env=at("tasks-worker")),
            project.timer(name="timer", env=at("tasks-timer")),
            project.worker("--with-timer", name="both", env=at("tasks-worker")),
        ]
        processes[0].wait_for_log("consumes")
        processes[2].wait_for_log("consumes")
        processes[1].wait_for_log("started")
        caller = project.start_code(CALLER, name="caller", env=at("tasks-web"))
        assert caller.wait(90) == 0, caller.output
        assert set(caller.output.split()) >= {'["success",'}, caller.output
        overview = project.start_code(OVERVIEW, name="overview", env=at("tasks-worker"))
        assert overview.wait(60) == 0, overview.output
        health, workers, queues, parked = json.loads(overview.output.splitlines()[-1])
        assert health["healthy"], health
        assert (workers, queues, parked) == (4, 1, "success")

        # One worker dies with a job, one timer takes over from the other, Redis forgets all.
        project.start_code("from shop.tasks import endless\nendless.enqueue()", name="last", env=at("tasks-web")).wait(
            60
        )
        processes[2].sigkill()
        redis.execute_command("SCRIPT", "FLUSH")
        redis.flushall()
        processes[0].wait_for_log("is gone", timeout=30)
        wait_until(lambda: redis.execute_command("SELECT", 2) and redis.exists("rearq:swept"), "it has swept", 40)
        assert [process.stop(60) for process in processes[:2]] == [0, 0]
        # What redis-py 5 and later tells of itself; CLIENT commands of ours would be missed in the logs below.
        denied = {
            (entry["username"], entry["object"])
            for entry in redis.acl_log()
            if entry["object"].partition("|")[0] != "client"
        }
        assert denied == set()
    for process in processes:
        assert "NoPermission" not in process.output
        assert "executing the script" not in process.output
