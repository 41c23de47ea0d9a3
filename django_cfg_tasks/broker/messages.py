"""What is said to Redis and heard from it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django_cfg_tasks.broker import keys
from django_cfg_tasks.jobs import JobRecord


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery: a stream entry that this consumer was given."""

    queue: str
    msg_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Bell:
    """What to ring: a job that is due now, or (``due_ms``) at a moment, in ms since the epoch."""

    queue: str
    job_id: str
    due_ms: int | None = None


@dataclass(slots=True)
class Settlement:
    """What Redis is told after outcomes were recorded, all of it in one transaction."""

    entries: list[Entry] = field(default_factory=list)
    bells: list[Bell] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Peer:
    """A worker or timer process: its name, whether its lease stands, and what it says of itself."""

    name: str
    alive: bool
    line: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is in the streams of a queue, as a consumer group sees it."""

    ready: int
    """Entries that nobody has read yet."""
    oldest_seconds: float | None
    """For how long the oldest of them has waited, by Redis's clock; None if there is none."""
    delivered: int
    """Entries that workers have read and not acknowledged: their jobs run, or are about to."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of delayed jobs: how many are on their way now, and when the next one is due.

    ``next_ms`` is that moment in ms since the epoch, None if there is none, and ``seconds`` how far it is away by
    Redis's clock, which decides.
    """

    moved: int
    next_ms: float | None
    seconds: float


def bell_of(record: JobRecord) -> Bell:
    """Return how to ring for a job that waits."""
    return Bell(record.queue, record.job_id, round(record.due_time.timestamp() * 1000) if record.due_time else None)


def entries_of(reply: Any) -> list[Entry]:
    """Return the entries of an answer to XREADGROUP, whose shape varies with redis-py and its protocol."""
    pairs = reply.items() if isinstance(reply, dict) else reply or []
    return [
        Entry(keys.queue_of(stream), msg_id, (fields or {}).get("job_id", ""))
        for stream, entries in pairs
        for msg_id, fields in _flat(entries)
    ]


def _flat(entries: Any) -> Any:
    """Some protocol versions nest the entries of a stream once more."""
    nested = entries and isinstance(entries[0], list) and (not entries[0] or isinstance(entries[0][0], tuple | list))
    return entries[0] if nested else entries
