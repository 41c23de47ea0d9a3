"""The connection on which a worker waits for jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis.asyncio
from redis import exceptions

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.connection import async_client, close_client
from django_cfg_tasks.broker.faults import explained
from django_cfg_tasks.broker.messages import Entry, entries_of
from django_cfg_tasks.config import RearqConfig

if TYPE_CHECKING:
    from django_cfg_tasks.broker import Broker

logger = logging.getLogger("django_cfg_tasks.broker")


class BlockingReader:
    """Waits for new entries on a connection of its own, and can be woken from outside."""

    def __init__(self, config: RearqConfig, block: float = 2.0) -> None:
        self._config = config
        self._block = block
        self._client: redis.asyncio.Redis | None = None
        self._client_id: int | None = None
        self._waiting = False

    async def wait(self, queues: Sequence[str], group: str, consumer: str) -> list[Entry]:
        """Return the next entry, or at most one of each stream; an empty list after a while or when woken."""
        try:
            if self._client is None:
                self._client = async_client(self._config, answer=self._block + 5, most=1)
                self._client_id = await self._client.client_id()
            self._waiting = True
            reply = await self._client.xreadgroup(
                group,
                consumer,
                dict.fromkeys(keys.streams(queues), ">"),
                count=1,
                block=round(self._block * 1000),
            )
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            await self.close()
            if (told := explained(self._config, error)) is not None:
                raise told from error
            raise
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            self._waiting = False
        return entries_of(reply)

    async def wake(self, broker: Broker) -> None:
        """End a wait now, so that nothing that Redis hands out in that moment is lost."""
        if self._waiting and self._client_id is not None:
            try:
                await broker.client.execute_command("CLIENT", "UNBLOCK", self._client_id)
            except (exceptions.RedisError, OSError, TimeoutError):
                logger.debug("The waiting read could not be woken; it ends by itself.", exc_info=True)

    async def close(self) -> None:
        """Close the connection."""
        client, self._client, self._client_id = self._client, None, None
        if client is not None:
            await close_client(client)
