"""Locks of one process, for `locks.Lock` where there is no Redis: by name, one holder each, until it gives it up."""

from __future__ import annotations

import asyncio
import threading
import time

from django_cfg_tasks.locks import Claim, not_free

LOOK_SECONDS = 0.01


class LocalLocks:
    """All locks that are held in this process. A crashed process takes them along, so that none lapses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[str, str] = {}

    async def take(self, claim: Claim, wait: float | None) -> None:
        """Take a lock; wait up to ``wait`` seconds for it, for ever if None. LockTimeoutError if it was not free."""
        deadline = None if wait is None else time.monotonic() + wait
        while not self._try(claim):
            if deadline is not None and wait is not None and time.monotonic() >= deadline:
                raise not_free(claim.name, wait)
            await asyncio.sleep(LOOK_SECONDS)

    async def give_up(self, claim: Claim) -> None:
        """Free a lock, if this claim holds it."""
        with self._lock:
            if self._holders.get(claim.name) == claim.token:
                del self._holders[claim.name]

    def _try(self, claim: Claim) -> bool:
        with self._lock:
            return self._holders.setdefault(claim.name, claim.token) == claim.token
