"""What is in SQL and in Redis when all is over, as plain data. Judges nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import redis

from chaos.stage import DATABASE, Stage

FINAL = frozenset({"success", "failed", "expired", "canceled"})
STREAM = "rearq:queue:"
DELAYED = "rearq:queue:delay:"
PERMITTED = frozenset({"rearq:pulse", "rearq:grace", "rearq:swept"})
"""Keys beside the streams that may be left; they lapse."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of ``rearq_job_results``; times are seconds since the epoch."""

    number: int
    worker: str
    outcome: str
    error_class: str
    began: float
    ended: float


@dataclass(slots=True)
class JobRow:
    """A row of ``rearq_job``, with its attempts by number, and what the history says of it."""

    job_id: str
    task: str
    status: str
    deliveries: int
    attempts: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    history: str | None = None
    """Its status in TaskLog; None where it has no row."""


@dataclass(slots=True)
class Doorbell:
    """What is left in Redis."""

    entries: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    consumers: list[str] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    """Names in the list of workers."""
    others: list[str] = field(default_factory=list)
    """Further keys that should not be there."""


def read_jobs(stage: Stage) -> dict[str, JobRow]:
    """Return all jobs by id; `psycopg.Error` while PostgreSQL is away."""
    with stage.postgres.connect(DATABASE) as connection:
        by_key: dict[int, JobRow] = {}
        for key, *row in _rows(connection, "SELECT id, job_id, task, status, COALESCE(deliveries, 0) FROM rearq_job"):
            by_key[key] = JobRow(*row)
        results = (
            "SELECT job_id, attempt, worker, outcome, COALESCE(error_class, ''), EXTRACT(epoch FROM start_time)::float,"
            " EXTRACT(epoch FROM finish_time)::float FROM rearq_job_results"
        )
        for key, number, *row in _rows(connection, results):
            by_key[key].attempts[number].append(Attempt(number, *row))
        jobs = {job.job_id: job for job in by_key.values()}
        for job_id, status in _rows(connection, "SELECT job_id, status FROM django_cfg_task_log"):
            # A row without its job would be a fault of its own.
            jobs.setdefault(job_id, JobRow(job_id, "", "only in the history", 0)).history = status
    return jobs


def _rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return found


def read_redis(stage: Stage) -> Doorbell:
    """Return what is left in Redis."""
    bell = Doorbell()
    with stage.redis.client() as client:
        for key in sorted(client.scan_iter(count=1000)):
            if key.startswith(STREAM) and not key.startswith(DELAYED):
                _look_at_stream(client, key, bell)
            elif key == "rearq:worker":
                bell.workers = sorted(client.hkeys(key))
            elif key not in PERMITTED:
                bell.others.append(f"{key} ({client.type(key)})")
    return bell


def listed_pids(stage: Stage) -> set[int]:
    """Return the processes that are on the list of workers, or consumers of a group."""
    with stage.redis.client() as client:
        pids = {int(json.loads(line)["pid"]) for line in client.hvals("rearq:worker")}
        bell = Doorbell()
        for key in client.scan_iter(f"{STREAM}*", _type="stream"):
            _look_at_stream(client, key, bell)
    # A consumer's name: host-pid-random.
    return pids | {int(name.rpartition("/")[2].split("-")[-2]) for name in bell.consumers}


def _look_at_stream(client: redis.Redis, key: str, bell: Doorbell) -> None:
    bell.entries += [f"{key} {entry_id} {fields}" for entry_id, fields in client.xrange(key)]
    for group in client.xinfo_groups(key):
        pending = client.xpending_range(key, group["name"], "-", "+", group["pending"]) if group["pending"] else []
        bell.pending += [f"{key} {entry['message_id']} of {entry['consumer']}" for entry in pending]
        bell.consumers += [f"{key}/{c['name']}" for c in client.xinfo_consumers(key, group["name"])]
