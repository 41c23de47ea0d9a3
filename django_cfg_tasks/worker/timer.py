"""The timer: lets cron tasks and delayed jobs start when they are due. Any number may run, one leads.

Which firings are due is `firings`' to say. A firing has a deterministic job id, unique in SQL, and delayed jobs are
moved by one script: the lease only saves work, correctness does not rest on it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django_cfg_tasks.broker import keys
from django_cfg_tasks.exceptions import BrokerUnavailableError, EnqueueError, StoreUnavailableError
from django_cfg_tasks.loop import ended
from django_cfg_tasks.worker.firings import Firings
from django_cfg_tasks.worker.lease import Lease
from django_cfg_tasks.worker.shutdown import wait_any
from django_cfg_tasks.worker.upkeep import Upkeep

if TYPE_CHECKING:
    from django_cfg_tasks.worker.rearq_app import DjangoReArq

logger = logging.getLogger("django_cfg_tasks.timer")

LONGEST_SLEEP = 5.0
"""A wake-up message may be lost with its connection: look at least this often."""
LAST_NOTE_SECONDS = 2.0


class Timer:
    """One timer of possibly many. ReArq's CLI makes and runs it."""

    def __init__(self, rearq: DjangoReArq) -> None:
        self._process = rearq.process
        self._client = rearq.client
        self._config = rearq.client.rearq_config
        self._broker = rearq.client.broker
        self._ladder = self._process.ladder
        self._token = uuid4().hex
        self.name = f"{self._config.group_name}-{self._process.identity}-timer"
        self._leads = False
        self._firings = Firings(rearq.client)
        self._next_delayed_ms: float | None = None
        self._next_delayed_at = 0.0
        self._wake = asyncio.Event()
        self._ticked_at = time.monotonic()

    async def run(self) -> None:
        """Run until SIGTERM."""
        async with self._process.joined(self.name) as up:
            if not up:
                return
            lease = Lease(self._config, self.name, self._describe)
            lease.start()
            upkeep = Upkeep(self._process, lambda: self._leads)

            if (metrics := self._process.metrics) is not None:
                metrics.follow_sweeper(upkeep.sweeper)

            def look_again() -> None:
                self._wake.set()
                upkeep.look_again()

            side_tasks = [
                self._process.side_task(
                    self._broker.follow(keys.CHANNEL, self._hear, subscribed=look_again), "timer's channel"
                ),
                self._process.side_task(upkeep.run(), "upkeep"),
            ]
            logger.info("Timer %s started.", self.name)
            try:
                await self._tick_on()
            finally:
                await ended(side_tasks)
                await self._resign()
                await asyncio.to_thread(lease.stop)
            logger.info("Timer %s ended.", self.name)

    async def _tick_on(self) -> None:
        pause = 0.2
        while not self._ladder.stopping.is_set():
            self._wake.clear()
            try:
                await self._lead()
                if self._leads:
                    # Delayed jobs first: they need no SQL here.
                    await self._promote()
                    await self._firings.start(self._token)
                    await self._firings.fire(_now())
                pause, self._ticked_at = 0.2, time.monotonic()
                await wait_any(self._wake, self._ladder.stopping, timeout=self._sleep_seconds())
            except (BrokerUnavailableError, EnqueueError, StoreUnavailableError) as error:
                logger.warning("The timer waits; trying again in %.1f s. %s", pause, error)
                await wait_any(self._ladder.stopping, timeout=pause)
                pause = min(pause * 2, self._longest_sleep)

    async def _lead(self) -> None:
        leads = await self._broker.hold_lease(keys.TIMER_LEASE, self._token, self._config.lease)
        if leads and not self._leads:
            logger.info("Timer %s leads.", self.name)
        elif self._leads and not leads:
            logger.warning("Timer %s leads no more.", self.name)
            self._firings.forget()
        self._leads = leads

    async def _promote(self) -> None:
        promotion = await self._broker.promote()
        if promotion.moved:
            logger.debug("%d delayed job(s) are due.", promotion.moved)
        self._next_delayed_ms = promotion.next_ms
        self._next_delayed_at = time.monotonic() + promotion.seconds

    @property
    def _longest_sleep(self) -> float:
        return min(LONGEST_SLEEP, self._config.lease / 3)

    def _sleep_seconds(self) -> float:
        """Until the next thing is due, and not longer than the lease allows."""
        seconds = [self._longest_sleep]
        if self._leads:
            if (firing := self._firings.seconds_to_next(_now())) is not None:
                seconds.append(firing)
            if self._next_delayed_ms is not None:
                seconds.append(self._next_delayed_at - time.monotonic())
        return max(0.001, min(seconds))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "delay_changed" and (
            self._next_delayed_ms is None or float(message["ms"]) < self._next_delayed_ms
        ):
            self._wake.set()

    async def _resign(self) -> None:
        try:
            if self._leads:
                async with asyncio.timeout(LAST_NOTE_SECONDS):
                    await self._firings.note()
        except (StoreUnavailableError, TimeoutError) as error:
            logger.debug("What was fired last is not noted; the ids of firings tell. %s", error)
        try:
            await self._broker.release_lease(keys.TIMER_LEASE, self._token)
        except BrokerUnavailableError as error:
            logger.warning("The timer's lease lapses by itself. %s", error)

    def _describe(self) -> dict[str, Any]:
        from django_cfg_tasks import __version__

        return {
            "queue": keys.DELAY_PREFIX.rstrip(":"),
            "queues": [],
            "is_timer": True,
            "leads": self._leads,
            "ticking": time.monotonic() - self._ticked_at < 3 * LONGEST_SLEEP,
            "group": self._config.group_name,
            "consumer": self.name.removeprefix(f"{self._config.group_name}-"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "python": platform.python_version(),
        }


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
