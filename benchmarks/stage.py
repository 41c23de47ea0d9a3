"""What the benchmarks of the engine play on: private servers, and a project with tasks that do nothing.

Jobs that wait and history of long ago are made here by SQL, the same for the engine and for what it is compared with.
What is measured is the business of others.
"""

# ruff: noqa: S608 - SQL is put together from constants

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import redis

from tests.postgres_server import PostgresServer
from tests.processes import Process, Processes
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
GROUP = "rearq"
DEFAULTS = ("fsync=on", "full_page_writes=on", "wal_level=replica", "shared_buffers=128MB")
"""PostgreSQL as it is delivered, where the tests' own server is not."""
UNSAFE = ("fsync=off", *DEFAULTS[1:])
"""The same, but that it never waits for the disk."""
STORES = {
    "postgres": "PostgreSQL",
    "nofsync": "PostgreSQL, fsync=off",
    "sqlite": "SQLite",
    "nosync": "SQLite, synchronous=NORMAL",
}
"""Where jobs can be kept, by the name for the command line. Two never wait for the disk."""
TASKS = """\
import asyncio
from django_cfg_tasks import task

@task
async def nothing(number: int) -> None:
    pass

@task
def nothing_in_a_thread(number: int) -> None:
    pass

@task
async def waits_50_ms(number: int) -> None:
    await asyncio.sleep(0.05)
"""
SETTINGS = """
import os
DJANGO_CFG_TASKS["rearq"]["max_jobs"] = int(os.environ.get("MAX_JOBS", "10"))
"""


_POSTGRES = {
    "series": "generate_series(1, {jobs}) AS series(n)",
    "now": "now()",
    "now_of_django": "now()",
    "json": "::jsonb",
}
_SQLITE = {
    "series": "(WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {jobs}) "
    "SELECT n FROM series) AS series",
    "now": "strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00:00'",
    "now_of_django": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "json": "",
}
_WAITING_JOBS = """
INSERT INTO rearq_job (task, args, kwargs, job_retry, job_retries, job_retry_after, job_id, enqueue_time, status, queue,
    options, attempt, deliveries)
SELECT {task}, ('[' || n || ']'){json}, '{{}}', 3, 0, 60, {job}, {now}, 'queued', {queue}, '{{}}', 0, 0 FROM {series}
"""
_WAITING_HISTORY = """
INSERT INTO django_cfg_task_log (job_id, task_name, queue_name, args, kwargs, status, worker_id, job_retry, job_retries,
    job_retry_after, retry_of, progress_message, error_class, error_message, traceback, attempts, enqueue_time,
    created_at, updated_at, revision)
SELECT {job}, {task}, {queue}, ('[' || n || ']'){json}, '{{}}', 'queued', '', 3, 0, 60, '', '', '', '', '', '[]',
    {now_of_django}, {now_of_django}, {now_of_django}, 0 FROM {series}
"""


@dataclass(frozen=True)
class Cpu:
    """CPU seconds that were used up to a moment, or between two: of the program, the SQL server, and Redis."""

    program: float
    sql: float
    redis: float

    def __sub__(self, before: Self) -> Cpu:
        return Cpu(self.program - before.program, self.sql - before.sql, self.redis - before.redis)


class Stage:
    """A Redis, a database, and a migrated project whose jobs are kept in them. Close it with ``with``."""

    def __init__(self, folder: Path, store: str, postgres: PostgresServer | None = None) -> None:
        folder.mkdir()
        os.environ["PYTHONPATH"] = str(ROOT)
        self.store = store
        self.postgres = postgres
        self.file = folder / "jobs.sqlite3"
        self.redis = RedisServer().start()
        self.processes = Processes(folder)
        database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.file)}
        if store == "nosync":
            database["OPTIONS"] = {"init_command": "PRAGMA synchronous=NORMAL"}
        if postgres is not None:
            self.name = f"stage_{folder.name}".replace("-", "_")
            postgres.create_database(self.name)
            database = postgres.django(self.name)
        self.project = TaskProject(
            folder,
            self.processes,
            tasks=TASKS,
            databases={"default": database},
            tasks_config={"rearq": {"redis_url": self.redis.url}},
            settings=SETTINGS,
        )
        self.project.manage("migrate", "--verbosity=0", timeout=120)
        # Kept open: to connect costs a server more than many of the questions.
        self._client = redis.Redis.from_url(self.redis.url, decode_responses=True)
        self._connection: Any = (
            postgres.connect(self.name)
            if postgres is not None
            else sqlite3.connect(self.file, timeout=60, isolation_level=None)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.kill_all()
        self._connection.close()
        self._client.connection_pool.disconnect()
        self.redis.close()

    @property
    def title(self) -> str:
        """What the tables call it."""
        return STORES[self.store]

    @property
    def url(self) -> str:
        """The database, for `limit`: a URL of PostgreSQL, or SQLite's file."""
        if self.postgres is not None:
            return self.postgres.url(self.name, scheme="postgresql")
        return f"{self.file}?synchronous=NORMAL" if self.store == "nosync" else str(self.file)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run SQL, each statement by itself; return the rows of the last."""
        for statement in statements:
            cursor = self._connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def clear(self) -> None:
        """Forget all jobs: the rows, their history, and what Redis knows of them."""
        if self.postgres is not None:
            self.execute("TRUNCATE rearq_job, rearq_job_results, django_cfg_task_log RESTART IDENTITY")
        else:
            tables = ("rearq_job_results", "rearq_job", "django_cfg_task_log")
            self.execute(*(f"DELETE FROM {table}" for table in tables), "PRAGMA wal_checkpoint(TRUNCATE)")
        self.redis.wipe()

    # ---------------------------------------------------------------- rows made by SQL

    def add_waiting(self, jobs: int, task: str = "nothing", queues: int = 1) -> None:
        """Let so many jobs wait, as enqueueing leaves them: their rows, their history, their entries in the streams.

        Each of ``queues``, which are called as `queue_name` says, has a block of them: where the jobs of one queue lie
        scattered among others, PostgreSQL reads more pages for each, and that is what would be measured.
        """
        dialect = _POSTGRES if self.postgres is not None else _SQLITE
        [[known]] = self.execute("SELECT COALESCE(max(id), 0) FROM rearq_job")
        values = {
            "job": f"'waits-' || (n + {known})",
            "queue": "'default'" if queues == 1 else f"'queue' || ((n - 1) * {queues} / {jobs})",
            "task": f"'{task}'",
            "jobs": jobs,
        }
        self.execute(*(statement.format(**{**dialect, **values, "series": dialect["series"].format(**values)})
                       for statement in (_WAITING_JOBS, _WAITING_HISTORY)))  # fmt: skip
        self.settle()
        for start in range(1, jobs + 1, 10_000):
            pipe = self._client.pipeline(transaction=False)
            for number in range(start, min(start + 10_000, jobs + 1)):
                queue = queue_name((number - 1) * queues // jobs, queues)
                pipe.xadd(f"rearq:queue:{queue}", {"job_id": f"waits-{number + known}"})
            pipe.execute()

    def settle(self) -> None:
        """Let the database do now what it would do later by itself, in the middle of a measurement."""
        if self.postgres is not None:
            tables = ("rearq_job", "rearq_job_results", "django_cfg_task_log")
            self.execute(*(f"VACUUM ANALYZE {table}" for table in tables), "CHECKPOINT")

    def waiting(self, queues: int = 1) -> int:
        """Return how many entries are in the streams: jobs that are not settled with Redis."""
        pipe = self._client.pipeline(transaction=False)
        for number in range(queues):
            pipe.xlen(f"rearq:queue:{queue_name(number, queues)}")
        return sum(pipe.execute())

    def held(self) -> dict[str, int]:
        """Return how many entries each consumer of the queue has read and not acknowledged."""
        try:
            consumers = self._client.xinfo_consumers("rearq:queue:default", GROUP)
        except redis.ResponseError:  # no worker has made the group yet
            return {}
        return {consumer["name"]: consumer["pending"] for consumer in consumers}

    # ---------------------------------------------------------------- processes

    @contextmanager
    def worker(self, *arguments: str, slots: int = 10, name: str = "worker") -> Iterator[Process]:
        """Run a worker that consumes when the block begins, and is ended with it."""
        worker = self.project.worker(*arguments, name=name, env={"MAX_JOBS": str(slots)})
        try:
            worker.wait_for_log("consumes ", timeout=60)
            yield worker
            worker.stop()
        finally:
            worker.sigkill()

    def cpu(self, program: int | None = None) -> Cpu:
        """Return the CPU seconds used so far: by a process (default: this one), the SQL server and Redis."""
        server = self.postgres._process.pid if self.postgres is not None and self.postgres._process else None  # noqa: SLF001
        return Cpu(
            cpu_seconds(program or os.getpid()),
            cpu_seconds(server, children=True) if server else 0.0,
            cpu_seconds(self.redis.pid),
        )

    def wait_for(self, condition: Any, description: str, timeout: float = 600) -> None:
        """`wait_until`, showing what the processes printed where it is in vain."""
        try:
            wait_until(condition, description, timeout)
        except AssertionError:
            for title, text in self.processes.report():
                say(f"{title}\n{text}")
            raise


def queue_name(number: int, queues: int) -> str:
    """Return the name of one of so many queues, by its number; a single one is called ``default``."""
    return "default" if queues == 1 else f"queue{number}"


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """Return the CPU seconds that a process has used; with ``children``, those of its children too, gone ones as well.

    (To look for grandchildren as well would take so long that a worker is done meanwhile.)
    """
    process = psutil.Process(pid)
    if not children:
        times = process.cpu_times()
        return float(times.user + times.system)
    while True:
        times = process.cpu_times()
        found = process.children()
        try:
            used = times.user + times.system + sum(cpu_seconds(child.pid) for child in found)
        except psutil.NoSuchProcess:
            continue  # it has ended just now: its parent will count it
        gone = times.children_user + times.children_system
        now = process.cpu_times()
        if gone == now.children_user + now.children_system:
            return float(used + gone)


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
