"""What the leading timer does beside its rounds: sweep, forget the dead, delete what is old, mend the history.

Each at its own pace, so that a long one keeps nothing else waiting; all of it may be done twice without harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import BrokerUnavailableError, StoreUnavailableError
from django_cfg_tasks.worker.shutdown import ShutdownLadder, wait_any
from django_cfg_tasks.worker.sweeper import Sweeper

logger = logging.getLogger("django_cfg_tasks.timer")

LOOK_SECONDS = 1.0
PURGE_SECONDS = 3600.0
HISTORY_SECONDS = 600.0
AFTER_DEATH_SECONDS = 35.0
"""The history that a dead worker left unwritten shows as rows that have not changed for a while."""


class Upkeep:
    """Side tasks of one timer. ``leads`` tells whether it leads; one that does not does nothing."""

    def __init__(self, client: ReArqClient, ladder: ShutdownLadder, leads: Callable[[], bool]) -> None:
        self._client = client
        self._ladder = ladder
        self._leads = leads
        self._sweeper = Sweeper(client)
        self._swept_once = False
        self._bury_at = 0.0
        self._purge_at = 0.0
        self._history_at = 0.0

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in (
                ("sweep", self._sweep),
                ("bury", self._bury),
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

    async def _sweep(self) -> None:
        if not self._swept_once or await self._sweeper.is_due():
            await self._sweeper.sweep()
            self._swept_once = True

    async def _bury(self) -> None:
        if time.monotonic() < self._bury_at:
            return
        self._bury_at = time.monotonic() + max(2.0, self._client.rearq_config.lease / 2)
        dead = await self._sweeper.forget_dead_workers()
        if dead:
            logger.warning("Dead, and off the list: %s.", ", ".join(dead))
            self._history_at = min(self._history_at, time.monotonic() + AFTER_DEATH_SECONDS)
