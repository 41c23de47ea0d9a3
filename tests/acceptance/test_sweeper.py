"""What Redis does not know, SQL does: lost bells are rung again, and nothing runs twice because of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio
from pathlib import Path
from django_cfg_tasks import task
from shop.ledger import note

@task
async def mark(line: str):
    note(line)

@task(queue="slow", job_retry=0)
async def gated(line: str):
    note(line)
    while not Path("go").exists():
        await asyncio.sleep(0.05)
"""

# A producer that is killed where Redis would be told: the row is committed by then.
DIES_BEFORE_RINGING = """
import os, signal
from django_cfg_tasks.broker import Broker, Doorbell
from shop.tasks import mark

def ring(*_):
    os.kill(os.getpid(), signal.SIGKILL)

Broker.ring = Doorbell.ring = ring
mark.enqueue("forgotten")
"""


def final(project: TaskProject) -> dict[str, int]:
    found: dict[str, int] = project.json(
        "from django.db import connection\ncursor = connection.cursor()\n"
        "cursor.execute('SELECT status, COUNT(*) FROM rearq_job GROUP BY 1')\nemit(dict(cursor.fetchall()))"
    )
    return found


def test_a_producer_that_dies_before_it_rings_costs_a_minute_at_most(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
    worker = project.worker("--with-timer")
    worker.wait_for_log("leads")
    producer = project.start_code(DIES_BEFORE_RINGING, name="producer")
    assert producer.wait() == -signal.SIGKILL
    died = time.monotonic()
    assert final(project) == {"queued": 1}
    wait_until(lambda: runs(project.folder)["forgotten"], "the job runs", timeout=60)
    assert time.monotonic() - died < 60
    worker.wait_for_log(r"1 job\(s\) that Redis knew nothing of were rung for again")
    worker.sigterm()
    assert worker.wait() == 0
    assert runs(project.folder) == {"forgotten": 1}


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
def test_a_wiped_redis_loses_no_job(make_project: Callable[..., TaskProject], redis_server: Any, database: str) -> None:
    project = make_project(
        TASKS, database=database, rearq={"lease": 4, "delay_queue_num": 3}, files={"shop/ledger.py": LEDGER}
    )
    timer = project.timer()
    slow = project.worker("--queue", "slow", name="slow")
    project.run(
        "from shop.tasks import gated, mark\n"
        "gated.enqueue_many([[f'slow {n}'] for n in range(10)])\n"
        "mark.enqueue_many([[f'queued {n}'] for n in range(5000)])\n"
        "mark.using(countdown=12).enqueue_many([[f'deferred {n}'] for n in range(200)])"
    )
    wait_until(lambda: len(runs(project.folder)) == 10, "10 jobs run")
    timer.wait_for_log("leads")
    redis_server.wipe()
    quick = project.worker("--queue", "default", name="quick")
    # A sweep that had begun before, and took its time, makes the next one wait; a minute is what is promised.
    timer.wait_for_log(r"\d{4} job\(s\) that Redis knew nothing of", timeout=60)
    wait_until(lambda: sum(runs(project.folder).values()) >= 5210, "all have run", timeout=60)
    project.write("go", "")
    wait_until(lambda: final(project) == {"success": 5210}, "all are final", timeout=30)
    for process in (slow, quick, timer):
        process.sigterm()
    assert [process.wait() for process in (slow, quick, timer)] == [0, 0, 0]
    assert set(runs(project.folder).values()) == {1}
    with redis_server.client() as redis:
        left = {key for key in redis.scan_iter() if redis.type(key) != "stream" or redis.xlen(key)}
    assert left <= {"rearq:pulse", "rearq:grace", "rearq:swept"}


def test_a_job_of_a_dead_worker_is_found_though_redis_was_wiped(
    make_project: Callable[..., TaskProject], redis_server: Any
) -> None:
    project = make_project(TASKS, rearq={"lease": 2}, files={"shop/ledger.py": LEDGER})
    worker = project.worker("--queue", "slow", name="dying")
    project.run("from shop.tasks import gated\ngated.enqueue('a')")
    wait_until(lambda: runs(project.folder)["a"] == 1, "the job runs")
    worker.sigkill()
    redis_server.wipe()
    project.write("go", "")
    other = project.worker("--with-timer", name="other")
    wait_until(lambda: runs(project.folder)["a"] == 2, "it runs again", timeout=20)
    wait_until(lambda: final(project) == {"success": 1}, "it is final")
    other.sigterm()
    assert other.wait() == 0


def test_two_timers_ring_once_for_a_forgotten_entry(
    make_project: Callable[..., TaskProject], redis_server: Any
) -> None:
    """A consumer that was deleted by hand takes its pending entries along; the stream still holds them."""
    project = make_project(TASKS, rearq={"lease": 2}, files={"shop/ledger.py": LEDGER})
    worker = project.worker("--queue", "slow", name="dying")
    project.run("from shop.tasks import gated\ngated.enqueue_many([[f'{n}'] for n in range(5)])")
    wait_until(lambda: len(runs(project.folder)) == 5, "the jobs run")
    worker.sigkill()
    with redis_server.client() as redis:
        (consumer,) = redis.xinfo_consumers("rearq:queue:slow", "rearq")
        redis.xgroup_delconsumer("rearq:queue:slow", "rearq", consumer["name"])
        assert redis.xlen("rearq:queue:slow") == 5
    project.write("go", "")
    others = [project.worker("--with-timer", name=f"other-{number}") for number in range(2)]
    wait_until(lambda: sum(runs(project.folder).values()) == 10, "all run again", timeout=20)
    wait_until(lambda: final(project) == {"success": 5}, "all are final")
    for other in others:
        other.sigterm()
    assert [other.wait() for other in others] == [0, 0]
    assert set(runs(project.folder).values()) == {2}
    with redis_server.client() as redis:
        assert redis.xlen("rearq:queue:slow") == 0
