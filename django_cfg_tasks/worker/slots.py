"""The jobs that a worker holds, about to start or running. It starts and stops them, and lets go of them.

How jobs come in is the intake's business, what a job does the runner's, what becomes of its outcome the ledger's.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import StoreUnavailableError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.signals import announce
from django_cfg_tasks.store import Outcome, Store
from django_cfg_tasks.worker.endings import Endings
from django_cfg_tasks.worker.gates import Gates
from django_cfg_tasks.worker.intake import Delivery
from django_cfg_tasks.worker.lease import Lease
from django_cfg_tasks.worker.ledger import Ledger, Line, msg_id_of
from django_cfg_tasks.worker.runner import Runner, Stop
from django_cfg_tasks.worker.shutdown import ShutdownLadder, wait_any

logger = logging.getLogger("django_cfg_tasks.worker")

UNWIND_SECONDS = 3.0
"""How long cancelled jobs may take to clean up before the process goes on without them."""
PREFETCH_SECONDS = 0.2
"""What the slots will have done in so long is held beside what runs."""
RATE_SECONDS = 0.02
"""Over how long that is reckoned, at least: a burst is met before it is over."""
MOST_PREFETCHED = 500
ANNOUNCE_SECONDS = 0.02
"""After so long a job that runs is shown as such. Of shorter ones the history is told once, when they have ended."""
MOST_HEARD = 1000
"""How many cancels of jobs that are not here are kept in mind: their claims may be under way."""


class Slots:
    """What runs in one worker, ``config.max_jobs`` at once, and what is about to."""

    def __init__(
        self,
        config: RearqConfig,
        worker_name: str,
        ladder: ShutdownLadder,
        *,
        store: Store,
        runner: Runner,
        gates: Gates,
        ledger: Ledger,
        lease: Lease,
    ) -> None:
        self._config = config
        self._name = worker_name
        self._ladder = ladder
        self._store = store
        self._runner = runner
        self._gates = gates
        self._ledger = ledger
        self._lease = lease
        self._running: dict[str, asyncio.Task[None]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._started: dict[str, JobRecord] = {}
        self._announcing = False
        self._alone = False
        self._heard: dict[str, None] = {}
        self._missed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._rate = 0.0
        self._counted, self._counted_at = 0, self._loop.time()
        self.room = asyncio.Event()
        """Set whenever a job has ended."""
        self.jobs_done = 0
        self._endings = Endings()

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

    def wanted(self, *, suspect: bool) -> int:
        """Return how many more jobs to hold: free slots, and what the slots will have done in a moment.

        While a job must run alone (``suspect``: the next one must), only it.
        """
        held = len(self._running) + len(self._ready)
        if self._alone or suspect:
            return 0 if held else 1
        prefetch = min(int(self._rate * PREFETCH_SECONDS), MOST_PREFETCHED)
        return self._config.max_jobs + prefetch - held

    def accept(self, deliveries: Sequence[Delivery], *, alone: bool = False) -> None:
        """Take jobs in, and start them as far as there are slots."""
        if deliveries:
            now = self._loop.time()
            if now - self._counted_at > PREFETCH_SECONDS and not self._running:
                self._counted, self._counted_at = self.jobs_done, now  # not how long there was nothing
            self._alone = alone
            self._deliveries |= {delivery.record.job_id: delivery for delivery in deliveries}
            if any(delivery.record.job_id in self._heard for delivery in deliveries):
                self._missed.set()  # canceled in the moment of its claim, it seems: SQL knows
            awaited: list[Delivery] = []
            for delivery in deliveries:
                (awaited if self._gates.holds(delivery.record.job_id) else self._ready).append(delivery)
            self._ready.extendleft(reversed(awaited))  # what others wait for goes first
            self.start_ready()

    def start_ready(self) -> None:
        """Start what is ready, as far as there are slots and the lease stands."""
        while self._ready and len(self._running) < self._config.max_jobs and not self._ladder.stopping.is_set():
            if not self._lease.held:
                return  # it may be another's by now
            delivery = self._ready.popleft()
            job_id = delivery.record.job_id
            # Not in the context of whoever made room: what one job leaves in context variables is not for the next.
            self._running[job_id] = self._loop.create_task(
                self._run_one(delivery), name=f"job {job_id}", context=self._context.copy()
            )

    async def _run_one(self, delivery: Delivery) -> None:
        record = delivery.record
        if not self._lease.held:
            # The loop was blocked, or the process frozen, between the slot and this first step.
            self._unstart(delivery)
            return
        self._announce_soon(record)
        try:
            attempt, error = await self._runner.run(record)
        except BaseException:
            logger.exception("Running job %s failed outside of its task; it stays with its lease.", record.job_id)
            raise
        finally:
            self._running.pop(record.job_id, None)
            self._started.pop(record.job_id, None)
            if (end := self._runner.end_of(record.job_id)) is not None:
                self._gates.leave_after(end, record.job_id)
            else:
                self._gates.leave(record.job_id)
            self._alone = self._alone and bool(self._ready)
        if self._deliveries.get(record.job_id) is delivery:
            del self._deliveries[record.job_id]
            outcome = Outcome(record, attempt, msg_id_of(delivery.entry, record))
            self._ledger.add(Line(delivery.entry, outcome, error))
            self._count(record)
        self.start_ready()
        self.room.set()

    def _announce_soon(self, record: JobRecord) -> None:
        """Tell the history that a job runs, unless it has ended by then: its outcome tells all."""
        self._started[record.job_id] = record
        if not self._announcing:
            self._announcing = True
            self._loop.call_later(ANNOUNCE_SECONDS, self._announce_started)

    def _announce_started(self) -> None:
        self._announcing = False
        started, self._started = list(self._started.values()), {}
        # Who has told how far it is was shown by that.
        untold = [record for record in started if record.progress is None]
        if untold:
            announce(untold)

    def _unstart(self, delivery: Delivery) -> None:
        del self._running[delivery.record.job_id]
        self._ready.append(delivery)
        if self._ladder.stopping.is_set():
            self.release_ready()
        self.room.set()

    def _count(self, record: JobRecord) -> None:
        self.jobs_done += 1
        now = self._loop.time()
        passed = now - self._counted_at
        if passed >= RATE_SECONDS:
            self._rate = (self.jobs_done - self._counted) / passed
            self._counted, self._counted_at = self.jobs_done, now
        self._endings.note(record, now)

    def hear(self, message: dict[str, Any]) -> None:
        """Take in a message of ReArq's channel: somebody cancels a job."""
        if message["type"] == "cancel_task":
            self._cancel(message["task_name"], message.get("job_id"))

    def _cancel(self, task: str, job_id: str | None) -> None:
        if job_id is None:
            for record in [held.record for held in self._deliveries.values() if held.record.task == task]:
                self._runner.stop(record.job_id, Stop.canceled)
            return
        delivery = self._deliveries.get(job_id)
        if delivery is None:
            self._heard[job_id] = None
            if len(self._heard) > MOST_HEARD:
                del self._heard[next(iter(self._heard))]
        elif delivery in self._ready:
            # SQL calls it canceled already; it need not start.
            self._ready.remove(delivery)
            del self._deliveries[job_id]
            self._gates.leave(job_id)
            self._ledger.drop([delivery.entry])
        elif not self._runner.stop(job_id, Stop.canceled):
            self._missed.set()  # it is about to start, or has just ended

    def holds(self, job_id: str) -> bool:
        """Whether a job is here already."""
        # A run that was given up may take its time to end: not a second one beside it (the sweeper rings again).
        return job_id in self._deliveries or job_id in self._running or self._ledger.holds(job_id)

    def limit_of(self, name: str | None) -> float:
        """Return how long the job that runs under this asyncio task's name may take."""
        return self._runner.limit(name.removeprefix("job ") if name else None)

    # What may have been missed

    def look_again(self) -> None:
        """Have `reaffirm` look at what may have been missed. From any thread."""
        self._loop.call_soon_threadsafe(self._missed.set)

    async def reaffirm(self) -> None:
        """Whenever the lease had lapsed, or Redis was away: let go of jobs that were taken over or canceled meanwhile.

        Then go on with the rest.
        """
        while True:
            await self._missed.wait()
            self._missed.clear()
            # Who thought this worker dead a moment before it renewed its lease may still be at it.
            await asyncio.sleep(min(1.0, self._config.lease / 8))
            held = dict(self._deliveries)
            try:
                current = await self._store.load(held)
            except StoreUnavailableError as error:
                logger.warning("Whose the jobs are can't be asked. %s", error)
                self._missed.set()
                continue
            for job_id, delivery in held.items():
                now = current.get(job_id)
                if now is None or now.status.is_final:
                    if now is not None and self._stops_as_canceled(delivery, now):
                        continue
                    self._let_go(delivery)
                    self._ledger.drop([delivery.entry])
                elif (now.owner, now.attempt) != (self._name, delivery.record.attempt):
                    logger.warning("Job %s was taken over by another worker; it is stopped here.", job_id)
                    self._let_go(delivery)
            self._lease.reaffirm()
            self.start_ready()
            self.room.set()

    def _stops_as_canceled(self, delivery: Delivery, now: JobRecord) -> bool:
        """Stop a run whose job was canceled; False where there is no run whose end would be kept."""
        record = delivery.record
        if now.status is not JobStatus.canceled or now.attempt != record.attempt:
            return False
        return self._runner.stop(record.job_id, Stop.canceled)

    def _let_go(self, delivery: Delivery) -> None:
        """Give up a job whose outcome is another's to tell."""
        if self._deliveries.get(delivery.record.job_id) is not delivery:
            return  # it has ended meanwhile; the attempt's number decides what its outcome counts
        del self._deliveries[delivery.record.job_id]
        if delivery in self._ready:
            self._ready.remove(delivery)
            self._gates.leave(delivery.record.job_id)
        self._runner.stop(delivery.record.job_id, Stop.superseded)

    # Ending

    def release_ready(self) -> None:
        """Put back what has not started."""
        while self._ready:
            delivery = self._ready.popleft()
            del self._deliveries[delivery.record.job_id]
            self._gates.leave(delivery.record.job_id)
            self._release(delivery)

    def _release(self, delivery: Delivery) -> None:
        """Put a job back that has not ended: at the end of its queue, without an attempt or a retry used."""
        record = delivery.record.snapshot()
        record.status, record.due_time, record.start_time = JobStatus.queued, None, None
        self._ledger.add(Line(delivery.entry, Outcome(record, None, msg_id_of(delivery.entry, record))))

    async def end(self) -> None:
        """Wait for what runs, then cancel it, then put back what does not stop: the middle rungs of the ladder."""
        if self._running:
            logger.info("%d job(s) run; waiting up to %g s.", len(self._running), self._config.shutdown_timeout)
            await self._wait_for_running(self._config.shutdown_timeout)
        if self._running:
            logger.info("Cancelling %d job(s); they go back in the queue.", len(self._running))
            for job_id in list(self._running):
                self._runner.stop(job_id, Stop.shutdown)
            await asyncio.wait(list(self._running.values()), timeout=UNWIND_SECONDS)
        for job_id in list(self._running):
            delivery = self._deliveries.pop(job_id, None)
            if delivery is not None:
                logger.warning("Job %s does not stop; it goes back in the queue without waiting for it.", job_id)
                self._release(delivery)
        self._endings.flush()

    async def _wait_for_running(self, seconds: float) -> None:
        finished = asyncio.Event()

        async def watch() -> None:
            while self._running:
                await asyncio.wait(list(self._running.values()), return_when=asyncio.FIRST_COMPLETED)
            finished.set()

        watcher = asyncio.create_task(watch())
        try:
            await wait_any(finished, self._ladder.forced, timeout=seconds)
        finally:
            watcher.cancel()
