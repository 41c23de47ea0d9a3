"""Which queue may go before all others now and then, so that none starves. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django_cfg_tasks.broker import Entry, keys

SHARE = 16
"""Of so many jobs that a worker takes, one is from the later queues, if any waits there."""


class Priorities:
    """The queues of one worker, most urgent first: earlier ones are emptied first, but for a share of the later."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._given = dict.fromkeys(queues[1:], 0)
        """How many jobs each later queue was given out of turn; the one with the least comes next."""
        self._owed = 0.0

    def favoured(self) -> tuple[str, int] | None:
        """Return the queue that goes before all in the next fetch, and with how many jobs; None: keep the order."""
        if not self._given or self._owed < 1:
            return None
        return min(self._given, key=self._given.__getitem__), int(self._owed)

    def count(self, entries: Sequence[Entry]) -> None:
        """Take note of what was fetched."""
        got = Counter(keys.base_queue(entry.queue) for entry in entries)
        favour = self.favoured()
        if favour is not None:
            queue, number = favour
            # Where nothing waits it counts as served, or it would stand before the others for good.
            self._given[queue] = (
                self._given[queue] + min(got[queue], number) if got[queue] else max(self._given.values()) + 1
            )
        # What they leave is not saved up: a share is for those who wait, not a credit.
        limit = 1 + len(entries) / SHARE
        taken = sum(got[queue] for queue in self._given)
        self._owed = max(0.0, min(self._owed + len(entries) / SHARE - taken, limit))
