"""Workers that die, stall or block: their jobs are taken over, once, and nobody else's suffer."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.processes import Process
from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio, os, signal, time
from pathlib import Path
from django_cfg_tasks import task
from django_cfg_tasks.signals import task_orphaned
from shop.ledger import note

def on_orphan(record, attempt, exception, **_):
    note(f"orphan {record.args[0]} {attempt} {type(exception).__name__} {record.status}")

task_orphaned.connect(on_orphan)

@task(bind=True, job_retry=0)
async def gated(ctx, line: str):
    note(f"start {line} {ctx.attempt}")
    while not Path("go").exists() and not Path(f"go-{ctx.attempt}").exists():
        await asyncio.sleep(0.02)
    note(f"end {line} {ctx.attempt}")
    return ctx.attempt

@task(bind=True, job_retry=0)
async def stubborn(ctx, line: str):
    note(f"start {line} {ctx.attempt}")
    while not Path(f"go-{ctx.attempt}").exists():
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            note(f"told {line} {ctx.attempt}")
    return ctx.attempt

@task(job_retry=0)
async def poison(line: str):
    note(f"start {line}")
    os.kill(os.getpid(), signal.SIGKILL)

@task(bind=True, job_retry=0)
async def block(ctx, line: str, seconds: float):
    note(f"start {line} {ctx.attempt}")
    if ctx.attempt == 1:
        time.sleep(seconds)
    return ctx.attempt
"""
LEASE = 4

# From the jobs' own tables: a killed process may leave the history behind for a while.
STATES = """
from django_cfg_tasks import get_rearq_client
emit({
    r.args[0]: [r.status, r.result, [a.outcome for a in r.attempts], r.error_message]
    for r in get_rearq_client().read_records(0, 1000)
})
"""


@pytest.fixture
def make(make_project: Callable[..., TaskProject]) -> Callable[..., TaskProject]:
    def make(**options: Any) -> TaskProject:
        rearq = {"lease": LEASE, "max_jobs": 10, "shutdown_timeout": 1, **options.pop("rearq", {})}
        return make_project(TASKS, rearq=rearq, files={"shop/ledger.py": LEDGER}, **options)

    return make


def noted(project: TaskProject, start: str) -> set[str]:
    return {line for line in runs(project.folder) if line.startswith(start)}


def states(project: TaskProject) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = project.json(STATES)
    return found


def wait_for_states(project: TaskProject, statuses: set[str], timeout: float = 30) -> dict[str, list[Any]]:
    """Wait until every job has one of these statuses."""
    wait_until(lambda: {row[0] for row in states(project).values()} <= statuses, f"all are {statuses}", timeout)
    return states(project)


def end(*processes: Process) -> None:
    for process in processes:
        process.sigterm()
    assert [process.wait() for process in processes] == [0] * len(processes)


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
def test_a_killed_workers_jobs_start_again_within_two_leases(make: Callable[..., TaskProject], database: str) -> None:
    project = make(database=database)
    dying = project.worker(name="dying")
    project.run("from shop.tasks import gated\ngated.enqueue_many([[f'{n}'] for n in range(10)])")
    wait_until(lambda: len(noted(project, "start")) == 10, "10 jobs run")
    other = project.worker(name="other")
    other.wait_for_log("consumes")
    dying.sigkill()
    killed = time.monotonic()
    wait_until(lambda: len(noted(project, "start")) == 20, "all start again", timeout=2 * LEASE)
    assert time.monotonic() - killed > LEASE / 2, "nobody may be called dead before its lease has lapsed"
    project.write("go", "")
    rows = wait_for_states(project, {"success"})
    end(other)
    assert [row[1:3] for row in rows.values()] == [[2, ["orphaned", "success"]]] * 10
    assert set(runs(project.folder).values()) == {1}
    assert noted(project, "orphan") == {f"orphan {n} 1 WorkerLostError queued" for n in range(10)}
    kept = project.json(
        "from django.db import connection\ncursor = connection.cursor()\n"
        "cursor.execute('SELECT outcome, error_class, COUNT(*) FROM rearq_job_results GROUP BY 1, 2 ORDER BY 1')\n"
        "emit(cursor.fetchall())"
    )
    assert kept == [["orphaned", "WorkerLostError", 10], ["success", None, 10]]


def test_a_restarted_worker_of_the_same_name_takes_its_predecessors_jobs(
    make: Callable[..., TaskProject], redis_server: Any
) -> None:
    project = make()
    first = project.worker("--consumer-name", "one", name="first")
    project.run("from shop.tasks import gated\ngated.enqueue('a')")
    wait_until(lambda: noted(project, "start"), "the job runs")
    first.sigkill()
    with redis_server.client() as redis:
        redis.delete("rearq:worker")  # what an operator's cleaning up may do
    second = project.worker("--consumer-name", "one", name="second")
    wait_until(lambda: "start a 2" in runs(project.folder), "it starts again", timeout=5 * LEASE)
    project.write("go", "")
    assert wait_for_states(project, {"success"})["a"][2] == ["orphaned", "success"]
    end(second)
    with redis_server.client() as redis:
        assert redis.xinfo_consumers("rearq:queue:default", "rearq") == []


def test_a_job_that_was_given_unheard_is_run(make: Callable[..., TaskProject], redis_server: Any) -> None:
    """A connection may break after Redis has handed an entry out and before the worker has heard of it."""
    project = make()
    worker = project.worker()
    worker.wait_for_log("consumes")
    project.write("go", "")
    with redis_server.client() as redis:
        wait_until(lambda: redis.hgetall("rearq:worker"), "the worker is on the list")
        wait_until(lambda: redis.exists("rearq:queue:default"), "it has joined its group")
        (line,) = redis.hvals("rearq:worker")
        project.freeze(worker)
        redis.client_kill_filter(_type="normal")
        project.run("from shop.tasks import gated\ngated.enqueue('a')")
        # What its broken connection would have brought, had it come through.
        (given,) = redis.xreadgroup("rearq", json.loads(line)["consumer"], {"rearq:queue:default": ">"})
        assert given
    worker.send(signal.SIGCONT)
    assert wait_for_states(project, {"success"})["a"][1:3] == [1, ["success"]]
    end(worker)


def test_a_stopped_worker_that_wakes_up_changes_nothing(make: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make()
    stopped = project.worker(name="stopped")
    project.run("from shop.tasks import gated, stubborn\ngated.enqueue('a')\nstubborn.enqueue('b')")
    wait_until(lambda: len(noted(project, "start")) == 2, "both run")
    project.freeze(stopped)
    successor = project.worker(name="successor")
    wait_until(lambda: len(noted(project, "start")) == 4, "both start again", timeout=5 * LEASE)
    stopped.send(signal.SIGCONT)
    stopped.wait_for_log("was taken over by another worker; it is stopped here", count=2)
    wait_until(lambda: "told b 1" in runs(project.folder), "the stubborn one is told to stop")
    project.write("go-1", "")  # the stale run ends first
    end(stopped)
    with redis_server.client() as redis:
        assert redis.xpending("rearq:queue:default", "rearq")["pending"] == 2, "the successor's entries are its own"
    assert {row[0] for row in states(project).values()} == {"in_progress"}
    project.write("go-2", "")
    rows = wait_for_states(project, {"success"})
    end(successor)
    assert [rows[name][1:3] for name in "ab"] == [[2, ["orphaned", "success"]]] * 2
    assert "end a 1" not in runs(project.folder)


def test_a_worker_that_wakes_up_starts_nothing_of_what_had_a_slot(make: Callable[..., TaskProject]) -> None:
    """A slot is not a start: the first of a batch may keep the loop from all others while the process is frozen."""
    project = make(rearq={"lease": 2})
    project.run(
        "from shop.tasks import block, gated\nblock.enqueue('first', 2)\n"
        "gated.enqueue_many([[f'{n}'] for n in range(5)])"
    )
    stopped = project.worker(name="stopped")
    wait_until(lambda: "start first 1" in runs(project.folder), "it blocks the loop")
    project.freeze(stopped)
    assert noted(project, "start") == {"start first 1"}
    successor = project.worker(name="successor")
    wait_until(lambda: {f"start {n} 2" for n in range(5)} <= noted(project, "start"), "they start", timeout=30)
    stopped.send(signal.SIGCONT)
    stopped.wait_for_log("block .* success")
    stopped.wait_for_log("was taken over by another worker", count=5)
    project.write("go", "")
    wait_for_states(project, {"success"})
    end(stopped, successor)
    assert not {f"start {n} 1" for n in range(5)} & noted(project, "start")


def test_poison_is_failed_and_the_others_are_not(make: Callable[..., TaskProject]) -> None:
    project = make(rearq={"lease": 2, "max_deliveries": 2})
    project.run(
        "from shop.tasks import gated, poison\ngated.enqueue_many([[f'{n}'] for n in range(5)])\n"
        "poison.enqueue('bad')\ngated.enqueue_many([[f'{n}'] for n in range(5, 9)])"
    )
    worker = project.worker(name="first")
    for life in ("second", "third"):
        assert worker.wait(60) == -signal.SIGKILL
        worker = project.worker(name=life)
        project.write("go", "")
    worker.wait_for_log(r"poison .*worker\(s\) died while they ran this job \(max_deliveries\)", timeout=30)
    rows = wait_for_states(project, {"success", "failed"})
    assert worker.running
    end(worker)
    status, _, outcomes, error = rows.pop("bad")
    assert (status, outcomes) == ("failed", ["orphaned", "orphaned"])
    assert "2 worker(s) died while they ran this job" in error
    assert {row[0] for row in rows.values()} == {"success"}
    assert runs(project.folder)["start bad"] == 2


def test_blocking_code_is_reported_once_and_runs_once(make: Callable[..., TaskProject]) -> None:
    project = make(rearq={"lease": 2})
    workers = [project.worker(name="one"), project.worker(name="two")]
    for worker in workers:
        worker.wait_for_log("consumes")
    project.run("from shop.tasks import block\nblock.enqueue('a', 5)")
    assert wait_for_states(project, {"success"})["a"][1:3] == [1, ["success"]]
    end(*workers)
    output = "".join(worker.output for worker in workers)
    assert output.count("The event loop is blocked") == 1
    assert "time.sleep(seconds)" in output
    assert runs(project.folder)["start a 1"] == 1


def test_a_loop_that_is_blocked_for_too_long_loses_its_jobs(make: Callable[..., TaskProject]) -> None:
    project = make(rearq={"lease": 2, "job_timeout": 2})
    blocked = project.worker(name="blocked")
    project.run("from shop.tasks import block, gated\ngated.enqueue('a')\nblock.enqueue('b', 60)")
    wait_until(lambda: len(noted(project, "start")) == 2, "both run")
    other = project.worker(name="other")
    blocked.wait_for_log("gives its lease up, for its event loop is blocked", timeout=30)
    project.write("go", "")
    rows = wait_for_states(project, {"success"}, timeout=40)
    end(other)
    assert rows["b"][1:3] == [2, ["orphaned", "success"]]
    assert rows["a"][1] == 2
