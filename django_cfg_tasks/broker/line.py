"""A connection of its own for what is said to Redis often, and waited for.

redis-py's pool asks a connection at each use whether it still stands, and each write gets a task that is there for its
timeout: that costs more than a small command. It knows no command.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import redis.asyncio
from redis import exceptions

from django_cfg_tasks.broker.connection import ANSWER_SECONDS

Command = Sequence[Any]


class Line:
    """One connection, used by one caller after the other. ``client`` gives the client like whose it is made."""

    def __init__(self, client: Callable[[], redis.asyncio.Redis]) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._connection: Any = None

    async def say(self, commands: Sequence[Command]) -> None:
        """Send ``commands`` at once and wait until Redis has done all of them; what it answers is not told.

        Where the connection was lost since its last use, they are sent again: some may then be done twice.
        """
        async with self._lock:
            if self._connection is None:
                self._connection = self._client().connection_pool.make_connection()
                # One timeout for all of it instead, see `_say`.
                self._connection.socket_timeout = None
            connection = self._connection
            was_open = connection.is_connected
            try:
                await _say(connection, commands)
            except TimeoutError:
                raise
            except (exceptions.ConnectionError, OSError):
                if not was_open or connection is not self._connection:  # it was closed by us
                    raise
                await _say(connection, commands)

    async def run(self, script: str, arguments: Sequence[str]) -> None:
        """Run a Lua script once with each of ``arguments``, as `say`."""
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            await self.say([("EVALSHA", sha, 0, argument) for argument in arguments])
        except exceptions.NoScriptError:  # so none of them was run
            await self.say([("EVAL", script, 0, argument) for argument in arguments])

    async def close(self) -> None:
        """Close the connection; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect()


async def _say(connection: Any, commands: Sequence[Command]) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.connect()  # if need be; behind Sentinels, to another master
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in commands:
                await connection.read_response()
    except BaseException:
        # There may be answers that nobody has read.
        await connection.disconnect(nowait=True)
        raise
