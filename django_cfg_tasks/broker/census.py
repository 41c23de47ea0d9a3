"""Which jobs Redis knows of: in a stream, in a delayed set, in front of a gate, or given to a consumer.

Taken as a whole before SQL is read, page by page; it keeps eight bytes for each job. It only reads.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.gates import Gatekeeper

T = TypeVar("T")

PAGE = 1000
_BUCKETS = 256


class Census:
    """The ids of the jobs that Redis knows of, and the stream entries that nobody would ever read again."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]
        self.left_over: dict[str, list[str]] = {}
        """Queue -> ids of entries that were delivered, and are pending with no consumer: their group forgot them."""
        self.pending: dict[tuple[str, str], dict[str, str]] = {}
        """(Queue, group) -> entry ids and job ids of what its consumers have not acknowledged; no job id where the
        entry itself is gone."""
        self.queues: set[str] = set()
        """The queues that were looked at."""

    def __contains__(self, job_id: str) -> bool:
        number = hash(job_id)
        bucket = self._buckets[number % _BUCKETS]
        place = bisect_left(bucket, number)
        return place < len(bucket) and bucket[place] == number

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def add(self, job_id: str) -> None:
        """Count a job in; `sort` must follow before anybody asks."""
        number = hash(job_id)
        self._buckets[number % _BUCKETS].append(number)

    def sort(self) -> None:
        """Make it ready to be asked."""
        # Bucket by bucket, so that sorting needs no second copy of the whole.
        self._buckets = [array("q", sorted(bucket)) for bucket in self._buckets]


class CensusTaker:
    """Reads the streams and delayed sets of one Redis into a census."""

    def __init__(
        self,
        client: Any,
        delivered: Any,
        gates: Gatekeeper,
        ask: Callable[[Awaitable[Any]], Awaitable[Any]],
    ) -> None:
        self._client = client
        self._delivered = delivered
        self._gates = gates
        self._ask = ask

    async def take(self, queues: Iterable[str], groups: Iterable[str], shards: int) -> Census:
        """Read all delayed sets and who waits in front of gates, then the streams of ``queues``.

        In that order: a job that becomes due or is called meanwhile is seen in one of the two places, or in both.
        """
        census = Census()
        async for member in self._gates.waiting():
            census.add(keys.job_of(member))
        for shard in keys.delay_shards(shards):
            async for member in self._members(shard):
                census.add(keys.job_of(member))
        await self.add_streams(census, queues, groups)
        return census

    async def add_streams(self, census: Census, queues: Iterable[str], groups: Iterable[str]) -> None:
        """Read further streams into ``census``."""
        names = list(groups)
        for queue in queues:
            if queue not in census.queues:
                census.queues.add(queue)
                # First that of jobs that are called: such a one may be parked again, in which case it is rung for.
                for kind in (queue + keys.NEXT, queue):
                    await self._add_stream(census, kind, names)
        census.sort()

    async def _add_stream(self, census: Census, queue: str, groups: list[str]) -> None:
        stream = keys.stream(queue)
        flat = await self._ask(self._delivered(keys=[stream], args=groups))
        readers = []
        for group, last, ids in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            pending = census.pending[queue, group] = dict.fromkeys(ids, "")
            readers.append((_position(last), pending))
        async for entry_id, fields in self._entries(stream):
            position = _position(entry_id)
            for _, pending in readers:
                if entry_id in pending:
                    pending[entry_id] = fields.get("job_id", "")
            # Without a group nothing was delivered: a new one reads from the beginning.
            if not readers or any(position > last or entry_id in pending for last, pending in readers):
                census.add(fields.get("job_id", ""))
            else:
                census.left_over.setdefault(queue, []).append(entry_id)

    async def _members(self, shard: str) -> Any:
        cursor: Any = 0
        while True:
            cursor, pairs = await self._ask(self._client.zscan(shard, cursor, count=PAGE))
            for member, _ in pairs:
                yield member
            if not int(cursor):
                return

    async def _entries(self, stream: str) -> Any:
        start = "-"
        while True:
            entries = await self._ask(self._client.xrange(stream, start, "+", count=PAGE))
            for entry_id, fields in entries:
                yield entry_id, fields or {}
            if len(entries) < PAGE:
                return
            milliseconds, sequence = _position(entries[-1][0])
            start = f"{milliseconds}-{sequence + 1}"


def _position(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
