"""Hooks of real worker processes: a pool that tasks share, and starts and stops that go wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio, os, threading
from pathlib import Path
import redis.asyncio
from django.contrib.auth.models import User
from django_cfg_tasks import on_worker_start, on_worker_stop, signals, task
from django_cfg_tasks.conf import get_config
from shop.ledger import note

pool = None

@on_worker_start
async def connect():
    global pool
    pool = redis.asyncio.Redis.from_url(get_config().rearq.redis_url)
    await pool.set("hits", 0)
    note(f"connect {os.getpid()}")

@on_worker_start
def count():
    note(f"users {User.objects.count()} {threading.current_thread() is threading.main_thread()}")

@on_worker_stop
def last():
    note(f"last {User.objects.count()}")

@on_worker_stop
async def disconnect():
    note(f"disconnect {int(await pool.get('hits'))}")
    await pool.connection_pool.disconnect()

@task(job_retry=0)
async def hit():
    return await pool.incr("hits")

@task(job_retry=0)
async def gated():
    note("gated runs")
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    return await pool.incr("hits")

async def told(**kwargs):
    await pool.incr("hits")

signals.task_succeeded.connect(told)
"""

BROKEN = """
@on_worker_start
def load_model():
    raise LookupError("no model in /srv/models")
"""

HANGING = """
import time

@on_worker_stop
def hangs():
    time.sleep(3600)

@on_worker_stop
async def hangs_too():
    await asyncio.sleep(3600)

@on_worker_stop
def fails():
    raise LookupError("nothing to take down")
"""


@pytest.fixture
def make(make_project: Callable[..., TaskProject]) -> Callable[..., TaskProject]:
    return lambda more="", **options: make_project(TASKS + more, files={"shop/ledger.py": LEDGER}, **options)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_tasks_share_what_a_start_hook_made_until_the_stop_hooks(
    make: Callable[..., TaskProject], database: str
) -> None:
    project = make(database=database)
    worker = project.worker("--with-timer")
    project.run(
        "from shop.tasks import gated, hit\ngated.enqueue()\n"
        "results = [job.wait(timeout=20).result for job in hit.enqueue_many([[]] * 20)]\n"
        "assert len(set(results)) == 20, results"
    )
    wait_until(lambda: "gated runs" in runs(project.folder), "a job runs", timeout=30)
    worker.sigterm()
    worker.wait_for_log("running ones may finish")
    project.write("go", "")
    assert worker.wait() == 0
    assert (project.folder / "shop" / "ledger.txt").read_text().splitlines() == [
        f"connect {worker.pid}",
        "users 0 False",
        "gated runs",
        "disconnect 42",  # 21 jobs, 21 signals
        "last 0",
    ]


def test_a_timer_alone_calls_none(make: Callable[..., TaskProject]) -> None:
    project = make()
    timer = project.timer()
    timer.wait_for_log("leads")
    timer.sigterm()
    assert timer.wait() == 0
    assert not runs(project.folder)


@pytest.mark.parametrize("arguments", [[], ["--with-timer"]])
def test_a_start_hook_that_fails_ends_the_worker(make: Callable[..., TaskProject], arguments: list[str]) -> None:
    project = make(BROKEN)
    project.run("from shop.tasks import hit\nhit.using(job_id='a').enqueue()")
    worker = project.worker(*arguments)
    assert worker.wait() == 1
    last_line = worker.output.rstrip().splitlines()[-1]
    assert last_line == ("Error: The start hook shop.tasks.load_model failed: LookupError('no model in /srv/models')")
    assert 'raise LookupError("no model in /srv/models")' in worker.output, "the log has the traceback"
    state = "from django_cfg_tasks import get_rearq_client\nr = get_rearq_client().load(['a'])['a']\n"
    assert project.json(f"{state}emit([r.status, r.attempt])") == ["queued", 0]
    assert "last 0" not in runs(project.folder)


def test_stop_hooks_that_hang_or_fail_are_left_behind(make: Callable[..., TaskProject]) -> None:
    project = make(HANGING)
    worker = project.worker()
    worker.wait_for_log("consumes")
    worker.sigterm()
    assert worker.wait(40) == 0
    assert "The stop hook shop.tasks.fails failed." in worker.output
    for name in ("hangs", "hangs_too"):
        assert f"The stop hook shop.tasks.{name} did not end within 5 s" in worker.output
    assert {"disconnect 0", "last 0"} <= set(runs(project.folder))


def test_a_worker_that_is_stopped_while_it_starts_ends(make: Callable[..., TaskProject]) -> None:
    project = make("\n@on_worker_start\nasync def waits():\n    note('waits')\n    await asyncio.sleep(3600)\n")
    worker = project.worker()
    wait_until(lambda: "waits" in runs(project.folder), "the hook runs", timeout=30)
    worker.sigterm()
    assert worker.wait() == 0
    assert "last 0" not in runs(project.folder)
