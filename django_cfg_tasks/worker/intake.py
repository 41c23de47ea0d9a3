"""How jobs come in: read from Redis or taken over from the dead, then claimed in SQL.

What may not start yet waits in front of its gates. What can't be claimed is looked into and acknowledged, handed out
again, or kept back to run alone. Nothing is started here.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from django_cfg_tasks.broker import Bell, BlockingReader, Entry, keys
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import BrokerUnavailableError, StoreUnavailableError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.store import NO_LIMIT
from django_cfg_tasks.worker.gates import Gates
from django_cfg_tasks.worker.ledger import Ledger
from django_cfg_tasks.worker.priorities import Priorities
from django_cfg_tasks.worker.recovery import Findings, Recovery, deaths_before_running_alone
from django_cfg_tasks.worker.shutdown import ShutdownLadder, wait_any

logger = logging.getLogger("django_cfg_tasks.worker")

T = TypeVar("T")

LONGEST_WAIT = 2.0


@dataclass(slots=True)
class Delivery:
    """A job that this worker has claimed, and the entry to acknowledge when its outcome is recorded."""

    entry: Entry
    record: JobRecord


class _StoppedMeanwhile(Exception):  # noqa: N818 - no error
    """The worker was told to stop while SQL or Redis were awaited; the entries have been rung for anew."""


class Intake:
    """The way in of one worker. ``holds`` tells whether the worker has a job already."""

    def __init__(
        self,
        client: ReArqClient,
        ledger: Ledger,
        ladder: ShutdownLadder,
        gates: Gates,
        holds: Callable[[str], bool],
        *,
        queues: Sequence[str],
        group: str,
        consumer: str,
    ) -> None:
        self._config = client.rearq_config
        self._broker = client.broker
        self._store = client.store
        self._ledger = ledger
        self._ladder = ladder
        self._gates = gates
        self._holds = holds
        self._queues = queues
        self._priorities = Priorities(queues)
        self._group = group
        self._consumer = consumer
        self._name = f"{group}-{consumer}"
        self._recovery = Recovery(self._config, self._store, self._broker, client.signals)
        self._alone_from = deaths_before_running_alone(self._config)
        self._pace = self._config.lease / 4
        self._take_over_at = 0.0
        self._reader = BlockingReader(self._config, block=min(LONGEST_WAIT, self._pace))
        self._suspects: deque[Entry] = deque()

    @property
    def has_suspect(self) -> bool:
        """Whether a job waits here that must run with nothing beside it."""
        return bool(self._suspects)

    async def join(self) -> list[Delivery]:
        """Make the consumer group on all queues, and return jobs that were given to this worker unheard.

        Where a connection breaks, what Redis sent may not have come through; it counts as given all the same.
        """
        await self._broker.create_groups(self._queues, self._group)
        given = await self._broker.own(self._queues, self._group, self._consumer)
        unheard = {entry.job_id: entry for entry in given if not self._has(entry)}
        return await self._claimed(unheard) if unheard else []

    async def take(self, count: int) -> list[Delivery]:
        """Return up to ``count`` jobs that are this worker's to run now; wait a moment where there is none.

        BrokerUnavailableError while Redis is away.
        """
        entries: list[Entry] = []
        if time.monotonic() >= self._take_over_at:
            entries = await self._broker.take_over(self._queues, self._group, self._consumer, count)
            if len(entries) < count:  # else there may be more
                self._take_over_at = time.monotonic() + self._pace
        if not entries:
            shares = self._priorities.shares(count)
            entries = await self._broker.fetch(self._queues, self._group, self._consumer, count, shares)
            self._priorities.count(entries, shares)
            entries = self._priorities.arranged(entries) if shares else entries
        if not entries:
            entries = await self._reader.wait(self._queues, self._group, self._consumer)
        first = self._first_rings(entries)
        return await self._claimed(first) if first else []

    async def take_suspect(self) -> list[Delivery]:
        """Return the next job that must run alone, if it still waits."""
        entry = self._suspects.popleft()
        return await self._claimed({entry.job_id: entry}, deaths=NO_LIMIT)

    def put_suspects_back(self) -> None:
        """Leave the jobs that wait to run alone to other workers."""
        self._ring_anew(self._suspects)
        self._suspects.clear()

    async def wake(self) -> None:
        """End a wait in `take` now."""
        await self._reader.wake(self._broker)

    async def close(self) -> None:
        """Close the connection that waits."""
        await self._reader.close()

    def _has(self, entry: Entry) -> bool:
        return self._holds(entry.job_id) or entry in self._suspects

    def _first_rings(self, entries: Sequence[Entry]) -> dict[str, Entry]:
        """Leave out second rings: the job is here already, and is answered for when it ends."""
        first: dict[str, Entry] = {}
        again = []
        for entry in entries:
            if entry.job_id in first or self._holds(entry.job_id):
                again.append(entry)
            else:
                first[entry.job_id] = entry
        if again:
            self._ledger.drop(again)
        return first

    async def _claimed(self, entries: dict[str, Entry], *, deaths: int | None = None) -> list[Delivery]:
        limit = self._alone_from if deaths is None else deaths
        claimed: dict[str, JobRecord] = {}
        with suppress(_StoppedMeanwhile):  # what is claimed by then is put back by the worker, as all that it holds
            entries = await self._patiently(lambda: self._gates.admit(entries), entries.values())
            claimed |= await self._claim(entries, limit) if entries else {}
            rest = {job_id: entry for job_id, entry in entries.items() if job_id not in claimed}
            if rest:
                claimed |= await self._recovered(rest, limit)
        await self._gates.claimed(entries, claimed)
        for job_id, record in claimed.items():
            record.queue = record.queue or keys.base_queue(entries[job_id].queue)
        return [Delivery(entry, claimed[job_id]) for job_id, entry in entries.items() if job_id in claimed]

    async def _recovered(self, entries: dict[str, Entry], limit: int) -> dict[str, JobRecord]:
        """See to entries that could not be claimed; return the jobs that could be, now that their workers are dead."""
        findings = await self._patiently(lambda: self._recovery.look_into(entries.values()), entries.values())
        self._settle(findings)
        if findings.disabled:
            parked = {record.job_id: entries[record.job_id] for record in findings.disabled}
            await self._patiently(lambda: self._gates.park(parked, findings.disabled), parked.values())
        if not findings.again:
            return {}
        again = {entry.job_id: entry for entry in findings.again}
        claimed = await self._claim(again, limit)
        # What somebody else was faster with.
        self._ledger.drop([entry for job_id, entry in again.items() if job_id not in claimed])
        return claimed

    async def _claim(self, entries: dict[str, Entry], limit: int) -> dict[str, JobRecord]:
        tries = 0

        async def claim() -> dict[str, JobRecord]:
            nonlocal tries
            tries += 1
            claimed = await self._store.claim(list(entries), self._name, limit)
            if tries > 1 and len(claimed) < len(entries):
                # An earlier try may have got through though we heard of an outage.
                loaded = await self._store.load(entries.keys() - claimed.keys(), attempts=True)
                claimed |= {
                    job_id: record
                    for job_id, record in loaded.items()
                    if record.owner == self._name and record.status is JobStatus.in_progress
                }
            return claimed

        return await self._patiently(claim, entries.values())

    def _settle(self, findings: Findings) -> None:
        if findings.drop:
            logger.debug("%d entries are of jobs that ended, run elsewhere or are gone.", len(findings.drop))
            self._ledger.drop(findings.drop)
        if findings.ended:
            self._ledger.drop(findings.ended, finished=[entry.job_id for entry in findings.ended])
        for entry in findings.alone:
            logger.warning("Job %s has cost workers before; it runs with nothing beside it.", entry.job_id)
            self._suspects.append(entry)

    async def _patiently(self, action: Callable[[], Awaitable[T]], entries: Iterable[Entry]) -> T:
        """Do it, for as long as it takes; _StoppedMeanwhile if told to stop first."""
        pause = 0.2
        while True:
            try:
                return await action()
            except (StoreUnavailableError, BrokerUnavailableError) as error:
                waiting = list(entries)
                logger.warning("%d job(s) wait to be claimed; trying again in %.1f s. %s", len(waiting), pause, error)
                if await wait_any(self._ladder.stopping, timeout=pause):
                    self._ring_anew(waiting)
                    raise _StoppedMeanwhile from None
                pause = min(pause * 2, 5)

    def _ring_anew(self, entries: Iterable[Entry]) -> None:
        waiting = list(entries)
        if waiting:
            self._ledger.drop(waiting, [Bell(entry.queue, entry.job_id) for entry in waiting])
