"""The worker: fetch -> claim -> run -> record -> acknowledge.

It reads no more than can start soon, and takes its way down the shutdown ladder without losing a job. What a
job does is the runner's business, what becomes of its outcome the ledger's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_cfg_tasks.broker import Bell, BlockingReader, Entry, is_missing_group, keys
from django_cfg_tasks.exceptions import BrokerUnavailableError, InvalidOptionError, StoreUnavailableError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.options import check_queue
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.signals import announce
from django_cfg_tasks.store import Outcome
from django_cfg_tasks.worker.lease import Lease
from django_cfg_tasks.worker.ledger import Ledger, Line
from django_cfg_tasks.worker.runner import Runner, Stop
from django_cfg_tasks.worker.shutdown import wait_any

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


@dataclass(slots=True)
class Delivery:
    """A job that this worker has claimed, and the entry to acknowledge when its outcome is recorded."""

    entry: Entry
    record: JobRecord


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
        self.consumer = consumer_name or self._process.identity
        self.name = f"{self.group}-{self.consumer}"
        self._ladder = self._process.ladder
        self._running: dict[str, asyncio.Task[None]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._room = asyncio.Event()
        self._rate = 0.0
        self._counted, self._counted_at = 0, time.monotonic()
        self.jobs_done = 0

    async def run(self) -> None:
        """Consume until SIGTERM; returns once every job is recorded, or back in the queue."""
        async with self._process.joined(self.name) as up:
            if not up:
                return
            self._ledger = Ledger(self._client.store, self._broker, self.group)
            self._runner = Runner(self._config, self._broker, self.name)
            self._process.stuck = lambda: self._runner.stuck
            self._reader = BlockingReader(self._config)
            lease = Lease(self._config, self.name, self._describe)
            lease.start()
            side_tasks = [
                self._side_task(self._ledger.run(), "ledger"),
                self._side_task(self._broker.follow(keys.CHANNEL, self._hear), "channel"),
                self._side_task(self._wake_at_stop(), "stop"),
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
                await self._reader.close()
                self._runner.close()
                await asyncio.to_thread(lease.stop)
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

    # Fetching

    async def _consume(self) -> None:
        pause, groups_exist = 0.2, False
        while not self._ladder.stopping.is_set():
            await self._wait_for_room()
            if self._ladder.stopping.is_set():
                return
            try:
                if not groups_exist:
                    await self._broker.create_groups(self.queues, self.group)
                    groups_exist = True
                entries = await self._broker.fetch(self.queues, self.group, self.consumer, self._wanted())
                if not entries:
                    entries = await self._reader.wait(self.queues, self.group, self.consumer)
                pause = 0.2
            except BrokerUnavailableError as error:
                logger.warning("Not consuming; trying again in %.1f s. %s", pause, error)
                await wait_any(self._ladder.stopping, timeout=pause)
                pause, groups_exist = min(pause * 2, 5), False
                continue
            except Exception as error:
                if not is_missing_group(error):
                    raise
                logger.warning("The consumer group %s is gone (was Redis wiped?); making it again.", self.group)
                groups_exist = False
                continue
            if entries:
                await self._claim(entries)

    async def _wait_for_room(self) -> None:
        """Return when another job may be fetched: there is a slot for it, and its outcome could be recorded."""
        while not self._ladder.stopping.is_set():
            self._room.clear()
            recordable = self._ledger.healthy and self._ledger.unrecorded < MOST_UNRECORDED
            if recordable and self._wanted() > 0:
                return
            # An unhealthy ledger tells nobody when it recovers.
            await wait_any(self._room, self._ladder.stopping, timeout=None if recordable else 0.2)

    def _wanted(self) -> int:
        """How many more jobs to hold: free slots, and what the slots will have done in a moment."""
        prefetch = min(int(self._rate * PREFETCH_SECONDS), MOST_PREFETCHED)
        return self._config.max_jobs + prefetch - len(self._running) - len(self._ready)

    async def _claim(self, entries: list[Entry]) -> None:
        # A second ring for a job that this worker holds is answered when the job ends.
        again = [entry for entry in entries if entry.job_id in self._deliveries]
        if again:
            self._ledger.drop(again)
        first = {entry.job_id: entry for entry in entries if entry.job_id not in self._deliveries}
        twins = [e for e in entries if e.job_id in first and first[e.job_id] is not e]
        if twins:
            self._ledger.drop(twins)
        claimed = await self._claimed(first)
        if claimed is None:
            return
        records = []
        for job_id, entry in first.items():
            record = claimed.get(job_id)
            if record is None:
                continue
            record.queue = record.queue or entry.queue
            records.append(record)
            delivery = Delivery(entry, record)
            self._deliveries[job_id] = delivery
            self._ready.append(delivery)
        unclaimed = [entry for job_id, entry in first.items() if job_id not in claimed]
        if unclaimed:
            logger.debug("%d entries are of jobs that ended, run elsewhere or are gone.", len(unclaimed))
            self._ledger.drop(unclaimed)
        if records:
            announce(records)
            self._start_ready()

    async def _claimed(self, entries: dict[str, Entry]) -> dict[str, JobRecord] | None:
        """Claim in SQL, for as long as it takes; None if told to stop meanwhile (the entries are rung anew)."""
        claimed: dict[str, JobRecord] = {}
        pause, tried = 0.2, False
        while entries:
            try:
                claimed = await self._client.store.claim(list(entries), self.name)
                if tried and len(claimed) < len(entries):
                    # An earlier try may have got through though we heard of an outage.
                    loaded = await self._client.store.load(entries.keys() - claimed.keys(), attempts=True)
                    claimed |= {
                        job_id: record
                        for job_id, record in loaded.items()
                        if record.owner == self.name and record.status is JobStatus.in_progress
                    }
                return claimed
            except StoreUnavailableError as error:
                tried = True
                logger.warning("%d job(s) wait to be claimed; trying again in %.1f s. %s", len(entries), pause, error)
                if await wait_any(self._ladder.stopping, timeout=pause):
                    bells = [Bell(entry.queue, entry.job_id) for entry in entries.values()]
                    self._ledger.drop(list(entries.values()), bells)
                    return None
                pause = min(pause * 2, 5)
        return claimed

    # Running

    def _start_ready(self) -> None:
        while self._ready and len(self._running) < self._config.max_jobs and not self._ladder.stopping.is_set():
            delivery = self._ready.popleft()
            job_id = delivery.record.job_id
            self._running[job_id] = asyncio.create_task(self._run_one(delivery), name=f"job {job_id}")

    async def _run_one(self, delivery: Delivery) -> None:
        record = delivery.record
        try:
            attempt = await self._runner.run(record)
        except BaseException:
            logger.exception("Running job %s failed outside of its task; it stays with its lease.", record.job_id)
            raise
        finally:
            self._running.pop(record.job_id, None)
        if self._deliveries.pop(record.job_id, None) is not None:
            self._ledger.add(Line(delivery.entry, Outcome(record, attempt, self._msg_id(delivery))))
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
        for delivery in list(self._deliveries.values()):
            if delivery.record.task != task or job_id not in (None, delivery.record.job_id):
                continue
            if delivery in self._ready and job_id is not None:
                # SQL calls it canceled already; it need not start.
                self._ready.remove(delivery)
                del self._deliveries[job_id]
                self._ledger.drop([delivery.entry])
            self._runner.stop(delivery.record.job_id, Stop.canceled)

    @staticmethod
    def _msg_id(delivery: Delivery) -> str:
        """ReArq wants a unique one per attempt; an entry can be delivered again, and two streams share ids."""
        return f"{delivery.entry.msg_id}#{delivery.record.id}.{delivery.record.attempt}"

    # Ending

    async def _wake_at_stop(self) -> None:
        await self._ladder.stopping.wait()
        await self._reader.wake(self._broker)

    async def _finish(self) -> None:
        """The rest of the ladder: wait, cancel, put back, record, acknowledge."""
        self._release_ready()
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
            self._release(delivery)

    def _release(self, delivery: Delivery) -> None:
        """Put a job back that has not ended: at the end of its queue, without an attempt or a retry used."""
        record = delivery.record.snapshot()
        record.status, record.due_time, record.start_time = JobStatus.queued, None, None
        self._ledger.add(Line(delivery.entry, Outcome(record, None, self._msg_id(delivery))))

    # The process

    def _side_task(self, coroutine: Any, name: str) -> asyncio.Task[Any]:
        """Start a task whose death is loud, and ends the worker in order."""
        task = asyncio.create_task(coroutine, name=f"django_cfg_tasks-{name}")

        def died(task: asyncio.Task[Any]) -> None:
            if not task.cancelled() and task.exception() is not None:
                logger.critical("The worker's %s died; the worker ends.", name, exc_info=task.exception())
                self._ladder.stop()

        task.add_done_callback(died)
        return task

    def _describe(self) -> dict[str, Any]:
        from django_cfg_tasks import __version__

        return {
            "queue": keys.stream(self.queues[0]),
            "queues": self.queues,
            "is_timer": False,
            "group": self.group,
            "consumer": self.consumer,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "running": len(self._running),
            "slots": self._config.max_jobs,
            "done": self.jobs_done,
            "version": __version__,
            "python": platform.python_version(),
        }
