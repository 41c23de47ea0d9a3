"""Whose turn it is to write to a SQLite file, among the threads and loops of one process.

SQLite takes one writer at a time. Whoever finds it taken sleeps, longer and longer, and looks again, while the other
has long begun its next write: under load one of them does not get to it for seconds. Here they queue up, and each is
woken when its turn comes. Other processes know nothing of it, and who has waited for long goes ahead: the lock that
counts is SQLite's own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

PATIENCE_SECONDS = 1.0
"""Who has waited for so long goes ahead: whoever has the turn may wait for a lock of another process."""


class Turn:
    """A queue of writers, first come, first served."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget who has the turn, and who waits for it."""
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[Callable[[], None]] = deque()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the turn, when it comes. Blocks."""
        woken = threading.Event()
        wake = woken.set
        has_it = self._take(wake) or woken.wait(PATIENCE_SECONDS) or not self._leave(wake)
        try:
            yield
        finally:
            if has_it:
                self._pass_on()

    @asynccontextmanager
    async def ataken(self) -> AsyncIterator[None]:
        """`taken`, for async code."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        has_it = self._take(wake)
        if not has_it:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await woken.wait()
                has_it = True
            except TimeoutError:
                has_it = not self._leave(wake)
            except BaseException:
                if not self._leave(wake):
                    self._pass_on()
                raise
        try:
            yield
        finally:
            if has_it:
                self._pass_on()

    def _take(self, wake: Callable[[], None]) -> bool:
        """Take the turn if it is free; else ``wake`` is called when it comes."""
        with self._lock:
            if self._taken:
                self._waiting.append(wake)
                return False
            self._taken = True
            return True

    def _leave(self, wake: Callable[[], None]) -> bool:
        """Leave the queue; False where the turn has come already."""
        with self._lock:
            if wake not in self._waiting:
                return False
            self._waiting.remove(wake)
            return True

    def _pass_on(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._taken = False
                    return
                wake = self._waiting.popleft()
            try:
                wake()
            except RuntimeError:
                continue  # its loop is closed
            return


_turns: dict[Path, Turn] = {}
_making = threading.Lock()


def turn_of(file: str | Path) -> Turn:
    """Return the queue of those who write to ``file``."""
    with _making:
        return _turns.setdefault(Path(file).absolute(), Turn())


def _start_anew() -> None:
    """A forked child has none of the threads that hold or await a turn."""
    global _making
    _making = threading.Lock()
    for turn in _turns.values():
        turn.start_anew()  # not another one: connections have it in hand


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
