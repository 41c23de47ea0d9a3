"""Measures one row once: fill, drain, memory, latency, and fill and drain again with the other concurrency."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers import environments
from benchmarks.peers.catalogue import Row
from benchmarks.peers.stamps import Stamps
from tests.postgres_server import PostgresServer
from tests.processes import Process, Processes
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import tail
from tests.waiting import NotInTime, wait_until

CONCURRENCIES = (10, 100)
DRAIN_TIMEOUT = 90
TASKS = """\
from benchmarks.peers.stamps import stamp
from django_cfg_tasks import task

@task
async def noop() -> None:
    stamp()
"""
# As docs/howto/configure.md has it, where several processes write to one file.
SQLITE = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
LOGGING = """
LOGGING = {
    "version": 1, "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django_cfg_tasks": {"handlers": ["console"], "level": "WARNING", "propagate": False}},
}
"""


class MeasureError(Exception):
    """A row could not be measured. The text has what it printed."""


@dataclass(frozen=True)
class Figures:
    """What one round found of one row. Rates are jobs per second; None where there is no such thing."""

    one: float
    at_once: float
    bulk: float | None
    drain_10: float
    drain_100: float | None
    p50: float
    p95: float
    samples: int
    tails: tuple[float, ...]
    """Of each drain, the seconds from the begin of the last run until it was noted; part of the drain."""
    megabytes: float
    jobs: int


def measure(row: Row, folder: Path, redis: RedisServer, postgres: PostgresServer, jobs: int) -> Figures:
    """Run one round in a new folder, on an emptied Redis and a new database; `MeasureError` if anything does."""
    redis.wipe()
    name = f"peers_{row.key.replace('-', '_')}"
    postgres.create_database(name)
    processes = Processes(folder)
    try:
        scene = _Scene(row, folder, processes, redis, postgres, name)
        return _round(scene, row, jobs)
    except (MeasureError, NotInTime, AssertionError, OSError, ValueError) as error:
        raise MeasureError(str(error)) from error
    finally:
        processes.kill_all()
        postgres.drop_database(name)


def _round(scene: _Scene, row: Row, jobs: int) -> Figures:
    scene.produce("prepare")
    filled = scene.produce("fill", "--one", jobs // 5, "--at-once", 2 * jobs // 5, "--bulk", 2 * jobs // 5)
    worker, drain_10, tail_10 = scene.drain(CONCURRENCIES[0], filled["waiting"])
    megabytes = _megabytes(worker)
    latency = scene.produce("latency", "--pause", row.pause)
    drain_100: float | None = None
    tails: tuple[float, ...] = (tail_10,)
    if not row.fixed:
        _end(worker)
        again = scene.produce("fill", "--bulk", jobs)
        _, drain_100, tail_100 = scene.drain(CONCURRENCIES[1], again["waiting"])
        tails = (tail_10, tail_100)
    return Figures(
        one=filled["one"],
        at_once=filled["at_once"],
        bulk=filled["bulk"],
        drain_10=drain_10,
        drain_100=drain_100,
        p50=latency["p50"],
        p95=latency["p95"],
        samples=latency["samples"],
        tails=tails,
        megabytes=megabytes,
        jobs=filled["waiting"],
    )


class _Scene:
    """One row's folder, environment and processes."""

    def __init__(
        self,
        row: Row,
        folder: Path,
        processes: Processes,
        redis: RedisServer,
        postgres: PostgresServer,
        database: str,
    ) -> None:
        self._row, self._folder, self._processes = row, folder, processes
        self._programs = environments.prepare(row)
        self._stamps = folder / "stamps"
        self._peer = {
            "PEER_REDIS": redis.url,
            "PEER_POSTGRES": postgres.url(database, scheme="postgres"),
            "PEER_FOLDER": str(folder),
            "PEER_VARIANT": row.variant,
            "PEER_STAMPS": str(self._stamps),
            "PEER_CONCURRENCY": str(CONCURRENCIES[0]),
            "PYTHONPATH": str(environments.ROOT),
        }
        if row.variant.startswith("django."):
            self._peer["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.adapters.django_settings"
        if row.ours:
            sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3"), "OPTIONS": SQLITE}
            self._project = TaskProject(
                folder,
                processes,
                tasks=TASKS,
                databases={"default": sqlite if row.variant == "sqlite" else postgres.django(database)},
                tasks_config={"rearq": {"redis_url": redis.url}},
                settings="import os\n"
                "DJANGO_CFG_TASKS['rearq']['max_jobs'] = int(os.environ['PEER_CONCURRENCY'])\n" + LOGGING,
            )
            self._peer["DJANGO_SETTINGS_MODULE"] = "project.settings"

    def produce(self, phase: str, *arguments: object) -> dict[str, Any]:
        """Run one phase of `benchmarks.peers.produce` to its end and return what it found."""
        process = self._start(phase, self._python(phase, *arguments))
        return self._answer(process, DRAIN_TIMEOUT + 30)

    def drain(self, concurrency: int, waiting: int) -> tuple[Process, float, float]:
        """Start a worker; return it, its jobs per second from the first to when the last is noted, and its tail."""
        Stamps.create(self._stamps)
        watch = self._start("settle", self._python("settle", "--expected", waiting, "--timeout", DRAIN_TIMEOUT))
        watch.wait_for_log("^waits$", 30)
        env = {"PEER_CONCURRENCY": str(concurrency)}
        if self._row.ours:
            worker = self._project.worker(name=f"worker-{concurrency}", env=self._peer | env)
        else:
            words = self._row.command.format(module=self._row.module, concurrency=concurrency).split()
            worker = self._start(f"worker-{concurrency}", [str(self._program(words[0])), *words[1:]], env)
        wait_until(lambda: not (watch.running and worker.running), "all jobs are done", DRAIN_TIMEOUT + 30)
        if watch.running:
            raise MeasureError(f"the worker ended: {_last_words(worker)}")
        try:
            found = self._answer(watch, 1)
        except MeasureError as error:
            raise MeasureError(f"{error}; worker: {_last_words(worker)}") from error
        return worker, waiting / found["seconds"], found["seconds"] - found["until_last_run"]

    def _python(self, phase: str, *arguments: object) -> list[str]:
        words = ["-m", "benchmarks.peers.produce", self._row.adapter, phase, *map(str, arguments)]
        return [str(self._program("python")), *words]

    def _program(self, name: str) -> Path:
        return Path(sys.executable) if self._row.ours and name == "python" else self._programs / name

    def _start(self, name: str, command: list[str], env: Mapping[str, str] | None = None) -> Process:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        everything = inherited | self._peer | {"PYTHONUNBUFFERED": "1"} | dict(env or {})
        return self._processes.start(*command, cwd=self._folder, env=everything, name=name)

    def _answer(self, process: Process, timeout: float) -> dict[str, Any]:
        if process.wait(timeout):
            raise MeasureError(f"{process.name}: {_last_words(process)}")
        found: dict[str, Any] = json.loads(process.output.strip().splitlines()[-1])
        return found


def _end(worker: Process) -> None:
    """Kill an idle worker with its children: nothing is lost by it, and some take long to stop."""
    worker.sigkill()
    worker.wait(10)


def _megabytes(worker: Process) -> float:
    """Return what the worker's processes hold in memory; what they share counts in each."""
    first = psutil.Process(worker.pid)
    total = 0
    for process in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 1e6


def _last_words(process: Process) -> str:
    """Return the last line that names an error, else the last line."""
    lines = [line.strip(" |+-") for line in tail(process.log, 60).splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Timeout)\b", line)]
    return (errors or [line for line in lines if line] or [f"{process!r} printed nothing"])[-1]
