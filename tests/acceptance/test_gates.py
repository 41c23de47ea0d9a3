"""Jobs that wait for each other: locks, limits, disabled tasks; and none of them takes a slot meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio, time
from django_cfg_tasks import task
from shop.ledger import note

@task(run_with_lock=True)
async def alone(line: str, seconds: float = 0.0):
    note(f"start {line}")
    await asyncio.sleep(seconds)
    note(f"end {line}")

@task(lock_key="account:{account_id}")
async def book(account_id: int, line: str, seconds: float = 0.0):
    note(f"start {line}")
    await asyncio.sleep(seconds)
    note(f"end {line}")

@task(lock_key="account:{number}")
def close_account(number: int, seconds: float = 0.0):
    note("start close")
    time.sleep(seconds)
    note("end close")

@task(max_concurrent=3)
async def few(line: str, seconds: float = 0.05):
    note("in")
    await asyncio.sleep(seconds)
    note("out")

@task(rate_limit="5/s")
async def paced(number: int):
    note(f"paced {time.time()}")

@task(lock_key="stubborn", job_timeout=0.5, job_retry=0)
def stubborn(line: str, rounds: int):
    note(f"start {line}")
    for _ in range(rounds):
        try:
            time.sleep(0.1)
        except BaseException:
            note(f"told {line}")
    note(f"end {line}")

@task(rate_limit="1/3s")
async def fresh(number: int):
    note(f"fresh {number}")

@task
async def free(line: str):
    note(line)

@task(run_with_lock=True, lock_timeout=2, job_retry=1, job_retry_after=0)
async def flaky(line: str):
    note(f"try {line}")
    raise ValueError(line)
"""

FILES = {"shop/ledger.py": LEDGER}


def lines(project: TaskProject) -> list[str]:
    file = project.folder / "shop" / "ledger.txt"
    return file.read_text().splitlines() if file.exists() else []


def gate_keys(redis_server: Any) -> list[str]:
    with redis_server.client() as client:
        # The starts of a rate's last window go by themselves.
        return sorted(key for key in client.keys("rearq:gate*") if not key.endswith(":starts"))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_lock_lets_one_run_at_a_time_in_order_and_others_pass(
    make_project: Callable[..., TaskProject], redis_server: Any, database: str
) -> None:
    project = make_project(TASKS, database=database, rearq={"max_jobs": 2}, files=FILES)
    workers = [project.worker(name=f"worker-{number}") for number in range(3)]
    project.run("from shop.tasks import alone\nalone.enqueue('long', 3)")
    wait_until(lambda: runs(project.folder)["start long"], "the first starts")
    project.run(
        "from shop.tasks import alone, free\n"
        "for number in range(20): alone.enqueue(str(number), 0.02)\n"
        "free.enqueue('free')\n"
    )
    wait_until(lambda: runs(project.folder)["end 19"], "the last one ends", timeout=60)
    expected = [line for name in ("long", *range(20)) for line in (f"start {name}", f"end {name}")]
    assert [line for line in lines(project) if line != "free"] == expected
    # The free job stood behind twenty that wait for a lock, and had a slot at once.
    assert lines(project).index("free") < len(expected) - 10
    for worker in workers:
        worker.sigterm()
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert gate_keys(redis_server) == []
    assert (
        project.json(
            "from django_cfg_tasks.models import TaskLog\n"
            "rows = TaskLog.objects.filter(task_name='alone')\n"
            "emit([[row.status, row.job_retries, len(row.attempts)] for row in rows])"
        )
        == [["success", 0, 1]] * 21
    )


def test_a_key_locks_what_it_names_over_all_tasks(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, rearq={"max_jobs": 10}, files=FILES)
    project.run(
        "from shop.tasks import book, close_account\n"
        "book.enqueue(1, 'one', 1.5)\nbook.enqueue(account_id=2, line='two', seconds=0.1)\n"
        "close_account.enqueue(1, 0.1)\nbook.enqueue(1, 'late')\n"
    )
    project.worker()
    wait_until(lambda: runs(project.folder)["end late"], "the last one ends", timeout=30)
    found = lines(project)
    assert found.index("end two") < found.index("end one")
    assert found[found.index("end one") :] == ["end one", "start close", "end close", "start late", "end late"]


def test_a_lock_lapses_after_a_crash(make_project: Callable[..., TaskProject]) -> None:
    tasks = TASKS.replace("@task(run_with_lock=True)", "@task(run_with_lock=True, lock_timeout=3, job_retry=0)")
    project = make_project(tasks, rearq={"lease": 2, "max_deliveries": 1}, files=FILES)
    dying = project.worker(name="dying")
    project.run("from shop.tasks import alone\nalone.enqueue('first', 60)\nalone.enqueue('second')\n")
    wait_until(lambda: runs(project.folder)["start first"], "the first starts")
    wait_until(lambda: dying.running, "it lives")
    dying.sigkill()
    project.worker("--with-timer", name="other")
    wait_until(lambda: runs(project.folder)["end second"], "the second runs", timeout=30)
    assert runs(project.folder)["end first"] == 0


def test_a_function_that_outlasts_its_timeout_keeps_the_lock_until_it_ends(
    make_project: Callable[..., TaskProject],
) -> None:
    project = make_project(TASKS, files=FILES)
    project.worker()
    # It catches the interruption, so that its job fails after the timeout and a grace of 10 s, long before it ends.
    status = project.json(
        "from shop.tasks import stubborn\njob = stubborn.enqueue('first', 150)\nstubborn.enqueue('second', 1)\n"
        "emit(job.wait(timeout=20).status)"
    )
    assert status == "failed"
    assert lines(project) == ["start first", "told first"]
    wait_until(lambda: runs(project.folder)["end second"], "the second runs", timeout=30)
    assert lines(project) == ["start first", "told first", "end first", "start second", "end second"]


def test_a_failure_frees_the_lock_and_waiting_uses_no_retry(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files=FILES)
    project.worker("--with-timer")
    statuses = project.json(
        "from shop.tasks import flaky\n"
        "jobs = [flaky.enqueue(str(n)) for n in range(5)]\n"
        "emit([[job.wait(timeout=30).status, job.job_retries] for job in jobs])"
    )
    assert statuses == [["failed", 1]] * 5
    assert sorted(lines(project)) == sorted([f"try {n}" for n in range(5)] * 2)


def test_no_more_than_max_concurrent_run_over_all_workers(
    make_project: Callable[..., TaskProject], redis_server: Any
) -> None:
    project = make_project(TASKS, rearq={"max_jobs": 10}, files=FILES)
    workers = [project.worker(name=f"worker-{number}") for number in range(3)]
    project.run("from shop.tasks import few\nfor n in range(60): few.enqueue(str(n))\n")
    wait_until(lambda: runs(project.folder)["out"] == 60, "all are done", timeout=60)
    at_once, most = 0, 0
    for line in lines(project):
        at_once += 1 if line == "in" else -1
        most = max(most, at_once)
    assert most == 3
    for worker in workers:
        worker.sigterm()
        assert worker.wait() == 0
    assert gate_keys(redis_server) == []


def test_no_more_start_than_the_rate_limit_says(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, rearq={"max_jobs": 2}, files=FILES)
    for number in range(2):
        project.worker(name=f"worker-{number}")
    project.run("from shop.tasks import paced, free\nfor n in range(25): paced.enqueue(n)\nfree.enqueue('free')\n")
    wait_until(lambda: len(lines(project)) == 26, "all are done", timeout=60)
    starts = sorted(float(line.split()[1]) for line in lines(project) if line != "free")
    # Starts are counted as they are granted; on a busy machine one comes a little later than that.
    assert all(later - earlier > 0.7 for earlier, later in zip(starts, starts[5:], strict=False)), starts
    assert lines(project).index("free") < 15


def test_what_expires_while_it_waits_takes_no_start_from_others(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files=FILES)
    project.worker()
    statuses = project.json(
        "from shop.tasks import fresh\n"
        "assert fresh.enqueue(0).wait(timeout=20).success\n"
        "stale = fresh.using(expire=1).enqueue_many([[number] for number in range(1, 31)])\n"
        "late = fresh.enqueue(31)\n"
        "emit([late.wait(timeout=20).status, *(job.wait(timeout=20).status for job in stale)])"
    )
    assert statuses == ["success", *["expired"] * 30]
    assert lines(project) == ["fresh 0", "fresh 31"]


def test_a_disabled_task_waits_until_it_is_enabled(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS, files=FILES)
    project.run(
        "from shop.tasks import alone, free\nfrom django_cfg_tasks import get_rearq_client\n"
        "client = get_rearq_client()\nclient.call(client.store.disable('free'), '')\n"
        "for n in range(30): free.using(even_if_disabled=True).enqueue(str(n))\n"
    )
    worker = project.worker("--with-timer")
    project.run("from shop.tasks import alone\nassert alone.enqueue('other').wait(timeout=20).success")
    wait_until(lambda: gate_keys(redis_server), "they are parked")
    assert project.json(
        "from django_cfg_tasks.models import TaskLog\n"
        "emit(sorted(set(TaskLog.objects.filter(task_name='free').values_list('status', 'start_time'))))"
    ) == [["queued", None]]
    project.run(
        "from django_cfg_tasks import get_rearq_client\nclient = get_rearq_client()\n"
        "client.call(client.store.enable('free'), '')\nclient.call(client.broker.release_disabled('free'), '')\n"
    )
    wait_until(lambda: len(lines(project)) == 32, "all have run")
    assert lines(project)[2:] == [str(n) for n in range(30)]
    worker.sigterm()
    assert worker.wait() == 0
    assert gate_keys(redis_server) == []
