"""Raw connections that stay taken from their pool between statements.

To take one and to give it back costs the pool more than a small statement does: a task, timers, and a round trip that
resets what no statement of ours changes. It knows no SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tortoise.backends.base.client import BaseDBAsyncClient

IDLE_SECONDS = 60.0
"""Connections that nobody used for so long go back to the pool, which closes them in its own time."""


class Kept:
    """One connection, and the way in which the pool wants it back."""

    __slots__ = ("_taken", "raw")

    def __init__(self, taken: Any, raw: Any) -> None:
        self._taken = taken
        self.raw = raw

    async def let_go(self) -> None:
        """Give it back to the pool, which resets it, or forgets it where it is broken."""
        await self._taken.__aexit__(None, None, None)


class KeptConnections:
    """The connections of one pool, as many as the pool allows. Belongs to the loop of the pool."""

    def __init__(self, client: BaseDBAsyncClient) -> None:
        self._client = client
        self._idle: list[Kept] = []
        self._asking = 0
        self._closed = False
        self._used = False
        self._timer: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None

    async def take(self) -> Kept:
        """Return a connection that stands as far as is known; the caller gives it back, or lets it go."""
        self._used = True
        while self._idle:
            kept = self._idle.pop()
            if not kept.raw.is_closed():
                return kept
            await kept.let_go()
        taken = self._client.acquire_connection()
        self._asking += 1
        try:
            return Kept(taken, await taken.__aenter__())
        finally:
            self._asking -= 1

    async def give_back(self, kept: Kept) -> None:
        """Keep a connection for the next statement, unless somebody waits for the pool to have one."""
        if self._asking or self._closed:
            await kept.let_go()
            return
        self._idle.append(kept)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Any]:
        """Hold one of them."""
        kept = await self.take()
        try:
            yield kept.raw
        except BaseException:
            await kept.let_go()
            raise
        await self.give_back(kept)

    async def close(self) -> None:
        """Give all of them back; those that are in use once they are not."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._rest()

    async def _rest(self) -> None:
        while self._idle:
            await self._idle.pop().let_go()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._used:
            self._used = False
            self._timer = loop.call_later(IDLE_SECONDS, self._look)
        elif self._idle:
            self._resting = loop.create_task(self._rest(), name="django_cfg_tasks-idle-connections")
