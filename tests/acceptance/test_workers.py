"""Workers as processes: sharing queues, ending in order, starting in disorder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import MAIN, TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio, time
from django_cfg_tasks import task
from shop.ledger import note

@task
async def mark(line: str):
    note(line)
    await asyncio.sleep(0.01)

@task(job_retry=0)
async def patient(line: str, seconds: float):
    note(f"start {line}")
    await asyncio.sleep(seconds)
    note(f"end {line}")

@task(job_retry=0)
def patient_thread(line: str, seconds: float):
    note(f"start {line}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
    note(f"end {line}")

@task(queue="other")
async def elsewhere(line: str):
    note(line)
"""

# A worker that believes to be on another host.
OTHER_HOST = "import os, socket\nname = os.environ.get('TEST_HOST')\nif name: socket.gethostname = lambda: name\n"

STATES = """
from django_cfg_tasks.models import TaskLog
emit([[t.status, t.job_retries, [a["outcome"] for a in t.attempts]] for t in TaskLog.objects.order_by("id")])
"""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def project(make_project: Callable[..., TaskProject], database: str) -> TaskProject:
    return make_project(
        TASKS,
        database=database,
        rearq={"max_jobs": 20, "shutdown_timeout": 1},
        files={"shop/ledger.py": LEDGER, "main.py": OTHER_HOST + MAIN},
    )


def open_rows(project: TaskProject) -> int:
    count: int = project.json(
        "from django.db import connection\n"
        "cursor = connection.cursor()\n"
        "cursor.execute(\"SELECT COUNT(*) FROM rearq_job WHERE status IN ('queued', 'deferred', 'in_progress')\")\n"
        "emit(cursor.fetchone()[0])"
    )
    return count


def test_two_hosts_share_400_jobs(project: TaskProject, redis_server: Any) -> None:
    workers = [project.worker(name=host, env={"TEST_HOST": host}) for host in ("host-a", "host-b")]
    for worker, host in zip(workers, ("host-a", "host-b"), strict=True):
        worker.wait_for_log(f"Worker rearq-{host}-.* consumes")
    project.run("from shop.tasks import mark\nmark.enqueue_many([[f'{n}'] for n in range(400)])")
    wait_until(lambda: sum(runs(project.folder).values()) >= 400, "400 runs", timeout=30)
    for worker in workers:
        worker.sigterm()
    assert [worker.wait() for worker in workers] == [0, 0]
    noted = runs(project.folder)
    assert len(noted) == 400
    assert set(noted.values()) == {1}
    shares = project.json(
        "from django_cfg_tasks.models import TaskLog\nfrom django.db.models import Count\n"
        "emit(sorted(TaskLog.objects.values_list('worker_id').annotate(n=Count('id')).values_list('n', flat=True)))"
    )
    assert sum(shares) == 400
    assert len(shares) == 2
    with redis_server.client() as redis:
        assert redis.xlen("rearq:queue:default") == 0
        assert redis.hgetall("rearq:worker") == {}
        assert not list(redis.scan_iter("rearq:alive:*"))


@pytest.mark.parametrize("task", ["patient", "patient_thread"])
def test_a_deploy_puts_running_jobs_back(project: TaskProject, task: str) -> None:
    worker = project.worker()
    project.run(f"from shop.tasks import {task} as t\nt.enqueue_many([[f'{{n}}', 6] for n in range(20)])")
    wait_until(lambda: len(runs(project.folder)) == 20, "20 jobs run")
    worker.sigterm()
    asked = time.monotonic()
    assert worker.wait(20) == 0
    # One second to finish, three to unwind, and the process's own end.
    assert time.monotonic() - asked < 8
    assert open_rows(project) == 20
    again = project.worker(name="again")
    wait_until(lambda: sum(line.startswith("end") for line in runs(project.folder)) == 20, "20 ends", timeout=30)
    again.sigterm()
    assert again.wait(20) == 0
    assert project.json(STATES) == [["success", 0, ["released", "success"]]] * 20


def test_jobs_that_end_in_time_end_in_peace(make_project: Callable[..., TaskProject], database: str) -> None:
    gated = (
        "\nfrom pathlib import Path\n@task(job_retry=0)\nasync def gated(line: str):\n    note(f'start {line}')\n"
        "    while not Path('go').exists():\n        await asyncio.sleep(0.02)\n    note(f'end {line}')\n"
    )
    project = make_project(TASKS + gated, database=database, rearq={"max_jobs": 20}, files={"shop/ledger.py": LEDGER})
    worker = project.worker()
    project.run("from shop.tasks import gated\ngated.enqueue_many([[f'{n}'] for n in range(30)])")
    wait_until(lambda: len(runs(project.folder)) == 20, "20 jobs run")
    worker.sigterm()
    worker.wait_for_log(r"20 job\(s\) run; waiting up to 25 s")
    project.write("go", "")
    assert worker.wait(20) == 0
    noted = runs(project.folder)
    assert sum(line.startswith("end") for line in noted) == 20
    assert open_rows(project) == 10


def test_a_second_signal_skips_the_wait(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
    worker = project.worker()
    project.run("from shop.tasks import patient\npatient.enqueue('x', 60)")
    wait_until(lambda: bool(runs(project.folder)), "the job runs")
    worker.sigterm()
    worker.wait_for_log("waiting up to 25 s")
    worker.sigterm()
    asked = time.monotonic()
    assert worker.wait(20) == 0
    assert time.monotonic() - asked < 8
    assert open_rows(project) == 1


def test_a_thread_that_can_not_be_interrupted_does_not_keep_the_worker(
    make_project: Callable[..., TaskProject],
) -> None:
    tasks = TASKS + "\n@task\ndef deaf():\n    note('deaf')\n    time.sleep(60)\n"
    project = make_project(tasks, rearq={"shutdown_timeout": 0}, files={"shop/ledger.py": LEDGER})
    worker = project.worker()
    project.run("from shop.tasks import deaf\ndeaf.enqueue()")
    wait_until(lambda: bool(runs(project.folder)), "the job runs")
    worker.sigterm()
    assert worker.wait(20) == 0
    assert open_rows(project) == 1


def test_only_the_named_queues_are_consumed(project: TaskProject) -> None:
    worker = project.worker("--queue", "other")
    project.run("from shop.tasks import mark, elsewhere\nmark.enqueue('default')\nelsewhere.enqueue('other')")
    wait_until(lambda: bool(runs(project.folder)), "one job runs")
    worker.sigterm()
    assert worker.wait() == 0
    assert runs(project.folder) == {"other": 1}
    both = project.worker(name="both")
    both.wait_for_log("consumes default, other")
    wait_until(lambda: "default" in runs(project.folder), "the other job runs")


def test_a_blocking_task_keeps_its_worker_alive(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    tasks = TASKS + "\n@task\nasync def block():\n    note('block')\n    time.sleep(4)\n    note('unblocked')\n"
    project = make_project(tasks, rearq={"lease": 2}, files={"shop/ledger.py": LEDGER})
    project.worker()
    project.run("from shop.tasks import block\nblock.enqueue()")
    wait_until(lambda: bool(runs(project.folder)), "the job runs")
    gaps = 0
    with redis_server.client() as redis:
        while "unblocked" not in runs(project.folder):
            gaps += not list(redis.scan_iter("rearq:alive:*"))
    assert gaps == 0


def test_unknown_queue_names_are_refused_on_the_command_line(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
    worker = project.worker("--queue", "two words")
    assert worker.wait() == 1
    assert "a queue's name holds no spaces" in worker.output
    assert "Traceback" not in worker.output


def test_main_without_a_main_py(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
    worker = project.rearq("worker", app="django_cfg_tasks.main:rearq", name="worker")
    worker.wait_for_log("consumes default, other")
    worker.sigterm()
    assert worker.wait() == 0
