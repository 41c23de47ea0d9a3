"""Where things are in Redis: ReArq's own layout, and the few keys that we add."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

QUEUE_PREFIX = "rearq:queue:"
"""Streams: ``rearq:queue:<name>``, entries ``{"job_id": id}``."""
DELAY_PREFIX = "rearq:queue:delay:"
"""Sorted sets of delayed jobs: member ``<stream>:<job id>``, score the due time in ms."""
WORKERS = "rearq:worker"
"""Hash: worker name -> JSON (queue, is_timer, ms, group, consumer; ours add more)."""
CHANNEL = "rearq:channel"
"""Messages ``{"type": "cancel_task" | "delay_changed", ...}``."""
FINISHED_CHANNEL = "rearq:finished"
"""Messages: JSON lists of the ids of jobs that became final. Ours."""
TIMER_LEASE = "rearq:timer:leader"
"""The leading timer's token. Ours."""
ALIVE_PREFIX = "rearq:alive:"
"""``rearq:alive:<consumer>``: exists while that consumer lives. Ours."""
PULSE = "rearq:pulse"
"""Exists while anybody renews a lease. Ours."""
GRACE = "rearq:grace"
"""Exists while nobody may be called dead: all have to give a sign of life first. Ours."""
SWEPT = "rearq:swept"
"""Exists while the last sweep is recent; a wiped Redis lacks it. Ours."""
LOCK_PREFIX = "rearq:lock:"
"""``rearq:lock:<name>``: the lease of a lock of users' own, its holder's token. Ours."""
UNLOCKED_CHANNEL = "rearq:unlocked"
"""Messages: JSON texts, the names of such locks that are free now. Ours."""
GATES = "rearq:gates"
"""Sorted set: gates that jobs wait in front of -> when to look at them next, in ms. Ours; see ``gates.lua``."""
GATE_PREFIX = "rearq:gate:"
GATE_LINE_PREFIX = "rearq:gates:line:"
"""Sorted sets: jobs that wait for the same gates, in their order. Ours; see ``gates.lua``."""
DISABLED_GATE = "disabled:"
"""Starts the names of the gates of disabled tasks."""
NEXT = ":next"
"""``rearq:queue:<name>:next``: the stream of jobs that have waited for their turn, read before the queue's. Ours."""


def stream(queue: str) -> str:
    """Return the stream of ``queue``."""
    return QUEUE_PREFIX + queue


def streams(queues: Iterable[str]) -> list[str]:
    """Return the streams of ``queues``: of each, first that of jobs that have waited already."""
    return [stream(queue) + suffix for queue in queues for suffix in (NEXT, "")]


def base_queue(queue: str) -> str:
    """Return the queue itself, where ``queue`` may be the one of jobs that have waited already."""
    return queue.removesuffix(NEXT)


def gate(name: str, part: str) -> str:
    """Return one of the keys of a gate."""
    return f"{GATE_PREFIX}{name}:{part}"


def queue_of(stream: str) -> str:
    """Return the queue whose stream this is."""
    return stream.removeprefix(QUEUE_PREFIX)


def delayed_member(queue: str, job_id: str) -> str:
    """Return a job's member of its delayed set."""
    return f"{stream(queue)}:{job_id}"


def job_of(member: str) -> str:
    """Return the job id of a member of a delayed set (queue names hold no colon, job ids may)."""
    return member.removeprefix(QUEUE_PREFIX).partition(":")[2]


def delay_shard(member: str, shards: int) -> str:
    """Return the delayed set that ``member`` belongs in, as ReArq spreads them."""
    return f"{DELAY_PREFIX}{int(hashlib.sha256(member.encode()).hexdigest(), 16) % shards}"


def delay_shards(shards: int) -> list[str]:
    """Return all delayed sets."""
    return [f"{DELAY_PREFIX}{number}" for number in range(shards)]
