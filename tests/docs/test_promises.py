"""The rows of README's table "what survives what" that no other test stands for, through the real command line."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Callable
from typing import Any

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio
from django_cfg_tasks import task, cron_task

@task
async def add(a: int, b: int) -> int:
    return a + b

@task
async def slow(number: int) -> int:
    await asyncio.sleep(1)
    return number

@task(run_with_lock=True)
async def alone(seconds: float) -> None:
    await asyncio.sleep(seconds)

@cron_task("* * * * * *")
async def beat() -> None:
    pass
"""

# A caller that waits for fifteen jobs.
ENQUEUE = """\
from shop.tasks import slow
jobs = slow.enqueue_many([[number] for number in range(15)])
print('accepted', flush=True)
print('results', sorted(job.wait(timeout=40).result for job in jobs) == list(range(15)))
"""

HOLDERS = "rearq:gate:lock:task:alone:owners"
WAITING = 'rearq:gates:line:\n["lock:task:alone"]'

FIRING = re.compile(r"beat (cron:\S+) in")


def test_redis_is_down_when_a_job_is_enqueued(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS)
    redis_server.stop()
    caller = project.start_code(
        "from shop.tasks import add\njob = add.enqueue(1, 2)\nprint('accepted', flush=True)\n"
        "print('result', job.wait(timeout=30).result)",
        name="caller",
    )
    caller.wait_for_log("^accepted")
    caller.wait_for_log("will be run once Redis is back")
    redis_server.start()
    project.worker().wait_for_log("consumes")
    caller.wait_for_log("^result 3$")


def test_redis_restarts_with_its_data(make_project: Callable[..., TaskProject], make_redis: Callable[..., Any]) -> None:
    redis = make_redis(appendonly=True)
    project = make_project(TASKS, redis_url=redis.url)
    worker = project.worker("--with-timer")
    worker.wait_for_log("consumes")
    caller = project.start_code(
        ENQUEUE + "print('attempts', {len(job._record.attempts) for job in jobs})",
        name="caller",
    )
    caller.wait_for_log("^accepted")
    redis.restart()
    caller.wait_for_log("^results True$", timeout=40)
    caller.wait_for_log(r"^attempts \{1\}$")
    assert worker.running


def test_redis_is_emptied_while_jobs_wait_for_a_lock(
    make_project: Callable[..., TaskProject], redis_server: Any
) -> None:
    project = make_project(TASKS, rearq={"lease": 2})
    worker = project.worker("--with-timer")
    worker.wait_for_log("consumes")
    project.run("from shop.tasks import alone\nalone.enqueue(12)\nalone.enqueue_many([[0.1]] * 5)\n")
    with redis_server.client() as client:
        wait_until(lambda: client.hlen(HOLDERS) and client.exists(WAITING), "one runs, the others wait")
        client.flushall()
        wait_until(lambda: client.hlen(HOLDERS), "the one that runs takes its lock again")
        wait_until(lambda: client.exists(WAITING), "the others are rung for", timeout=20)
    times = project.json(
        "from shop.tasks import alone\nfrom django_cfg_tasks.models import TaskLog\n"
        "from tests.waiting import wait_until\nrows = TaskLog.objects.filter(task_name='alone', status='success')\n"
        "wait_until(lambda: rows.count() == 6, 'all are done', timeout=40)\n"
        "emit([[row.start_time.timestamp(), row.finish_time.timestamp()] for row in rows.order_by('start_time')])"
    )
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(times)), times


def test_sql_restarts_while_jobs_run(make_project: Callable[..., TaskProject], postgres_server: Any) -> None:
    project = make_project(TASKS, database="postgres")
    worker = project.worker()
    worker.wait_for_log("consumes")
    caller = project.start_code(
        ENQUEUE,
        name="caller",
    )
    caller.wait_for_log("^accepted")
    postgres_server.stop()
    worker.wait_for_log("wait to be (recorded|claimed)")
    postgres_server.start()
    caller.wait_for_log("^results True$", timeout=40)


def test_two_timers_fire_once(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, rearq={"lease": 2})
    timers = [project.timer(name=f"timer-{number}") for number in range(2)]
    worker = project.worker()
    for timer in timers:
        timer.wait_for_log("started")
    worker.wait_for_log("beat cron:.*success", count=3)
    leader = next(timer for timer in timers if "leads." in timer.output)
    leader.sigkill()
    next(timer for timer in timers if timer is not leader).wait_for_log("leads.")
    before = len(FIRING.findall(worker.output))
    wait_until(lambda: len(FIRING.findall(worker.output)) >= before + 2, "cron goes on with the other timer")
    assert max(collections.Counter(FIRING.findall(worker.output)).values()) == 1
