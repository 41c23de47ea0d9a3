"""Sees from outside whether an event loop turns, and says what blocks it. Knows nothing of leases or Redis."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

logger = logging.getLogger("django_cfg_tasks.worker")

BLOCKED_SECONDS = 1.0
"""A loop that does not turn for so long is reported: nothing else of its process gets on."""


class LoopWatch:
    """Watches the running loop; made on it, asked from another thread.

    ``limit`` tells for how long a job (the name of its asyncio task, or None where that can't be told) may block
    the loop before all is lost; ``grace`` seconds are added.
    """

    def __init__(self, limit: Callable[[str | None], float], grace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._limit = limit
        self._grace = grace
        self._turned_at = time.monotonic()
        self._asked = False
        self._reported = False

    @property
    def blocked_seconds(self) -> float:
        """For how long the loop has not turned; 0 while it does."""
        passed = time.monotonic() - self._turned_at
        return passed if self._asked and passed >= BLOCKED_SECONDS else 0.0

    def is_hopeless(self) -> bool:
        """Look at the loop, report it once when it is blocked, and tell whether it is so beyond its job's time."""
        blocked = self.blocked_seconds
        if not blocked:
            if not self._asked:
                self._asked, self._turned_at = True, time.monotonic()
                self._loop.call_soon_threadsafe(self._turned)
            return False
        job = self._current_task()
        if not self._reported:
            self._reported = True
            logger.warning(
                "The event loop is blocked for %.1f s%s, so that no other job of this process gets on. Use async "
                "libraries, await sync_to_async(...), or declare the task with a plain def. The stack that blocks:\n%s",
                blocked, f" by {job}" if job else "", self._stack(),
            )  # fmt: skip
        return blocked > self._limit(job) + self._grace

    def _turned(self) -> None:
        self._asked = self._reported = False

    def _current_task(self) -> str | None:
        task = asyncio.current_task(self._loop)
        return task.get_name() if task is not None else None

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - documented, whatever its name says
        return "".join(traceback.format_stack(frame)) if frame is not None else "(it has ended)"
