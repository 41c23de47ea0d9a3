"""Waiting for a job to become final: woken by the worker's message, sure by looking into SQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from django_cfg_tasks.broker import Broker, keys
from django_cfg_tasks.exceptions import JobNotFoundError, StoreUnavailableError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.loop import ended, set_within

logger = logging.getLogger("django_cfg_tasks.results")

LOOK_AGAIN_SECONDS = 5.0
"""How often a waiter looks into SQL though nobody called: a message may have been lost with its connection."""


class ResultWaiter:
    """All waiters of a process share one subscription. Lives on the home loop."""

    def __init__(self, broker: Broker, load: Callable[[str], Awaitable[JobRecord | None]]) -> None:
        self._broker = broker
        self._load = load
        self._events: dict[str, list[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def wait(self, job_id: str, timeout: float | None) -> JobRecord | None:
        """Return the job once it is final, None after ``timeout`` seconds; JobNotFoundError if it is none."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        event = asyncio.Event()
        self._events.setdefault(job_id, []).append(event)
        try:
            # Subscribe first, look second: an end between the two is noticed.
            await self._listen(deadline)
            while True:
                event.clear()
                try:
                    record = await self._load(job_id)
                    if record is None:
                        raise JobNotFoundError(f"No job has the id {job_id!r}.")
                    if record.status.is_final:
                        return record
                except StoreUnavailableError as error:
                    logger.warning("Waiting for job %s goes on. %s", job_id, error)
                pause = LOOK_AGAIN_SECONDS
                if deadline is not None:
                    pause = min(pause, deadline - loop.time())
                    if pause <= 0:
                        return None
                await set_within(event, pause)
        finally:
            events = self._events[job_id]
            events.remove(event)
            if not events:
                del self._events[job_id]

    async def close(self) -> None:
        """End the subscription."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await ended([listener])

    async def _listen(self, deadline: float | None) -> None:
        if self._listening.is_set() and self._listener is not None and not self._listener.done():
            return
        loop = asyncio.get_running_loop()
        if self._listener is None or self._listener.done():
            self._listener = loop.create_task(
                self._broker.follow(
                    keys.FINISHED_CHANNEL, self._wake, subscribed=self._subscribed, lost=self._listening.clear
                ),
                name="django_cfg_tasks-results",
            )
        patience = 3.0 if deadline is None else max(0.0, min(3.0, deadline - loop.time()))
        if not await set_within(self._listening, patience):
            logger.debug("Not subscribed yet; looking into SQL instead.")

    def _subscribed(self) -> None:
        self._listening.set()
        # What ended while nobody listened was missed: let everyone look.
        self._wake(list(self._events))

    def _wake(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            for event in self._events.get(job_id, ()):
                event.set()
