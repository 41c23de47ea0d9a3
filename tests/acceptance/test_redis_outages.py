"""Redis goes away and comes back while a worker and its timer run: nobody has to help them, nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.processes import Process
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
import asyncio
from pathlib import Path
from django_cfg_tasks import task
from shop.ledger import note

@task
async def mark(line: str):
    note(line)

@task(job_retry=0)
async def gated(line: str):
    note(line)
    while not Path("go").exists():
        await asyncio.sleep(0.05)
    return line
"""

# One job ends, one runs, and somebody waits for its result.
CALLER = """
from shop.tasks import gated, mark
mark.enqueue("ended").wait(timeout=20)
job = gated.enqueue("running")
print("waits", flush=True)
print("result", job.wait(timeout=60).result)
"""

AFTERWARDS = """
from shop.tasks import mark
jobs = [mark.enqueue("new"), mark.enqueue("delayed", countdown=1)]
emit([[result and result.status for result in [job.wait(timeout=10) for job in jobs]], [job.job_id for job in jobs]])
"""

HISTORY = """
from django.db import connection
cursor = connection.cursor()
cursor.execute("SELECT args, status, attempt FROM rearq_job ORDER BY id")
emit([[json.loads(args)[0] if isinstance(args, str) else args[0], *rest] for args, *rest in cursor.fetchall()])
"""


class Scene:
    """A worker with its timer: one job has ended, one runs, and a caller waits for its result."""

    def __init__(self, project: TaskProject) -> None:
        self.project = project
        self.worker = project.worker("--with-timer")
        self.worker.wait_for_log("leads")
        self.caller: Process = project.start_code(CALLER, name="caller")
        self.caller.wait_for_log("waits")
        wait_until(lambda: runs(project.folder) == {"ended": 1, "running": 1}, "one job has ended, one runs")

    def let_end(self) -> None:
        """Let the running job end."""
        self.project.write("go", "")

    def all_is_well(self, *more: str) -> None:
        """Assert that everything goes on within ten seconds, and that nothing was lost or run twice."""
        lines = ["ended", "running", *more, "new", "delayed"]
        assert self.project.json(AFTERWARDS)[0] == ["success", "success"]
        self.caller.wait_for_log("^result running$")
        assert self.worker.stop() == 0
        assert "Traceback" not in self.worker.output
        assert "Traceback" not in self.caller.output
        assert runs(self.project.folder) == dict.fromkeys(lines, 1)
        assert self.project.json(HISTORY) == [[line, "success", 1] for line in lines]


@pytest.fixture
def begin(make_project: Callable[..., TaskProject]) -> Callable[..., Scene]:
    def begin(redis: RedisServer, **rearq: Any) -> Scene:
        return Scene(make_project(TASKS, redis_url=redis.url, rearq=rearq, files={"shop/ledger.py": LEDGER}))

    return begin


@pytest.mark.parametrize("appendonly", [True, False], ids=["with its data", "empty"])
def test_redis_is_killed_and_comes_back(
    begin: Callable[..., Scene], make_redis: Callable[..., RedisServer], appendonly: bool
) -> None:
    redis = make_redis(appendonly=appendonly)
    scene = begin(redis)
    redis.kill()
    scene.let_end()
    scene.worker.wait_for_log(r"1 acknowledgement\(s\) wait for Redis", count=2)
    redis.start()
    scene.all_is_well()


def test_redis_is_wiped(begin: Callable[..., Scene], redis_server: RedisServer) -> None:
    scene = begin(redis_server)
    redis_server.wipe()
    scene.worker.wait_for_log("consumer group rearq is gone")
    scene.let_end()
    scene.all_is_well()


def test_the_consumer_group_is_destroyed(begin: Callable[..., Scene], redis_server: RedisServer) -> None:
    scene = begin(redis_server)
    with redis_server.client() as redis:
        redis.xgroup_destroy("rearq:queue:default", "rearq")
    scene.worker.wait_for_log("consumer group rearq is gone")
    scene.let_end()
    scene.all_is_well()


def test_all_connections_are_cut(begin: Callable[..., Scene], redis_server: RedisServer) -> None:
    scene = begin(redis_server)
    for _ in range(3):
        with redis_server.client() as redis:
            redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
            redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        scene.let_end()
    scene.all_is_well()


def test_redis_restarts_and_loads_its_data_for_a_while(
    begin: Callable[..., Scene], make_redis: Callable[..., RedisServer]
) -> None:
    redis = make_redis(appendonly=True)
    scene = begin(redis)
    redis.restart_loading(4)
    scene.let_end()
    scene.worker.wait_for_log("Not consuming; .*loading the dataset")
    wait_until(redis.answers, "the data is loaded")
    scene.all_is_well()


@pytest.mark.parametrize("code", ["READONLY", "MISCONF", "NOREPLICAS"])
def test_redis_takes_no_writes_for_a_while(begin: Callable[..., Scene], redis_server: RedisServer, code: str) -> None:
    scene = begin(redis_server)
    with redis_server.refusing(code):
        scene.let_end()
        scene.worker.wait_for_log("Not consuming; trying again")
        scene.worker.wait_for_log(r"The timer waits; trying again")
        scene.worker.wait_for_log(r"1 acknowledgement\(s\) wait for Redis")
    scene.all_is_well()


def test_redis_is_out_of_memory_for_a_while(begin: Callable[..., Scene], redis_server: RedisServer) -> None:
    scene = begin(redis_server)
    with redis_server.refusing("OOM"):
        scene.let_end()
        scene.caller.wait_for_log("^result running$")
        with redis_server.client() as redis:
            wait_until(lambda: redis.xlen("rearq:queue:default") == 0, "the job is acknowledged")
        code = "from shop.tasks import mark\nprint('result', mark.enqueue('refused').wait(timeout=60).status)"
        refused = scene.project.start_code(code, name="refused")
        refused.wait_for_log("will be run once Redis is back")
    refused.wait_for_log("^result success$", timeout=10)
    scene.all_is_well("refused")


def test_redis_does_not_answer_for_a_while(begin: Callable[..., Scene], redis_server: RedisServer) -> None:
    scene = begin(redis_server)
    redis_server.pause()
    try:
        scene.let_end()
        scene.worker.wait_for_log("Not consuming; .*Timeout", timeout=30)
        scene.worker.wait_for_log(r"1 acknowledgement\(s\) wait for Redis", timeout=30)
    finally:
        redis_server.resume()
    scene.all_is_well()


def test_a_redis_that_is_out_of_memory_is_emptied(begin: Callable[..., Scene], redis_server: RedisServer) -> None:
    scene = begin(redis_server, lease=2, max_jobs=1)
    scene.project.run("from shop.tasks import mark\nmark.enqueue('rung')\nmark.enqueue('due', countdown=1)")
    with redis_server.refusing("OOM"):
        scene.let_end()
        wait_until(lambda: {"rung", "due"} <= set(runs(scene.project.folder)), "what it knows of is run")
        late = scene.project.worker(name="late")
        late.wait_for_log("consumes")
        with redis_server.client() as redis:
            wait_until(lambda: redis.xlen("rearq:queue:default") == 0, "all is acknowledged")
            # Two workers and a timer.
            wait_until(lambda: redis.hlen("rearq:worker") == 3, "the new worker is on the list")
        assert "lapsed" not in scene.worker.output
        assert late.stop() == 0
        assert "Not consuming" not in late.output
    scene.all_is_well("rung", "due")
