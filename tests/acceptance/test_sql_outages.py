"""SQL goes away and comes back while workers run: outcomes wait, nothing is lost, nothing runs twice."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.mysql_server import MySQLServer
from tests.postgres_server import PostgresServer
from tests.processes import Process
from tests.project import MAIN, TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
import asyncio
from pathlib import Path
from django_cfg_tasks import task
from shop.ledger import note

@task(job_retry=0)
async def mark(line: str):
    note(line)
    await asyncio.sleep(0.02)

@task(job_retry=0)
async def gated(line: str):
    note(line)
    while not Path("go").exists():
        await asyncio.sleep(0.05)
    return line
"""

STREAM = "rearq:queue:default"


@pytest.fixture
def make(make_project: Callable[..., TaskProject]) -> Callable[..., TaskProject]:
    def make(**options: Any) -> TaskProject:
        return make_project(TASKS, files={"shop/ledger.py": LEDGER, **options.pop("files", {})}, **options)

    return make


def jobs(project: TaskProject) -> dict[str, int]:
    """Return how many jobs are in which state after how many attempts: ``{"success 1": 200}``."""
    counted: dict[str, int] = project.json(
        "from collections import Counter\nfrom django_cfg_tasks import get_rearq_client\n"
        "emit(Counter(f'{job.status} {job.attempt}' for job in get_rearq_client().read_records(0, 5000)))"
    )
    return counted


def history(project: TaskProject) -> dict[str, int]:
    counted: dict[str, int] = project.json(
        "from collections import Counter\nfrom django_cfg_tasks.models import TaskLog\n"
        "emit(Counter(TaskLog.objects.values_list('status', flat=True)))"
    )
    return counted


def enqueue_many(project: TaskProject, count: int, *, first: int = 0) -> None:
    project.run(f"from shop.tasks import mark\nmark.enqueue_many([[str(n)] for n in range({first}, {first + count})])")


def ends_well(project: TaskProject, workers: list[Process], redis: RedisServer, count: int) -> None:
    """Assert that all ``count`` jobs end within a short time, each run once, and that nothing is left over."""
    wait_until(lambda: sum(runs(project.folder).values()) >= count, f"{count} runs", timeout=30)
    with redis.client() as client:
        wait_until(lambda: client.xlen(STREAM) == 0, "all is acknowledged", timeout=15)
    assert [worker.stop() for worker in workers] == [0] * len(workers)
    assert set(runs(project.folder).values()) == {1}
    assert jobs(project) == {"success 1": count}
    assert history(project) == {"success": count}
    assert not any("Traceback" in worker.output for worker in workers)


def outages(workers: list[Process]) -> int:
    """How often workers have said that SQL is away."""
    return sum(len(re.findall(r"wait to be (?:claimed|recorded)", worker.output)) for worker in workers)


Server = PostgresServer | MySQLServer


@pytest.fixture
def server(request: pytest.FixtureRequest, database: str) -> Server:
    """The server of ``database``: "postgres" or "mysql"."""
    found: Server = request.getfixturevalue(f"{database}_server")
    return found


@pytest.mark.parametrize("database", ["postgres", "mysql"])
def test_the_server_crashes_and_restarts_under_load(
    make: Callable[..., TaskProject], database: str, server: Server, redis_server: RedisServer
) -> None:
    project = make(database=database)
    workers = [project.worker("--with-timer", name=name) for name in ("one", "two")]
    for crash in (0, 1):
        (project.folder / "go").unlink(missing_ok=True)
        project.run(f"from shop.tasks import gated\ngated.enqueue('gated {crash}')")
        enqueue_many(project, 200, first=200 * crash)
        wait_until(lambda crash=crash: runs(project.folder)[f"gated {crash}"], "jobs run")  # type: ignore[misc]
        before = outages(workers)
        server.kill()
        project.write("go", "")  # one at least has an outcome that can't be recorded now
        wait_until(lambda before=before: outages(workers) > before, "a worker notices")  # type: ignore[misc]
        server.start()
    ends_well(project, workers, redis_server, 402)


@pytest.mark.parametrize("database", ["postgres", "mysql"])
def test_all_connections_of_the_database_are_cut_under_load(
    make: Callable[..., TaskProject], database: str, server: Server, redis_server: RedisServer
) -> None:
    project = make(database=database)
    workers = [project.worker("--with-timer", name=name) for name in ("one", "two")]
    cut = 0
    for first in range(0, 400, 80):
        # A share for each cut: a busy machine might run all of them before the second.
        enqueue_many(project, 80, first=first)
        wait_until(lambda first=first: len(runs(project.folder)) > first + 20, "jobs run", timeout=30)  # type: ignore[misc]
        cut += server.terminate_backends(project.databases["default"]["NAME"])
    assert cut > 5, "connections were lost each time"
    ends_well(project, workers, redis_server, 400)


def test_postgresql_takes_no_writes_for_a_while(
    make: Callable[..., TaskProject], postgres_server: PostgresServer, postgres_database: str, redis_server: RedisServer
) -> None:
    project = make(database="postgres")
    worker = project.worker("--with-timer")
    project.run("from shop.tasks import gated\ngated.enqueue('gated')")
    wait_until(lambda: runs(project.folder) == {"gated": 1}, "the job runs")
    enqueue_many(project, 20)
    # As a primary does that has become a standby.
    with postgres_server.connect() as admin:
        admin.execute(f"ALTER DATABASE {postgres_database} SET default_transaction_read_only = on")
        postgres_server.terminate_backends(postgres_database)
        project.write("go", "")
        worker.wait_for_log("wait to be recorded; .*read-only transaction", count=2)
        admin.execute(f"ALTER DATABASE {postgres_database} RESET default_transaction_read_only")
        postgres_server.terminate_backends(postgres_database)
    ends_well(project, [worker], redis_server, 21)


def test_while_postgresql_is_stopped_nothing_is_acknowledged_or_fetched(
    make: Callable[..., TaskProject], postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    project = make(database="postgres", rearq={"max_jobs": 2})
    worker = project.worker()
    project.run(
        "from shop.tasks import gated, mark\ngated.enqueue_many([['a'], ['b']])\n"
        "mark.enqueue_many([[str(n)] for n in range(20)])"
    )
    wait_until(lambda: set(runs(project.folder)) >= {"a", "b"}, "two jobs run")
    postgres_server.stop()
    project.write("go", "")
    worker.wait_for_log(r"[12] outcome\(s\) wait to be recorded", count=3)
    with redis_server.client() as client:
        assert client.xlen(STREAM) == 22
        # The two that ran, and what was read before their outcomes were found to wait.
        assert 2 <= client.xpending(STREAM, "rearq")["pending"] <= 4
    assert set(runs(project.folder)) == {"a", "b"}
    postgres_server.start()
    ends_well(project, [worker], redis_server, 22)


@pytest.mark.parametrize("where", ["in Django's database", "in one of their own"])
def test_a_locked_sqlite_keeps_outcomes_waiting(
    make: Callable[..., TaskProject], tmp_path: Path, redis_server: RedisServer, where: str
) -> None:
    django, own = tmp_path / "django.sqlite3", tmp_path / "jobs.sqlite3"
    engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(django), "OPTIONS": {"timeout": 0.3}}
    separate = where == "in one of their own"
    project = make(database=engine, rearq={"db_url": f"sqlite:///{own}?busy_timeout=300"} if separate else {})
    worker = project.worker("--with-timer")
    project.run("from shop.tasks import gated\ngated.enqueue_many([[str(n)] for n in range(10)])")
    wait_until(lambda: len(runs(project.folder)) == 10, "ten jobs run")
    with closing(sqlite3.connect(own if separate else django, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        project.write("go", "")
        worker.wait_for_log("wait to be recorded; .*database is locked", count=2)
        with redis_server.client() as client:
            assert client.xpending(STREAM, "rearq")["pending"] == 10
        other.execute("ROLLBACK")
    worker.wait_for_log("Outcomes are being recorded again")
    ends_well(project, [worker], redis_server, 10)


def test_the_history_s_database_is_away_alone(
    make: Callable[..., TaskProject], postgres_server: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    project = make(database="postgres", rearq={"db_url": f"sqlite:///{tmp_path / 'jobs.sqlite3'}"})
    worker = project.worker("--with-timer")
    worker.wait_for_log("leads")
    postgres_server.stop()
    caller = project.start_code(
        "from shop.tasks import mark\njobs = mark.enqueue_many([[str(n)] for n in range(50)])\n"
        "print('results', [job.wait(timeout=15).status for job in jobs] == ['success'] * 50, flush=True)",
        name="caller",
    )
    caller.wait_for_log("^results True$")
    worker.wait_for_log("TaskLog can't be written: .* Jobs run on all the same")
    postgres_server.start()
    worker.wait_for_log("TaskLog is written again", timeout=40)
    wait_until(lambda: history(project) == {"success": 50}, "the history has caught up")
    ends_well(project, [worker], redis_server, 50)


def test_outcomes_that_wait_are_bounded(
    make: Callable[..., TaskProject], postgres_server: PostgresServer, postgres_database: str, redis_server: RedisServer
) -> None:
    bounds = (
        "\nfrom django_cfg_tasks.worker import slots, worker\nworker.MOST_UNRECORDED, slots.MOST_PREFETCHED = 30, 0\n"
    )
    project = make(database="postgres", rearq={"max_jobs": 10, "lease": 2}, files={"main.py": MAIN + bounds})
    worker = project.worker()

    def line() -> dict[str, Any]:
        with redis_server.client() as client:
            lines: list[str] = client.hvals("rearq:worker")
        return json.loads(lines[0]) if lines else {}

    wait_until(lambda: line().get("state") == "consuming", "the worker consumes")
    with postgres_server.connect(postgres_database) as other, other.transaction():
        # Jobs can be claimed, and their outcomes not be written.
        other.execute("LOCK TABLE rearq_job_results")
        enqueue_many(project, 200)
        wait_until(lambda: line().get("state") == "waiting" and line()["running"] == 0, "the worker takes no more")
        assert 30 <= len(runs(project.folder)) < 30 + 10
        with redis_server.client() as client:
            assert client.xlen(STREAM) == 200
    ends_well(project, [worker], redis_server, 200)
