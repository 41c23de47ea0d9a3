"""Priorities of -100 to 100 as lanes of a queue. Pure, but for what the backends of this process have chosen.

A lane is a queue of its own, ``default@50``, that a worker of ``default`` consumes in its turn. Each level begins a
lane: that of 50 holds the priorities from 50 up to the next level, that of 0 is the queue itself, and the lowest holds
what lies below it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SEPARATOR = "@"
LOWEST, HIGHEST = -100, 100
LEVELS = (50, 1, -50, -100)
"""The levels beside 0, unless a backend chooses others."""

_levels: dict[str | None, set[int]] = {}
"""By queue, what the backends of this process have chosen; None: for queues that no backend names."""


def note_levels(queues: Iterable[str], levels: Iterable[int]) -> None:
    """Have workers of ``queues`` (of any, where there are none) consume lanes of these levels."""
    named: list[str | None] = [*queues]
    for queue in named or [None]:
        _levels.setdefault(queue, set()).update(levels)


def lanes_of(queue: str) -> Sequence[str]:
    """Return the lanes of a queue, most urgent first; a lane has no others beside it."""
    levels = _levels.get(queue) or _levels.get(None)
    if not levels or SEPARATOR in queue:
        return (queue,)
    return [_named(queue, level) for level in sorted({*levels, 0}, reverse=True)]


def lane_of(queue: str, priority: int, levels: Iterable[int]) -> str:
    """Return the lane of a job."""
    chosen = {*levels, 0}
    return _named(queue, max((level for level in chosen if level <= priority), default=min(chosen)))


def queue_and_level(lane: str) -> tuple[str, int]:
    """Return the queue that a lane belongs to, and its level."""
    queue, separator, level = lane.rpartition(SEPARATOR)
    try:
        return (queue, int(level)) if separator else (lane, 0)
    except ValueError:
        return lane, 0


def _named(queue: str, level: int) -> str:
    return f"{queue}{SEPARATOR}{level}" if level else queue
