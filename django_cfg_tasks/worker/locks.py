"""One run at a time: a lease in Redis that is renewed while the job runs and lapses after a crash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from django_cfg_tasks.broker import Broker, keys
from django_cfg_tasks.exceptions import BrokerUnavailableError

logger = logging.getLogger("django_cfg_tasks.worker")

LOOK_AGAIN_SECONDS = 0.25


@asynccontextmanager
async def task_lock(broker: Broker, task: str, seconds: float) -> AsyncIterator[None]:
    """Wait until no other job of ``task`` runs anywhere, then hold the lock, for as long as the body runs.

    After a crash of its holder the lock lapses within ``seconds``. While Redis is away the lock can't be
    taken; a holder goes on.
    """
    key, token = keys.LOCK_PREFIX + task, uuid4().hex
    while not await _held(broker, key, token, seconds):
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    renewal = asyncio.create_task(_renew(broker, key, token, seconds), name=f"django_cfg_tasks-lock-{task}")
    try:
        yield
    finally:
        renewal.cancel()
        try:
            await asyncio.shield(broker.release_lease(key, token))
        except BrokerUnavailableError as error:
            logger.warning("The lock of %s lapses within %g s. %s", task, seconds, error)


async def _renew(broker: Broker, key: str, token: str, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / 3)
        if not await _held(broker, key, token, seconds):
            logger.error("The lock %s was lost while its job runs; another may have started.", key)


async def _held(broker: Broker, key: str, token: str, seconds: float) -> bool:
    try:
        return await broker.hold_lease(key, token, seconds)
    except BrokerUnavailableError as error:
        logger.debug("The lock %s can't be asked for. %s", key, error)
        return False
