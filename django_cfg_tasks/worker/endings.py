"""Tells the log how jobs ended: each by a line of its own, unless so many end well that nobody could read them."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass

from django_cfg_tasks.jobs import JobRecord

logger = logging.getLogger("django_cfg_tasks.worker")

NOTHING, MILLISECOND = dt.timedelta(0), dt.timedelta(milliseconds=1)
WINDOW_SECONDS = 1.0
MOST_LINES = 100
"""How many jobs that ended well have a line of their own in each window; the rest of it is summed up by task."""


@dataclass(slots=True)
class _Sum:
    jobs: int = 0
    total: dt.timedelta = NOTHING
    longest: dt.timedelta = NOTHING


class Endings:
    """The ends of one worker's jobs, on their way into the log; made and used on its loop.

    What went wrong is always told, and at level DEBUG everything.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._lines = 0
        self._sums: dict[str, _Sum] = {}

    def note(self, record: JobRecord, now: float) -> None:
        """Tell of a job that has ended, or of a run that is followed by another; ``now`` is by the loop's clock."""
        if record.error_class:
            error = f"{record.error_class}: {record.error_message}"
            logger.warning(
                "%s %s in %s ms: %s (%s)", record.task, record.job_id, record.duration_ms, record.status, error
            )
        elif self._has_line(now):
            logger.info("%s %s in %s ms: %s", record.task, record.job_id, record.duration_ms, record.status)
        else:
            self._add(record)

    def flush(self) -> None:
        """Tell what has been summed up so far."""
        sums, self._sums = self._sums, {}
        for task, found in sums.items():
            logger.info(
                "%s: %d more jobs ended within a second, after %.1f ms on average, %d ms at most.",
                task, found.jobs, found.total / found.jobs / MILLISECOND, round(found.longest / MILLISECOND),
            )  # fmt: skip

    def _has_line(self, now: float) -> bool:
        if now >= self._until:
            self._until, self._lines = now + WINDOW_SECONDS, 0
        self._lines += 1
        return self._lines <= MOST_LINES or logger.isEnabledFor(logging.DEBUG)

    def _add(self, record: JobRecord) -> None:
        if not self._sums:
            self._loop.call_at(self._until, self.flush)
        found = self._sums.get(record.task)
        if found is None:
            found = self._sums[record.task] = _Sum()
        found.jobs += 1
        if record.finish_time is not None and record.start_time is not None:
            duration = max(NOTHING, record.finish_time - record.start_time)  # clocks are set back
            found.total += duration
            found.longest = max(found.longest, duration)
