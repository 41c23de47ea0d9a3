"""Which queue may go before all others now and then, so that none starves. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg_tasks.broker import Entry, keys

SHARE = 16
"""Of so many jobs that a worker takes, one is from the later queues, if any waits there."""


class Priorities:
    """The queues of one worker, most urgent first: earlier ones are emptied first, but for a share of the later."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._later = list(queues[1:])
        self._turn = 0
        self._owed = 0.0

    def favoured(self) -> tuple[str, int] | None:
        """Return the queue that goes before all in the next fetch, and with how many jobs; None: keep the order."""
        if not self._later or self._owed < 1:
            return None
        return self._later[self._turn], int(self._owed)

    def count(self, entries: Sequence[Entry]) -> None:
        """Take note of what was fetched."""
        later = set(self._later)
        got = sum(keys.base_queue(entry.queue) in later for entry in entries)
        if self.favoured() is not None:
            self._turn = (self._turn + 1) % len(self._later)
        # What they leave is not saved up: a share is for those who wait, not a credit.
        limit = 1 + len(entries) / SHARE
        self._owed = max(0.0, min(self._owed + len(entries) / SHARE - got, limit))
