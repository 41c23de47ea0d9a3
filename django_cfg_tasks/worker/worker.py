"""The worker: fetch -> claim -> run -> record -> acknowledge.

It takes in no more than can start soon, and takes its way down the shutdown ladder without losing a job. How jobs
come in is the intake's business, what a job does the runner's, what becomes of its outcome the ledger's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django_cfg_tasks.broker import is_missing_group, keys
from django_cfg_tasks.exceptions import BrokerUnavailableError, InvalidOptionError, StoreUnavailableError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.options import check_queue
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.signals import announce
from django_cfg_tasks.store import Outcome
from django_cfg_tasks.worker.gates import Gates
from django_cfg_tasks.worker.hooks import hooked
from django_cfg_tasks.worker.intake import Delivery, Intake
from django_cfg_tasks.worker.lease import Lease
from django_cfg_tasks.worker.ledger import Ledger, Line, msg_id_of
from django_cfg_tasks.worker.progress import Progress
from django_cfg_tasks.worker.runner import Runner, Stop
from django_cfg_tasks.worker.shutdown import wait_any
from django_cfg_tasks.worker.watch import LoopWatch

if TYPE_CHECKING:
    from django_cfg_tasks.worker.rearq_app import DjangoReArq

logger = logging.getLogger("django_cfg_tasks.worker")

UNWIND_SECONDS = 3.0
"""How long cancelled jobs may take to clean up before the process goes on without them."""
DRAIN_SECONDS = 10.0
"""How long the end waits for SQL and Redis; what is not recorded by then is run again by others."""
PREFETCH_SECONDS = 0.2
MOST_PREFETCHED = 500
MOST_UNRECORDED = 5000
LOOKS_AWAY_SECONDS = 10.0
"""A worker that has room and has not looked for jobs for so long is not consuming."""
MOST_HEARD = 1000
"""How many cancels of jobs that are not here are kept in mind: their claims may be under way."""


class Worker:
    """Consumes queues until it is told to stop. ReArq's CLI makes and runs it."""

    def __init__(
        self,
        rearq: DjangoReArq,
        queues: Sequence[str] | None = None,
        group_name: str | None = None,
        consumer_name: str | None = None,
    ) -> None:
        for queue in queues or ():
            check_queue(queue, InvalidOptionError)
        for name in (group_name, consumer_name):
            if name is not None and (not 0 < len(name) <= 80 or not name.isprintable() or " " in name):
                raise InvalidOptionError(f"{name!r}: names of groups and consumers have 1 to 80 characters, no spaces.")
        self._process = rearq.process
        self._client = rearq.client
        self._config = rearq.client.rearq_config
        self._broker = rearq.client.broker
        self.queues = list(dict.fromkeys(queues or tasks.queues()))
        self.group = group_name or self._config.group_name
        # Never the name of a process that died: its entries are told from this one's by it.
        self.consumer = f"{consumer_name}-{uuid4().hex[:6]}" if consumer_name else self._process.identity
        self.name = f"{self.group}-{self.consumer}"
        self._log_name = f"{self.group}-{consumer_name}" if consumer_name else self.name
        self._ladder = self._process.ladder
        self._running: dict[str, asyncio.Task[None]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._alone = False
        self._heard: dict[str, None] = {}
        self._room = asyncio.Event()
        self._missed = asyncio.Event()
        self._looked_at = time.monotonic()
        self._rate = 0.0
        self._counted, self._counted_at = 0, time.monotonic()
        self.jobs_done = 0

    async def run(self) -> None:
        """Consume until SIGTERM; returns once every job is recorded, or back in the queue."""
        async with self._process.joined(self._log_name) as up, hooked(self._process, up=up):
            if not up:
                return
            self._ledger = Ledger(self._client.store, self._broker, self._client.signals, self.group)
            progress = Progress(self._client.store)
            self._runner = Runner(self._config, self._client.signals, progress, self.name)
            self._process.stuck = lambda: self._runner.stuck
            self._gates = Gates(self._config, self._broker, self._client.store, worker=self.name, group=self.group)
            self._intake = Intake(
                self._client, self._ledger, self._ladder, self._gates, self._holds,
                queues=self.queues, group=self.group, consumer=self.consumer,
            )  # fmt: skip
            self._watch = LoopWatch(self._limit_of, grace=self._config.lease)
            self._lease = Lease(
                self._config, self.name, self._describe,
                watch=self._watch, lapsed=self._called_lapsed(), beside=self._gates.renew,
            )  # fmt: skip
            self._lease.start()
            side_tasks = [
                self._process.side_task(self._ledger.run(), "ledger"),
                self._process.side_task(progress.run(), "progress"),
                self._process.side_task(
                    self._broker.follow(keys.CHANNEL, self._hear, subscribed=self._missed.set), "channel"
                ),
                self._process.side_task(self._wake_at_stop(), "stop"),
                self._process.side_task(self._reaffirm(), "reaffirm"),
                self._process.side_task(self._gates.run(), "gates"),
            ]
            logger.info(
                "Worker %s (process %d) consumes %s with %d slots.",
                self.name, os.getpid(), ", ".join(self.queues), self._config.max_jobs,
            )  # fmt: skip
            try:
                await self._consume_until_stopped()
            finally:
                for task in side_tasks:
                    task.cancel()
                await asyncio.gather(*side_tasks, return_exceptions=True)
                await self._intake.close()
                await self._gates.close()
                self._runner.close()
                await asyncio.to_thread(self._lease.stop)
            logger.info("Worker %s ended after %d job(s).", self.name, self.jobs_done)

    async def _consume_until_stopped(self) -> None:
        try:
            await self._consume()
        except Exception:
            logger.critical("The worker can't go on; it finishes what runs and ends.", exc_info=True)
            self._ladder.stop()
            await self._finish()
            raise
        await self._finish()

    # Taking jobs in

    async def _consume(self) -> None:
        pause, joined = 0.2, False
        while not self._ladder.stopping.is_set():
            await self._wait_for_room()
            if self._ladder.stopping.is_set():
                return
            try:
                if not joined:
                    self._accept(await self._intake.join())
                    joined = True
                    continue  # there may be no room any more
                if self._intake.has_suspect:
                    self._accept(await self._intake.take_suspect(), alone=True)
                else:
                    self._accept(await self._intake.take(self._wanted()))
                self._looked_at, pause = time.monotonic(), 0.2
            except BrokerUnavailableError as error:
                logger.warning("Not consuming; trying again in %.1f s. %s", pause, error)
                await wait_any(self._ladder.stopping, timeout=pause)
                pause, joined = min(pause * 2, 5), False
            except Exception as error:
                if not is_missing_group(error):
                    raise
                logger.warning("The consumer group %s is gone (was Redis wiped?); making it again.", self.group)
                joined = False

    async def _wait_for_room(self) -> None:
        """Return when another job may be taken in: there is room, its outcome could be recorded, the lease stands."""
        while not self._ladder.stopping.is_set():
            self._room.clear()
            able = self._lease.held and self._recordable()
            self._start_ready()  # what was held back for the lease's sake
            if able and self._wanted() > 0:
                return
            # Neither the ledger nor the lease tells anybody when it recovers.
            await wait_any(self._room, self._ladder.stopping, timeout=None if able else 0.2)

    def _recordable(self) -> bool:
        return self._ledger.healthy and self._ledger.unrecorded < MOST_UNRECORDED

    def _wanted(self) -> int:
        """How many more jobs to hold: free slots, and what the slots will have done in a moment."""
        held = len(self._running) + len(self._ready)
        if self._alone or self._intake.has_suspect:
            return 0 if held else 1
        prefetch = min(int(self._rate * PREFETCH_SECONDS), MOST_PREFETCHED)
        return self._config.max_jobs + prefetch - held

    def _accept(self, deliveries: Sequence[Delivery], *, alone: bool = False) -> None:
        if deliveries:
            self._alone = alone
            for delivery in deliveries:
                self._deliveries[delivery.record.job_id] = delivery
                # One that others wait for goes first.
                (self._ready.appendleft if self._gates.holds(delivery.record.job_id) else self._ready.append)(delivery)
                if delivery.record.job_id in self._heard:
                    self._missed.set()  # canceled in the moment of its claim, it seems: SQL knows
            announce([delivery.record for delivery in deliveries])
            self._start_ready()

    # What may have been missed

    def _called_lapsed(self) -> Callable[[], None]:
        """Return what tells this loop, from the lease's thread, that the lease had lapsed."""
        loop = asyncio.get_running_loop()

        def lapsed() -> None:
            loop.call_soon_threadsafe(self._missed.set)

        return lapsed

    async def _reaffirm(self) -> None:
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
                current = await self._client.store.load(held)
            except StoreUnavailableError as error:
                logger.warning("Whose the jobs are can't be asked. %s", error)
                self._missed.set()
                continue
            for job_id, delivery in held.items():
                now = current.get(job_id)
                if now is None or now.status.is_final:
                    self._let_go(delivery)
                    self._ledger.drop([delivery.entry])
                elif (now.owner, now.attempt) != (self.name, delivery.record.attempt):
                    logger.warning("Job %s was taken over by another worker; it is stopped here.", job_id)
                    self._let_go(delivery)
            self._lease.reaffirm()
            self._start_ready()
            self._room.set()

    def _let_go(self, delivery: Delivery) -> None:
        """Give up a job whose outcome is another's to tell."""
        if self._deliveries.get(delivery.record.job_id) is not delivery:
            return  # it has ended meanwhile; the attempt's number decides what its outcome counts
        del self._deliveries[delivery.record.job_id]
        if delivery in self._ready:
            self._ready.remove(delivery)
            self._gates.leave(delivery.record.job_id)
        self._runner.stop(delivery.record.job_id, Stop.superseded)

    # Running

    def _start_ready(self) -> None:
        while self._ready and len(self._running) < self._config.max_jobs and not self._ladder.stopping.is_set():
            if not self._lease.held:
                return  # it may be another's by now
            delivery = self._ready.popleft()
            job_id = delivery.record.job_id
            self._running[job_id] = asyncio.create_task(self._run_one(delivery), name=f"job {job_id}")

    async def _run_one(self, delivery: Delivery) -> None:
        record = delivery.record
        try:
            attempt, error = await self._runner.run(record)
        except BaseException:
            logger.exception("Running job %s failed outside of its task; it stays with its lease.", record.job_id)
            raise
        finally:
            self._running.pop(record.job_id, None)
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
        self._start_ready()
        self._room.set()

    def _count(self, record: JobRecord) -> None:
        self.jobs_done += 1
        now = time.monotonic()
        passed = now - self._counted_at
        if passed >= PREFETCH_SECONDS:
            self._rate = (self.jobs_done - self._counted) / passed
            self._counted, self._counted_at = self.jobs_done, now
        level = logging.WARNING if record.error_class else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(
                level, "%s %s in %s ms: %s%s", record.task, record.job_id, record.duration_ms, record.status,
                f" ({record.error_class}: {record.error_message})" if record.error_class else "",
            )  # fmt: skip

    def _hear(self, message: dict[str, Any]) -> None:
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

    def _holds(self, job_id: str) -> bool:
        # A run that was given up may take its time to end: not a second one beside it (the sweeper rings again).
        return job_id in self._deliveries or job_id in self._running or self._ledger.holds(job_id)

    def _limit_of(self, name: str | None) -> float:
        """Return how long the job that runs under this asyncio task's name may take."""
        return self._runner.limit(name.removeprefix("job ") if name else None)

    # Ending

    async def _wake_at_stop(self) -> None:
        await self._ladder.stopping.wait()
        await self._intake.wake()

    async def _finish(self) -> None:
        """The rest of the ladder: wait, cancel, put back, record, acknowledge."""
        self._release_ready()
        self._intake.put_suspects_back()
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
        if not await self._ledger.drained(DRAIN_SECONDS):
            logger.error(
                "%d outcome(s) could not be recorded; their jobs are run again once this worker's lease has lapsed.",
                self._ledger.unrecorded,
            )
        try:
            await self._broker.drop_consumer(self.queues, self.group, self.consumer)
        except Exception as error:
            logger.debug("The consumer could not be removed. %s", error)

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

    def _release_ready(self) -> None:
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

    # The process

    def _state(self) -> str:
        """Say in a word what the worker is at. Asked from the lease's thread, as the loop may be blocked."""
        if self._ladder.stopping.is_set():
            return "stopping"
        if self._watch.blocked_seconds:
            return "blocked"
        if not self._recordable():
            return "waiting"
        if self._wanted() <= 0:
            return "busy"
        return "consuming" if time.monotonic() - self._looked_at < LOOKS_AWAY_SECONDS else "waiting"

    def _describe(self) -> dict[str, Any]:
        from django_cfg_tasks import __version__

        state = self._state()
        return {
            "queue": keys.stream(self.queues[0]),
            "queues": self.queues,
            "is_timer": False,
            "group": self.group,
            "consumer": self.consumer,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "state": state,
            "consuming": state in ("consuming", "busy"),
            "running": len(self._running),
            "slots": self._config.max_jobs,
            "done": self.jobs_done,
            "version": __version__,
            "python": platform.python_version(),
        }
