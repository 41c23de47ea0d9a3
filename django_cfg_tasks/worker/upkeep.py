"""What the leading timer does beside its rounds: sweep, forget the dead, delete what is old, mend the history.

Each at its own pace, so that a long one keeps nothing else waiting; all of it may be done twice without harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from django_cfg_tasks.exceptions import BrokerUnavailableError, StoreUnavailableError
from django_cfg_tasks.retention import purge_old
from django_cfg_tasks.worker.process import Process
from django_cfg_tasks.worker.shutdown import wait_any
from django_cfg_tasks.worker.sweeper import Sweeper

logger = logging.getLogger("django_cfg_tasks.timer")

LOOK_SECONDS = 1.0
PURGE_SECONDS = 3600.0
HISTORY_SECONDS = 600.0
AFTER_DEATH_SECONDS = 35.0
"""What a dead worker left unwritten shows as rows of the history that have not changed for a while."""


class Upkeep:
    """Side tasks of one timer. ``leads`` tells whether it leads; one that does not does nothing."""

    def __init__(self, process: Process, leads: Callable[[], bool]) -> None:
        self._client = process.client
        self._history = process.history
        self._ladder = process.ladder
        self._leads = leads
        self.sweeper = Sweeper(process.client)
        self._may_have_lost = True
        self._bury_at = 0.0
        self._purge_at = 0.0
        self._history_at = 0.0
        self._settled_at = 0.0
        self._last_led = float("-inf")

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in (
                ("sweep", self._sweep),
                ("bury", self._bury),
                ("purge", self._purge),
                ("history", self._mend_history),
            ):
                group.create_task(self._again_and_again(work), name=f"django_cfg_tasks-{name}")

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        pause = LOOK_SECONDS
        while not self._ladder.stopping.is_set():
            try:
                if self._leads():
                    await work()
                pause = LOOK_SECONDS
            except (BrokerUnavailableError, StoreUnavailableError) as error:
                pause = min(pause * 2, 10)
                logger.debug("Upkeep waits %.0f s. %s", pause, error)
            except Exception:
                # Upkeep that fails must not end the timer, without which nothing delayed would run.
                pause = 60
                logger.exception("Upkeep failed; trying again in %.0f s.", pause)
            await wait_any(self._ladder.stopping, timeout=pause)

    def look_again(self) -> None:
        """Sweep soon: Redis was away, and may have come back without the last of what it was told."""
        self._may_have_lost = True

    async def _sweep(self) -> None:
        if not self._may_have_lost and not await self.sweeper.is_due():
            return
        may_have_lost, self._may_have_lost = self._may_have_lost, False
        try:
            await self.sweeper.sweep()
        except BaseException:
            self._may_have_lost |= may_have_lost
            raise

    async def _bury(self) -> None:
        if time.monotonic() < self._bury_at:
            return
        self._bury_at = time.monotonic() + max(2.0, self._client.rearq_config.lease / 2)
        dead = await self.sweeper.forget_dead_workers()
        if dead:
            logger.warning("Dead, and off the list: %s.", ", ".join(dead))
            self._settled_at = time.monotonic() + AFTER_DEATH_SECONDS
            self._history_at = min(self._history_at, self._settled_at)

    async def _purge(self) -> None:
        if time.monotonic() >= self._purge_at:
            await purge_old(self._client)
            self._purge_at = time.monotonic() + PURGE_SECONDS

    async def _mend_history(self) -> None:
        now = time.monotonic()
        if now - self._last_led > 5 * LOOK_SECONDS:
            # It leads, or leads again: the leader before may have died with a death in mind.
            self._history_at, self._settled_at = now, now + AFTER_DEATH_SECONDS
        self._last_led = now
        if now >= self._history_at:
            self._history.catch_up_soon()
            # Of a death that was noticed lately there is nothing to be seen yet.
            self._history_at = self._settled_at if self._settled_at > now else now + HISTORY_SECONDS
