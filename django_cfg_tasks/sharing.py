"""What many requests of this process ask for at the same time is found out once, and kept for a moment.

It knows nothing of what it keeps: no more than how long it took.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Answers by key. Whoever comes while one is being found waits for it.

    An answer is kept for ``seconds``, or for ``rests`` times as long as it took: so that what is costly takes at most
    that share of the time of those who are asked, however many look on.
    """

    def __init__(self, seconds: float, rests: float = 0) -> None:
        self._seconds = seconds
        self._rests = rests
        self._lock = threading.Lock()
        self._kept: dict[Hashable, _Kept[T]] = {}

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return the answer that is kept, else what ``find`` returns. What it raises is not kept."""
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
        with kept.lock:
            if kept.answer is None or time.monotonic() >= kept.until:
                started = time.monotonic()
                kept.answer = (find(),)
                ended = time.monotonic()
                kept.until = ended + max(self._seconds, self._rests * (ended - started))
            return kept.answer[0]

    def forget(self) -> None:
        """Keep nothing any longer: something was done that makes it untrue."""
        with self._lock:
            self._kept = {}


class _Kept(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer: tuple[T] | None = None
        self.until = 0.0
