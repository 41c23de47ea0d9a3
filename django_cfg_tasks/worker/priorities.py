"""Which queue may go before an earlier one now and then, so that none starves. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

from django_cfg_tasks.broker import Entry, keys

SHARE = 16
"""Of so many jobs that a worker takes, one is from the later queues, if any waits there."""


class Priorities:
    """The queues of one worker, most urgent first: earlier ones are emptied first, but for a share of the later."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._order = list(queues)
        self._given = dict.fromkeys(queues[1:], 0)
        """How many jobs each later queue was given out of turn; the ones with the least come next."""
        self._owed = 0.0

    def shares(self, count: int) -> dict[str, int]:
        """Return how many of the next ``count`` jobs are to be of which later queue, whatever waits before it."""
        if not self._given:
            return {}
        given, shares = Counter(self._given), Counter[str]()
        for _ in range(min(count, int(self._owed + (count - 1) / SHARE))):
            queue = min(self._given, key=given.__getitem__)
            given[queue] += 1
            shares[queue] += 1
        return dict(shares)

    def count(self, entries: Sequence[Entry], shares: Mapping[str, int]) -> None:
        """Take note of what was fetched with these ``shares``."""
        got = Counter(keys.base_queue(entry.queue) for entry in entries)
        for queue, number in shares.items():
            # Where nothing waits it counts as served, or it would stand before the others for good.
            self._given[queue] = (
                self._given[queue] + min(got[queue], number) if got[queue] else max(self._given.values()) + 1
            )
        # What they leave is not saved up: a share is for those who wait, not a credit.
        limit = 1 + len(entries) / SHARE
        taken = sum(got[queue] for queue in self._given)
        self._owed = max(0.0, min(self._owed + len(entries) / SHARE - taken, limit))

    def arranged(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return ``entries`` as they are to start: earlier queues first, but one in `SHARE` is of the later ones."""
        by_queue: dict[str, deque[Entry]] = {queue: deque() for queue in self._order}
        for entry in entries:
            by_queue[keys.base_queue(entry.queue)].append(entry)
        waiting = [queue for queue, found in by_queue.items() if found]
        given, arranged = Counter[str](), list[Entry]()
        while waiting:
            queue = waiting[0]
            if len(waiting) > 1 and len(arranged) % SHARE == SHARE - 1:
                queue = min(waiting[1:], key=given.__getitem__)
                given[queue] += 1
            arranged.append(by_queue[queue].popleft())
            if not by_queue[queue]:
                waiting.remove(queue)
        return arranged
