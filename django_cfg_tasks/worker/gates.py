"""Which gates a job has to pass, and the places that this worker holds behind them.

Locks, limits and disabled tasks: a job that may not start yet waits in Redis, in order, and takes no slot, no attempt
and no retry. What is held is renewed from the lease's thread, so that a blocked event loop gives nothing up.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django_cfg_tasks.broker import Admission, Applicant, Broker, Entry, Gate, Place, keys, script
from django_cfg_tasks.broker.gates import holders
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import BrokerUnavailableError, EnqueueError
from django_cfg_tasks.jobs import JobRecord, JobStatus, shortened
from django_cfg_tasks.loop import set_within
from django_cfg_tasks.options import rate_of
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import Store

logger = logging.getLogger("django_cfg_tasks.worker")

LONGEST_NAME = 200
LOOK_SECONDS = 1.0
"""How often a worker looks whether a place has lapsed, or a time has come that it was not told of."""
RENEW_SECONDS = 2.0


def gates_of(record: JobRecord, lease: float) -> list[Gate]:
    """Return the gates that a job has to pass; a place under ``max_concurrent`` is held for ``lease`` seconds."""
    task = tasks.get(record.task)
    if task is None:
        return []
    options, gates = task.options, []
    if options.run_with_lock or options.lock_key is not None:
        try:
            key = task.lock_key(record.args, record.kwargs)
        except EnqueueError:
            key = str(options.lock_key)  # its arguments don't fit the function either: the call itself will say so
        kind = "task" if options.lock_key is None else "key"
        gates.append(Gate(shortened(f"lock:{kind}:{key}", LONGEST_NAME), capacity=1, lease=options.lock_timeout))
    if options.max_concurrent is not None:
        gates.append(Gate(shortened(f"most:{task.name}", LONGEST_NAME), capacity=options.max_concurrent, lease=lease))
    if options.rate_limit is not None:
        starts, window = rate_of(options.rate_limit)
        gates.append(Gate(shortened(f"rate:{task.name}", LONGEST_NAME), starts=starts, window=window))
    return gates


def disabled_gate(task: str) -> Gate:
    """Return the gate in front of which the jobs of a disabled task wait."""
    return Gate(keys.DISABLED_GATE + task, capacity=0)


class Gates:
    """The gates as one worker passes them."""

    def __init__(self, config: RearqConfig, broker: Broker, store: Store, *, worker: str, group: str) -> None:
        self._config = config
        self._broker = broker
        self._store = store
        self._worker = worker
        self._group = group
        self._held: dict[str, list[Gate]] = {}
        self._leaving: dict[str, list[Gate]] = {}
        self._outlasting: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._renewed_at = -math.inf

    async def admit(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        """Return those of ``entries`` whose jobs may start now; the others wait, and are acknowledged.

        StoreUnavailableError and BrokerUnavailableError where that can't be told; nothing is lost by it.
        """
        if not _any_gated():
            return entries
        records = await self._store.load(entries)
        gated = {job_id: gates for job_id, record in records.items() if (gates := self._gates_of(record))}
        # What expired while it waited takes no start of a rate and no place from those who do start.
        over = {job_id: gates for job_id, gates in gated.items() if _never_starts(records[job_id])}
        if over:
            self._leave_later(over)
        applicants = [
            Applicant(entries[job_id], records[job_id].id or 0, gates, self._place_of(records[job_id]))
            for job_id, gates in gated.items()
            if job_id not in over
        ]
        if not applicants:
            return entries
        applicants.sort(key=lambda applicant: applicant.ticket)  # SQL gave them in any order
        answers = await self._broker.gates.admit(applicants, self._worker, self._group)
        waiting = set()
        for applicant, answer in zip(applicants, answers, strict=True):
            job_id = applicant.entry.job_id
            if answer is Admission.waits:
                waiting.add(job_id)
            elif answer is Admission.passed:
                self._held[job_id] = list(applicant.gates)
        if waiting:
            logger.debug("%d job(s) wait in front of a gate.", len(waiting))
            self._wake.set()  # the next may be called sooner than this worker meant to look
        return {job_id: entry for job_id, entry in entries.items() if job_id not in waiting}

    async def claimed(self, asked: Iterable[str], claimed: Mapping[str, JobRecord]) -> None:
        """Take note of which of the jobs that passed are this worker's now, and give the places of the others up."""
        if not _any_gated():
            return
        for job_id in asked:
            if job_id not in claimed:
                self.leave(job_id)
        taken_over = {
            job_id: gates
            for job_id, record in claimed.items()
            if job_id not in self._held and (gates := self._gates_of(record))
        }
        if taken_over:
            self._held |= taken_over
            try:
                await self._broker.gates.take(taken_over, self._worker)
            except BrokerUnavailableError as error:
                logger.warning("%d job(s) start though their places can't be taken now. %s", len(taken_over), error)

    async def park(self, entries: Mapping[str, Entry], records: Iterable[JobRecord]) -> None:
        """Let the jobs of disabled tasks wait until these are enabled."""
        applicants = [
            Applicant(entries[record.job_id], record.id or 0, [disabled_gate(record.task)]) for record in records
        ]
        await self._broker.gates.admit(applicants, self._worker, self._group)
        names = {record.task for record in records}
        # Enabled a moment ago, before these waited: nobody else would let them go on.
        for name in names - await self._store.disabled():
            await self._broker.release_disabled(name)

    def holds(self, job_id: str) -> bool:
        """Whether this worker holds places behind gates for a job."""
        return job_id in self._held

    def leave_after(self, end: asyncio.Event, job_id: str) -> None:
        """Give up the places that are held for a job once its function ends, which has outlasted the job."""

        async def leave() -> None:
            try:
                await end.wait()
            finally:
                del self._outlasting[job_id]
            self.leave(job_id)

        if job_id in self._held:
            self._outlasting[job_id] = asyncio.create_task(leave(), name=f"django_cfg_tasks-outlasting-{job_id}")

    def leave(self, job_id: str) -> None:
        """Give up the places that are held for a job, soon."""
        if gates := self._held.pop(job_id, None):
            self._leave_later({job_id: gates})

    async def run(self) -> None:
        """Give places up and call the next, until cancelled."""
        while True:
            look = LOOK_SECONDS
            self._wake.clear()
            # Not a job that this worker has taken up again meanwhile.
            leaving = {job_id: gates for job_id, gates in self._leaving.items() if job_id not in self._held}
            self._leaving = {}
            try:
                if leaving:
                    await self._broker.gates.leave(leaving, self._worker)
                if _any_gated():
                    look = min(look, await self._broker.gates.turn() or look)
            except BrokerUnavailableError as error:
                logger.debug("Places behind gates are given up later. %s", error)
                self._leaving = leaving | self._leaving
                await asyncio.sleep(LOOK_SECONDS)
                continue
            # A millisecond more than nothing: Redis counts whole ones.
            await set_within(self._wake, max(look, 0.001))

    async def close(self) -> None:
        """Give up what is held, as far as Redis can be reached."""
        for task in self._outlasting.values():
            task.cancel()
        leaving = self._leaving | self._held
        self._held, self._leaving = {}, {}
        if leaving:
            try:
                await self._broker.gates.leave(leaving, self._worker)
            except Exception as error:
                logger.warning("%d place(s) behind gates lapse by themselves. %s", len(leaving), error)

    def renew(self, client: Any) -> None:
        """Hold on to what is held; called from the lease's thread, with its connection, again and again."""
        held = self._held.copy()  # at once: the loop goes on
        leases = [gate.lease for gates in held.values() for gate in gates if gate.capacity is not None]
        # What has been taken since the last time may have a shorter lease than all that was held by then.
        if not leases or time.monotonic() - self._renewed_at < min(RENEW_SECONDS, *(lease / 3 for lease in leases)):
            return
        what = {"owner": self._worker, "force": False, "jobs": holders(held)}
        lost = client.eval(script("gates"), 0, "hold", json.dumps(what))
        self._renewed_at = time.monotonic()
        for name in lost:
            logger.error("The place behind %s was lost while its job runs; another may have started.", name)
        # What was given up in this moment may have been taken again by this renewal.
        gone = {job_id: gates for job_id, gates in held.items() if job_id not in self._held}
        if gone:
            self._loop.call_soon_threadsafe(self._leave_later, gone)

    def _place_of(self, record: JobRecord) -> Place:
        if record.job_id in self._outlasting:
            return Place.none
        # A job that runs may have lost its worker; one that waits has none, though its function may not have ended.
        return Place.any if record.status is JobStatus.in_progress else Place.own

    def _gates_of(self, record: JobRecord) -> list[Gate]:
        return gates_of(record, self._config.lease)

    def _leave_later(self, jobs: Mapping[str, Sequence[Gate]]) -> None:
        self._leaving |= {job_id: list(gates) for job_id, gates in jobs.items()}
        self._wake.set()


def _any_gated() -> bool:
    return any(task.options.is_gated for task in tasks)


def _never_starts(record: JobRecord) -> bool:
    """Whether the job is final, or will be without having started."""
    expire = record.expire_time
    return record.status.is_final or (expire is not None and expire <= dt.datetime.now(dt.UTC))
