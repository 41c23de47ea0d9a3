"""Timers as processes: cron, delays, and who leads. Calendars have tests of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from django_cfg_tasks.broker import keys
from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task, cron_task
from shop.ledger import note

@cron_task("* * * * * *")
async def each_second():
    note("tick")

@cron_task("0 0 1 1 *", run_at_start={"mode": "startup"})
async def yearly(mode: str = "normal"):
    note(mode)

@task
async def late(line: str):
    note(line)
"""


def firings(project: TaskProject) -> list[list[Any]]:
    found: list[list[Any]] = project.json(
        "from django_cfg_tasks.models import TaskLog\n"
        "emit(list(TaskLog.objects.filter(task_name='each_second').order_by('job_id').values_list('job_id', 'status')))"
    )
    return found


def test_three_timers_fire_once_and_another_takes_the_lead(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, rearq={"lease": 2}, files={"shop/ledger.py": LEDGER})
    worker = project.worker()
    timers = [project.timer(name=f"timer-{number}") for number in range(3)]
    wait_until(lambda: any("leads." in timer.output for timer in timers), "a timer leads", timeout=20)
    wait_until(lambda: runs(project.folder)["tick"] >= 3, "three firings")
    leader = next(timer for timer in timers if "leads." in timer.output)
    leader.sigkill()
    others = [timer for timer in timers if timer is not leader]
    wait_until(lambda: any("leads." in timer.output for timer in others), "another timer leads", timeout=20)
    seen = runs(project.folder)["tick"]
    wait_until(lambda: runs(project.folder)["tick"] >= seen + 2, "it fires")
    for timer in others:
        timer.sigterm()
    assert [timer.wait() for timer in others] == [0, 0]
    worker.sigterm()
    assert worker.wait() == 0
    found = firings(project)
    assert len({job_id for job_id, _ in found}) == len(found) == runs(project.folder)["tick"]
    assert {status for _, status in found} == {"success"}
    assert found[0][0].startswith("cron:each_second:20")
    # The first leader's process and the second's each started once.
    assert runs(project.folder)["startup"] == 2


def test_delayed_jobs_start_when_due(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, rearq={"delay_queue_num": 4}, files={"shop/ledger.py": LEDGER})
    worker = project.worker("--with-timer")
    worker.wait_for_log("leads")
    lateness = project.json(
        "import time\nfrom shop.tasks import late\n"
        "jobs = [late.using(countdown=0.5 + n / 10).enqueue(str(n)) for n in range(10)]\n"
        "results = [job.wait(timeout=15) for job in jobs]\n"
        "emit([(result.start_time - job.due_time).total_seconds() for job, result in zip(jobs, results)])"
    )
    # Never early, and woken for each rather than at the next look; how late exactly is a measurement, not a test.
    assert all(0 <= seconds < 4 for seconds in lateness), lateness


def test_a_timer_stops_at_once(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
    timer = project.timer()
    timer.wait_for_log("started")
    timer.sigterm()
    assert timer.wait(10) == 0


@pytest.mark.parametrize("shards", [1, 8])
def test_fifty_thousand_waiting_jobs_keep_nothing_from_becoming_due(
    make_project: Callable[..., TaskProject], redis_server: RedisServer, shards: int
) -> None:
    project = make_project(TASKS, rearq={"delay_queue_num": shards}, files={"shop/ledger.py": LEDGER})
    tomorrow = (time.time() + 86_400) * 1000
    waiting: dict[str, dict[str, float]] = {}
    for number in range(50_000):
        member = keys.delayed_member("default", f"waiting-{number}")
        waiting.setdefault(keys.delay_shard(member, shards), {})[member] = tomorrow + number
    with redis_server.client() as client:
        for shard, members in waiting.items():
            client.zadd(shard, members)
    worker = project.worker("--with-timer")
    worker.wait_for_log("leads")
    project.run("from shop.tasks import late\n[late.using(countdown=n / 10).enqueue(str(n)) for n in range(10)]")
    wait_until(lambda: len([n for n in range(10) if runs(project.folder)[str(n)]]) == 10, "all are run", 10)
