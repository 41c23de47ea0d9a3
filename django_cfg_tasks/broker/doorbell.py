"""The bell of lone jobs, rung by whichever thread or loop stored one: a connection that stays open, as `Line` is on the
home loop, and for the same reason. One caller at a time may use it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import redis
from redis import exceptions

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.connection import ANSWER_SECONDS, blocking_client
from django_cfg_tasks.broker.faults import explained
from django_cfg_tasks.broker.messages import Bell
from django_cfg_tasks.broker.ringing import ringing, script
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.waits import Steps, Wait


class Doorbell:
    """It connects at its first use."""

    def __init__(self, config: RearqConfig) -> None:
        self._config = config
        self._client: redis.Redis | None = None
        self._connection: Any = None
        self._connected = False

    def ring(self, bell: Bell) -> Steps[None]:
        """`Broker.ring`, for one bell: it may be rung twice where the connection was lost."""
        try:
            if bell.due_ms is None:
                yield from self._ask("XADD", keys.stream(bell.queue), "*", "job_id", bell.job_id)
            else:
                yield from self._run(script("ring"), json.dumps(ringing([bell], self._config.delay_queue_num)))
        except (exceptions.RedisError, OSError) as error:
            if (told := explained(self._config, error)) is not None:
                raise told from error
            raise

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        client, connection = self._client, self._connection
        self._client = self._connection = None
        self._connected = False
        if client is not None:
            connection.disconnect()
            client.connection_pool.disconnect()

    def _run(self, text: str, argument: str) -> Steps[None]:
        try:
            yield from self._ask("EVALSHA", hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 0, argument)
        except exceptions.NoScriptError:
            yield from self._ask("EVAL", text, 0, argument)

    def _ask(self, *command: Any) -> Steps[None]:
        was_open = self._connected
        if not was_open or self._config.sentinels:  # which say whether it is to be opened elsewhere
            yield None
        if self._client is None:
            self._client = blocking_client(self._config)
            self._connection = self._client.connection_pool.make_connection()
        try:
            yield from self._exchange(command)
        except exceptions.ConnectionError:
            if not was_open:
                raise
            yield None
            yield from self._exchange(command)

    def _exchange(self, command: Sequence[Any]) -> Steps[None]:
        connection = self._connection
        try:
            connection.connect()  # if need be; behind Sentinels, to another master
            self._connected = True
            connection.send_packed_command(connection.pack_command(*command), check_health=False)
            yield Wait(connection._sock.fileno(), ANSWER_SECONDS)  # noqa: SLF001 - redis-py tells it to nobody
            connection.read_response()
        except exceptions.ResponseError as error:
            if not isinstance(error, exceptions.NoScriptError):
                self._hang_up()  # after a failover, the new primary is elsewhere
            raise
        except BaseException:
            self._hang_up()  # there may be an answer that nobody has read
            raise

    def _hang_up(self) -> None:
        self._connected = False
        self._connection.disconnect()
