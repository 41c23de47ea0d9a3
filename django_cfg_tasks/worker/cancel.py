"""Hears which running jobs are to be cancelled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from django_cfg_tasks.broker import Broker, keys
from django_cfg_tasks.exceptions import BrokerUnavailableError

logger = logging.getLogger("django_cfg_tasks.worker")


class CancelListener:
    """Passes on ReArq's ``cancel_task`` messages: a task's name, and a job id or None for all of its jobs."""

    def __init__(self, broker: Broker, cancel: Callable[[str, str | None], None]) -> None:
        self._broker = broker
        self._cancel = cancel

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = 0.2
        while True:
            try:
                async with self._broker.listen(keys.CHANNEL) as messages:
                    pause = 0.2
                    async for message in messages:
                        self._take(message["data"])
            except BrokerUnavailableError as error:
                logger.debug("Not hearing of cancellations; trying again in %.1f s. %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)

    def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
            if message["type"] == "cancel_task":
                self._cancel(message["task_name"], message.get("job_id"))
        except (ValueError, KeyError, TypeError):
            logger.warning("A message on %s can't be understood: %.200s", keys.CHANNEL, text)
