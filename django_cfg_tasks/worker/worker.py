"""The worker: fetch -> claim -> run -> record -> acknowledge.

It takes in no more than can start soon, and takes its way down the shutdown ladder without losing a job. How jobs
come in is the intake's business, what it holds of them that of its slots.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django_cfg_tasks.broker import is_missing_group, keys
from django_cfg_tasks.exceptions import BrokerUnavailableError, InvalidOptionError
from django_cfg_tasks.loop import ended
from django_cfg_tasks.options import check_queue
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.worker.gates import Gates
from django_cfg_tasks.worker.hooks import hooked
from django_cfg_tasks.worker.intake import Intake
from django_cfg_tasks.worker.lease import Lease
from django_cfg_tasks.worker.ledger import Ledger
from django_cfg_tasks.worker.profile import Profile
from django_cfg_tasks.worker.progress import Progress
from django_cfg_tasks.worker.runner import Runner
from django_cfg_tasks.worker.shutdown import wait_any
from django_cfg_tasks.worker.slots import Slots
from django_cfg_tasks.worker.watch import LoopWatch

if TYPE_CHECKING:
    from django_cfg_tasks.worker.rearq_app import DjangoReArq

logger = logging.getLogger("django_cfg_tasks.worker")

DRAIN_SECONDS = 10.0
"""How long the end waits for SQL and Redis; what is not recorded by then is run again by others."""
MOST_UNRECORDED = 5000
LOOKS_AWAY_SECONDS = 10.0
"""A worker that has room and has not looked for jobs for so long is not consuming."""


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
        self.queues = tasks.in_lanes(queues or tasks.queues())
        self.group = group_name or self._config.group_name
        # Never the name of a process that died: its entries are told from this one's by it.
        self.consumer = f"{consumer_name}-{uuid4().hex[:6]}" if consumer_name else self._process.identity
        self.name = f"{self.group}-{self.consumer}"
        self._log_name = f"{self.group}-{consumer_name}" if consumer_name else self.name
        self._ladder = self._process.ladder
        self._looked_at = time.monotonic()

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
            self._watch = LoopWatch(self._limit_of, grace=self._config.lease)
            self._lease = Lease(
                self._config, self.name, self._describe,
                watch=self._watch, lapsed=self._look_again, beside=self._gates.renew,
            )  # fmt: skip
            self._slots = Slots(
                self._config, self.name, self._ladder,
                store=self._client.store, runner=self._runner, gates=self._gates, ledger=self._ledger,
                lease=self._lease,
            )  # fmt: skip
            self._intake = Intake(
                self._client, self._ledger, self._ladder, self._gates, self._slots.holds,
                queues=self.queues, group=self.group, consumer=self.consumer,
            )  # fmt: skip
            profile = Profile(self._client, self._runner) if self._process.profiled else None
            if (metrics := self._process.metrics) is not None:
                metrics.follow_worker(self._runner, self._slots, self._ledger, self._watch, self._config.max_jobs)
            self._lease.start()
            side_tasks = [
                self._process.side_task(self._ledger.run(), "ledger"),
                self._process.side_task(progress.run(), "progress"),
                self._process.side_task(
                    self._broker.follow(keys.CHANNEL, self._slots.hear, subscribed=self._slots.look_again), "channel"
                ),
                self._process.side_task(self._wake_at_stop(), "stop"),
                self._process.side_task(self._slots.reaffirm(), "reaffirm"),
                self._process.side_task(self._gates.run(), "gates"),
            ]
            if profile is not None:
                side_tasks.append(self._process.side_task(profile.run(), "profile"))
            logger.info(
                "Worker %s (process %d) consumes %s with %d slots.",
                self.name, os.getpid(), ", ".join(self.queues), self._config.max_jobs,
            )  # fmt: skip
            # What was made until now stays: the collector need not look through all of Django again and again.
            gc.freeze()
            try:
                await self._consume_until_stopped()
            finally:
                await ended(side_tasks)
                await self._intake.close()
                await self._gates.close()
                self._runner.close()
                await asyncio.to_thread(self._lease.stop)
            if profile is not None:
                profile.tell()
            logger.info("Worker %s ended after %d job(s).", self.name, self._slots.jobs_done)

    async def _consume_until_stopped(self) -> None:
        try:
            await self._consume()
        except Exception:
            logger.critical("The worker can't go on; it finishes what runs and ends.", exc_info=True)
            self._ladder.stop()
            await self._finish()
            raise
        await self._finish()

    # Asked from the lease's thread, which is made before the slots.

    def _limit_of(self, name: str | None) -> float:
        return self._slots.limit_of(name)

    def _look_again(self) -> None:
        self._slots.look_again()

    # Taking jobs in

    async def _consume(self) -> None:
        pause, joined = 0.2, False
        while not self._ladder.stopping.is_set():
            await self._wait_for_room()
            if self._ladder.stopping.is_set():
                return
            try:
                if not joined:
                    self._slots.accept(await self._intake.join())
                    joined = True
                    continue  # there may be no room any more
                if self._intake.has_suspect:
                    self._slots.accept(await self._intake.take_suspect(), alone=True)
                else:
                    self._slots.accept(await self._intake.take(self._wanted()))
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
            self._slots.room.clear()
            able = self._lease.held and self._recordable()
            self._slots.start_ready()  # what was held back for the lease's sake
            if able and self._wanted() > 0:
                return
            # Neither the ledger nor the lease tells anybody when it recovers.
            await wait_any(self._slots.room, self._ladder.stopping, timeout=None if able else 0.2)

    def _recordable(self) -> bool:
        return self._ledger.healthy and self._ledger.unrecorded < MOST_UNRECORDED

    def _wanted(self) -> int:
        return self._slots.wanted(suspect=self._intake.has_suspect)

    # Ending

    async def _wake_at_stop(self) -> None:
        await self._ladder.stopping.wait()
        await self._intake.wake()

    async def _finish(self) -> None:
        """The rest of the ladder: wait, cancel, put back, record, acknowledge."""
        self._slots.release_ready()
        self._intake.put_suspects_back()
        await self._slots.end()
        if not await self._ledger.drained(DRAIN_SECONDS):
            logger.error(
                "%d outcome(s) could not be recorded; their jobs are run again once this worker's lease has lapsed.",
                self._ledger.unrecorded,
            )
        try:
            await self._broker.drop_consumer(self.queues, self.group, self.consumer)
        except Exception as error:
            logger.debug("The consumer could not be removed. %s", error)

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
            "running": self._slots.running,
            "slots": self._config.max_jobs,
            "done": self._slots.jobs_done,
            "version": __version__,
            "python": platform.python_version(),
        }
