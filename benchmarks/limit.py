"""What the servers can do: the SQL and the Redis commands that jobs need, by plain drivers, and no code of ours.

One connection to each, one statement after another, nothing checked and nothing retried: whoever keeps jobs in these
tables and calls them by this Redis has at least this to do. `Postgres` and `Sqlite` take the same calls.
"""

# ruff: noqa: S608 - SQL is put together from constants, values are parameters

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self
from uuid import uuid4

import asyncpg
import redis

STREAM, GROUP, CONSUMER = "rearq:queue:default", "rearq", "limit"
Job = tuple[str, dt.datetime, str]
"""A job's id, when it was enqueued, and its arguments as JSON."""


class Database(Protocol):
    """The statements that jobs need, each for as many of them as it is given."""

    async def insert(self, jobs: Sequence[Job]) -> None:
        """Store new jobs."""

    async def claim(self, job_ids: list[str], now: dt.datetime) -> list[Job]:
        """Make waiting jobs this worker's, and return what it needs to run them."""

    async def finish(self, job_ids: list[str], now: dt.datetime, entries: list[str]) -> None:
        """Write that jobs have succeeded, and keep their attempts, in one transaction."""

    async def tell(self, jobs: Sequence[Job], now: dt.datetime) -> None:
        """Write the history that people read."""

    async def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True)
class Done:
    """How many jobs were seen to in how many seconds, and what CPU seconds that took of this process."""

    jobs: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


def enqueue(url: str, redis_url: str, seconds: float, batch: int = 1) -> Done:
    """Store jobs and ring for them, ``batch`` at a time, for so many seconds."""

    async def step(database: Database, client: redis.Redis) -> int:
        now = dt.datetime.now(dt.UTC)
        new = [(uuid4().hex, now, f"[{number}]") for number in range(batch)]
        await database.insert(new)
        pipe = client.pipeline(transaction=False)
        for job_id, _, _ in new:
            pipe.xadd(STREAM, {"job_id": job_id})
        pipe.execute()
        return batch

    return _repeated(url, redis_url, seconds, step)


def run_waiting(url: str, redis_url: str, seconds: float, batch: int, *, history: bool = True) -> Done:
    """Bring waiting jobs to their ends without running anything, ``batch`` at a time, until none waits or time is up.

    Their entries are read, their rows claimed; outcomes and attempts are written, and history unless it is left out;
    then the entries are acknowledged and deleted, and the ends told of.
    """

    async def step(database: Database, client: redis.Redis) -> int:
        read = client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=batch)
        if not read:
            return 0
        [[_, entries]] = read
        claimed = await database.claim([fields["job_id"] for _, fields in entries], dt.datetime.now(dt.UTC))
        now, job_ids, msg_ids = dt.datetime.now(dt.UTC), [job[0] for job in claimed], [entry[0] for entry in entries]
        await database.finish(job_ids, now, msg_ids)
        if history:
            await database.tell(claimed, now)
        pipe = client.pipeline()
        pipe.xack(STREAM, GROUP, *msg_ids)
        pipe.xdel(STREAM, *msg_ids)
        pipe.publish("rearq:finished", json.dumps(job_ids))
        pipe.execute()
        return len(claimed)

    return _repeated(url, redis_url, seconds, step)


def _repeated(url: str, redis_url: str, seconds: float, step: Any) -> Done:
    async def measured() -> Done:
        client = redis.Redis.from_url(redis_url, decode_responses=True)
        database = await (Postgres if url.startswith("postgres") else Sqlite).connect(url)
        try:
            if not client.exists(STREAM) or not client.xinfo_groups(STREAM):
                client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
            jobs, started, cpu = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - started < seconds and (done := await step(database, client)):
                jobs += done
            return Done(jobs, time.perf_counter() - started, time.process_time() - cpu)
        finally:
            await database.close()
            client.connection_pool.disconnect()

    return asyncio.run(measured())


_NEW = (
    "task, args, kwargs, job_retry, job_retries, job_retry_after, job_id, enqueue_time, status, queue, options, "
    "attempt, deliveries"
)
_CLAIMED = (
    "id, job_id, task, queue, args, kwargs, status, job_retry, job_retries, job_retry_after, enqueue_time, "
    "expire_time, due_time, start_time, owner, attempt, deliveries, options"
)
_ATTEMPT = "worker, success, msg_id, result, start_time, finish_time, job_id, attempt, outcome"
_HISTORY = (
    "job_id, task_name, queue_name, args, kwargs, status, success, worker_id, job_retry, job_retries, job_retry_after, "
    "retry_of, progress_message, result, error_class, error_message, traceback, attempts, enqueue_time, start_time, "
    "finish_time, duration_ms, created_at, updated_at, revision"
)
_BROUGHT_UP = ", ".join(
    f"{name} = excluded.{name}" for name in _HISTORY.split(", ") if name not in ("job_id", "created_at")
)
_UPSERT = f"ON CONFLICT (job_id) DO UPDATE SET {_BROUGHT_UP} WHERE excluded.revision >= django_cfg_task_log.revision"


def _attempts(now: dt.datetime) -> str:
    """An attempt as history keeps it."""
    moment = now.isoformat()
    return json.dumps(
        [{"attempt": 1, "worker": CONSUMER, "start_time": moment, "finish_time": moment, "outcome": "success"}
         | dict.fromkeys(("error_class", "error_message", "traceback"))]
    )  # fmt: skip


class Postgres:
    """The statements by asyncpg: columns travel as arrays."""

    _INSERT_ONE = (
        f"INSERT INTO rearq_job ({_NEW}) VALUES "
        "('nothing', $3::text::jsonb, '{}', 3, 0, 60, $1, $2, 'queued', 'default', '{}', 0, 0)"
    )
    _INSERT = (
        f"INSERT INTO rearq_job ({_NEW}) SELECT "
        "'nothing', args::jsonb, '{}', 3, 0, 60, id, at, 'queued', 'default', '{}', 0, 0 "
        "FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS x(id, at, args)"
    )
    _CLAIM = (
        "UPDATE rearq_job SET status = 'in_progress', owner = $1, start_time = $2, attempt = attempt + 1 "
        f"WHERE job_id = ANY($3::text[]) AND status IN ('queued', 'deferred') RETURNING {_CLAIMED}"
    )
    _FINISH = (
        "WITH done AS (UPDATE rearq_job SET status = 'success', owner = NULL "
        "WHERE id = ANY($1::bigint[]) AND status = 'in_progress' RETURNING id) "
        f"INSERT INTO rearq_job_results ({_ATTEMPT}) "
        "SELECT $4, true, entry || '#' || id, 'null', $2, $2, id, 1, 'success' "
        "FROM unnest($1::bigint[], $3::text[]) AS x(id, entry) JOIN done USING (id)"
    )
    _TELL = (
        f"INSERT INTO django_cfg_task_log ({_HISTORY}) SELECT "
        "id, 'nothing', 'default', args::jsonb, '{}', 'success', true, $5, 3, 0, 60, '', '', 'null', '', '', '', "
        "$6::text::jsonb, at, $4, $4, 0, $4, $4, 2147483647 "
        f"FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS x(id, at, args) {_UPSERT}"
    )

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._rows: dict[str, int] = {}

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Open a connection to a URL."""
        return cls(await asyncpg.connect(url))

    async def close(self) -> None:
        await self._connection.close()

    async def insert(self, jobs: Sequence[Job]) -> None:
        if len(jobs) == 1:
            await self._connection.execute(self._INSERT_ONE, *jobs[0])
        else:
            await self._connection.execute(self._INSERT, *map(list, zip(*jobs, strict=True)))

    async def claim(self, job_ids: list[str], now: dt.datetime) -> list[Job]:
        rows = await self._connection.fetch(self._CLAIM, CONSUMER, now, job_ids)
        self._rows = {row["job_id"]: row["id"] for row in rows}
        return [(row["job_id"], row["enqueue_time"], row["args"]) for row in rows]

    async def finish(self, job_ids: list[str], now: dt.datetime, entries: list[str]) -> None:
        await self._connection.execute(self._FINISH, [self._rows[job_id] for job_id in job_ids], now, entries, CONSUMER)

    async def tell(self, jobs: Sequence[Job], now: dt.datetime) -> None:
        columns = map(list, zip(*jobs, strict=True))
        await self._connection.execute(self._TELL, *columns, now, CONSUMER, _attempts(now))


class Sqlite:
    """The statements by Python's own driver, in the mode in which the engine opens the file."""

    _INSERT = (
        f"INSERT INTO rearq_job ({_NEW}) VALUES "
        "('nothing', ?, '{}', 3, 0, 60, ?, ?, 'queued', 'default', '{}', 0, 0)"
    )
    _CLAIM = (
        "UPDATE rearq_job SET status = 'in_progress', owner = ?, start_time = ?, attempt = attempt + 1 "
        "WHERE job_id IN (SELECT value FROM json_each(?)) AND status IN ('queued', 'deferred') "
        f"RETURNING {_CLAIMED}"
    )
    _FINISH = "UPDATE rearq_job SET status = 'success', owner = NULL WHERE id = ? AND status = 'in_progress'"
    _KEEP = f"INSERT INTO rearq_job_results ({_ATTEMPT}) VALUES (?, 1, ?, 'null', ?, ?, ?, 1, 'success')"
    _TELL = (
        f"INSERT INTO django_cfg_task_log ({_HISTORY}) VALUES "
        "(?, 'nothing', 'default', ?, '{}', 'success', 1, ?, 3, 0, 60, '', '', 'null', '', '', '', ?, ?, ?, ?, 0, ?, ?,"
        f" 2147483647) {_UPSERT}"
    )

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: dict[str, int] = {}

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Open a file; ``?synchronous=NORMAL`` may follow its name."""
        path, _, pragma = url.partition("?")
        connection = sqlite3.connect(path, timeout=20, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        if pragma:
            connection.execute(f"PRAGMA {pragma}")
        return cls(connection)

    async def close(self) -> None:
        self._connection.close()

    async def insert(self, jobs: Sequence[Job]) -> None:
        rows = [(args, job_id, at.isoformat(sep=" ")) for job_id, at, args in jobs]
        self._write((self._INSERT, rows))

    async def claim(self, job_ids: list[str], now: dt.datetime) -> list[Job]:
        claimed = [CONSUMER, now.isoformat(sep=" "), json.dumps(job_ids)]
        rows = self._connection.execute(self._CLAIM, claimed).fetchall()
        self._rows = {row[1]: row[0] for row in rows}
        return [(row[1], dt.datetime.fromisoformat(row[10]), row[4]) for row in rows]

    async def finish(self, job_ids: list[str], now: dt.datetime, entries: list[str]) -> None:
        ids, moment = [self._rows[job_id] for job_id in job_ids], now.isoformat(sep=" ")
        attempts = [(CONSUMER, f"{at}#{row}", moment, moment, row) for row, at in zip(ids, entries, strict=True)]
        self._write((self._FINISH, [(row,) for row in ids]), (self._KEEP, attempts))

    async def tell(self, jobs: Sequence[Job], now: dt.datetime) -> None:
        moment, attempts = now.isoformat(sep=" "), _attempts(now)
        times = (moment, moment, moment, moment)
        rows = [(job_id, args, CONSUMER, attempts, at.isoformat(sep=" "), *times) for job_id, at, args in jobs]
        self._write((self._TELL, rows))

    def _write(self, *statements: tuple[str, list[tuple[Any, ...]]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for statement, rows in statements:
            self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")
