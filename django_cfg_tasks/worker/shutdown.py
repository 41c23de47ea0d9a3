"""The shutdown ladder's signals: the first asks to finish, the second to hurry.

Handlers are installed by the process that runs, and restored after; importing this installs none.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any

logger = logging.getLogger("django_cfg_tasks.worker")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ShutdownLadder:
    """Two rungs: ``stopping`` (take nothing new, finish what runs) and ``forced`` (put it back now)."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.forced = asyncio.Event()
        self._before: dict[signal.Signals, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """Listen for SIGTERM and SIGINT on the running loop."""
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            self._before[number] = signal.getsignal(number)
            self._loop.add_signal_handler(number, self._climb, number)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_signal_handler(number)
            signal.signal(number, handler)
        self._before.clear()

    def stop(self) -> None:
        """Take the first rung without a signal."""
        self.stopping.set()

    def _climb(self, number: signal.Signals) -> None:
        name = signal.Signals(number).name
        if not self.stopping.is_set():
            logger.info("%s: taking no new jobs; running ones may finish. A second signal skips the wait.", name)
            self.stopping.set()
        else:
            logger.info("%s again: running jobs are put back in the queue now.", name)
            self.forced.set()


async def wait_any(*events: asyncio.Event, timeout: float | None = None) -> bool:
    """Wait until one of ``events`` is set; False after ``timeout`` seconds."""
    if any(event.is_set() for event in events):
        return True
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()
