"""What a thousand jobs ask of the servers, as these count it: work, not seconds, so that no machine is too slow."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from tests.postgres_server import PostgresServer
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

JOBS = 1000
MOST_STATEMENTS = 100
MOST_ROUND_TRIPS = 60
TASKS = """\
from django_cfg_tasks import task

@task
async def nothing(number: int):
    return None
"""
ENQUEUE = """\
from django_cfg_tasks.recorder import recorder
from shop.tasks import nothing
nothing.enqueue_many([[number] for number in range({jobs})])
recorder.flush()
"""


@contextmanager
def monitored(redis: RedisServer) -> Iterator[list[str]]:
    """Gather the commands that clients send meanwhile; what a script calls is no round trip."""
    commands: list[str] = []
    with redis.client() as client, client.monitor() as monitor:
        ended = threading.Event()

        def follow() -> None:
            for command in monitor.listen():
                if "the-end" in command["command"]:
                    break
                if command["client_type"] != "lua":
                    commands.append(command["command"])
            ended.set()

        threading.Thread(target=follow, daemon=True).start()
        try:
            yield commands
        finally:
            with redis.client() as other:
                other.echo("the-end")
            assert ended.wait(10)


def test_a_thousand_jobs_take_few_statements_and_round_trips(
    make_project: Callable[..., TaskProject], postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    project = make_project(TASKS, database="postgres", rearq={"max_jobs": 10})
    name = project.databases["default"]["NAME"]
    project.run(ENQUEUE.format(jobs=JOBS))
    with psycopg.connect(postgres_server.url(name), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(sql.Identifier(name)))
        logged = postgres_server.log.stat().st_size
        with monitored(redis_server) as commands:
            worker = project.worker()
            wait_until(lambda: shown_as_done(connection) == JOBS, "all are done, and the history says so", 60)
            worker.sigterm()
            assert worker.wait() == 0
        text = postgres_server.log.read_text(errors="replace")[logged:]
        assert connection.execute("SELECT count(*) FROM rearq_job_results").fetchone() == (JOBS,)
    statements = re.findall(r"LOG:  (?:statement|execute [^:]*): +(.*)", text)
    assert 10 < len(statements) <= MOST_STATEMENTS, counted(statements)
    assert 10 < len(commands) <= MOST_ROUND_TRIPS, counted(commands)


def shown_as_done(connection: psycopg.Connection[Any]) -> int:
    """Ask on a connection that was there before statements were logged."""
    row = connection.execute("SELECT count(*) FROM django_cfg_task_log WHERE status = 'success'").fetchone()
    assert row is not None
    return int(row[0])


def counted(lines: list[str]) -> str:
    """Say what was asked how often, for the message of a failure."""
    numbers: dict[str, int] = {}
    for line in lines:
        numbers[line[:70]] = numbers.get(line[:70], 0) + 1
    return "\n".join(f"{number:5} {line}" for line, number in sorted(numbers.items(), key=lambda item: -item[1]))
