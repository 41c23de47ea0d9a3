"""The timer: lets cron tasks and delayed jobs start when they are due. Any number may run, one leads.

A firing has a deterministic job id, unique in SQL, and delayed jobs are moved by one script: the lease only
saves work, correctness does not rest on it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django_cfg_tasks import conf
from django_cfg_tasks.broker import keys
from django_cfg_tasks.cron import Cron
from django_cfg_tasks.exceptions import BrokerUnavailableError, EnqueueError
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task
from django_cfg_tasks.worker.lease import Lease
from django_cfg_tasks.worker.shutdown import wait_any
from django_cfg_tasks.worker.upkeep import Upkeep

if TYPE_CHECKING:
    from django_cfg_tasks.worker.rearq_app import DjangoReArq

logger = logging.getLogger("django_cfg_tasks.timer")

LONGEST_SLEEP = 5.0
"""A wake-up message may be lost with its connection: look at least this often."""


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
        self._started = False
        self._next: dict[str, dt.datetime] = {}
        self._next_delayed: float | None = None
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
            side_tasks = [
                self._process.side_task(
                    self._broker.follow(keys.CHANNEL, self._hear, subscribed=self._wake.set), "timer's channel"
                ),
                self._process.side_task(upkeep.run(), "upkeep"),
            ]
            logger.info("Timer %s started.", self.name)
            try:
                await self._tick_on()
            finally:
                for task in side_tasks:
                    task.cancel()
                await asyncio.gather(*side_tasks, return_exceptions=True)
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
                    await self._start_once()
                    await self._fire()
                    await self._promote()
                pause, self._ticked_at = 0.2, time.monotonic()
                await wait_any(self._wake, self._ladder.stopping, timeout=self._sleep_seconds())
            except (BrokerUnavailableError, EnqueueError) as error:
                logger.warning("The timer waits; trying again in %.1f s. %s", pause, error)
                await wait_any(self._ladder.stopping, timeout=pause)
                pause = min(pause * 2, 5)

    async def _lead(self) -> None:
        leads = await self._broker.hold_lease(keys.TIMER_LEASE, self._token, self._config.lease)
        if leads and not self._leads:
            logger.info("Timer %s leads.", self.name)
            now = dt.datetime.now(dt.UTC)
            self._next = {task.name: _due_after(cron, now) for task, cron in _cron_tasks()}
        elif self._leads and not leads:
            logger.warning("Timer %s leads no more.", self.name)
        self._leads = leads

    async def _start_once(self) -> None:
        """Enqueue the tasks that run at a timer's start."""
        if self._started:
            return
        for task, cron in _cron_tasks():
            start = cron.run_at_start
            if start is not False:
                args, kwargs = ((), start) if isinstance(start, dict) else (() if start is True else start, {})
                # The same id if this is tried again, for SQL was away.
                starting = task.using(job_id=f"start:{_short(task.name)}:{self._token}")
                await self._client.aenqueue([starting.record(args, kwargs)])
        self._started = True

    async def _fire(self) -> None:
        now = dt.datetime.now(dt.UTC)
        for name, due in list(self._next.items()):
            task = tasks.get(name)
            if due > now or task is None or task.cron is None:
                continue
            record = task.using(job_id=_firing_id(name, due)).record((), {})
            known = (await self._client.aenqueue([record]))[0]
            if known is None:
                logger.info("Cron: %s, due at %s.", name, due.isoformat())
            self._next[name] = _due_after(task.cron, max(due, now))

    async def _promote(self) -> None:
        earliest: float | None = None
        for shard in keys.delay_shards(self._config.delay_queue_num):
            moved, left = await self._broker.promote(shard)
            if moved:
                logger.debug("%d delayed job(s) are due.", moved)
            if left is not None:
                earliest = left if earliest is None else min(earliest, left)
        self._next_delayed = earliest

    def _sleep_seconds(self) -> float:
        """Until the next thing is due, and not longer than the lease allows."""
        longest = min(LONGEST_SLEEP, self._config.lease / 3)
        if not self._leads:
            return longest
        now = time.time()
        due = [moment.timestamp() for moment in self._next.values()]
        if self._next_delayed is not None:
            due.append(self._next_delayed)
        # A millisecond more than nothing: Redis's clock decides, and it counts whole ones.
        return max(0.001, min([longest, *(moment - now for moment in due)]))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "delay_changed":
            due = float(message["ms"]) / 1000
            if self._next_delayed is None or due < self._next_delayed:
                self._wake.set()

    async def _resign(self) -> None:
        try:
            await self._broker.release_lease(keys.TIMER_LEASE, self._token)
        except BrokerUnavailableError as error:
            logger.warning("The timer's lease lapses by itself. %s", error)

    def _describe(self) -> dict[str, Any]:
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
        }


def _cron_tasks() -> list[tuple[Task[..., Any], Cron]]:
    return [(task, task.cron) for task in tasks if task.cron is not None]


def _due_after(cron: Cron, moment: dt.datetime) -> dt.datetime:
    return cron.schedule.next_after(moment, conf.current_timezone())


def _short(task: str) -> str:
    """The task's name, or where that is too long for a job id, a name as unique."""
    return task if len(task) <= 150 else f"{task[:100]}~{hashlib.sha256(task.encode()).hexdigest()[:32]}"


def _firing_id(task: str, due: dt.datetime) -> str:
    """The same for every timer that fires this task for this moment."""
    return f"cron:{_short(task)}:{due.strftime('%Y-%m-%dT%H:%M:%SZ')}"
