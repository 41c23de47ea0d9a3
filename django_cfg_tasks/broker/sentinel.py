"""Who the master is, asked of the Redis Sentinels.

redis-py's own Sentinel client waits for ever for a Sentinel that hangs, keeps a connection to each that it has asked,
does not tell why it has found no master, and believes what it is told. It knows nothing of what the master is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis import exceptions

from django_cfg_tasks.broker.faults import MasterNotFoundError, is_refusal

Address = tuple[str, int]

LOOK_SECONDS = 2.0
"""How often, while connections are used, the Sentinels are asked whether the master is still where it was."""
AWAY_SECONDS = 30.0
"""The same, where none of them has answered: what is connected goes on without them."""

_FAULTS = (exceptions.RedisError, OSError, TimeoutError)


class Sentinels:
    """The Sentinels of one master; who answered last is asked first. For all threads and loops of a process.

    ``connect`` and ``aconnect`` make an unopened connection to a Sentinel, a blocking one and one for asyncio.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        master: str,
        *,
        connect: Callable[[Address], Any],
        aconnect: Callable[[Address], Any],
    ) -> None:
        self._order = list(addresses)
        self._master = master
        self._connect = connect
        self._aconnect = aconnect
        self._look_at = 0.0
        self.found: Address | None = None
        """Where the master was when it was last asked for."""

    async def has_moved(self, connected_to: Address) -> bool:
        """Tell whether the master is elsewhere by now. Asks from time to time only.

        In an orderly failover the old master takes writes, and loses them, for some ten seconds more.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            try:
                await self.afind()
            except MasterNotFoundError:
                self._look_at = time.monotonic() + AWAY_SECONDS
        return self.found != connected_to

    def find(self) -> Address:
        """Return the master's address; MasterNotFoundError tells what each Sentinel had against it."""
        faults: dict[Address, Exception] = {}
        for sentinel in list(self._order):
            connection = self._connect(sentinel)
            try:
                connection.connect()
                connection.send_command(*self._question, check_health=False)
                return self._learn(sentinel, connection.read_response())
            except _FAULTS as error:
                faults[sentinel] = error
            finally:
                with suppress(*_FAULTS):
                    connection.disconnect()
        raise self._not_found(faults)

    async def afind(self) -> Address:
        """`find`, for asyncio."""
        faults: dict[Address, Exception] = {}
        for sentinel in list(self._order):
            connection = self._aconnect(sentinel)
            try:
                await connection.connect()
                await connection.send_command(*self._question, check_health=False)
                return self._learn(sentinel, await connection.read_response())
            except _FAULTS as error:
                faults[sentinel] = error
            finally:
                with suppress(*_FAULTS):
                    await connection.disconnect()
        raise self._not_found(faults)

    @property
    def _question(self) -> tuple[str, str, str]:
        return "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master

    def _learn(self, sentinel: Address, answer: Any) -> Address:
        if not answer:
            raise exceptions.ConnectionError(f"it knows no master {self._master!r}; sentinel_master names it")
        self._order = [sentinel, *(other for other in self._order if other != sentinel)]
        host, port = answer
        self.found = str(host), int(port)
        self._look_at = time.monotonic() + LOOK_SECONDS
        return self.found

    def _not_found(self, faults: dict[Address, Exception]) -> MasterNotFoundError:
        told = "; ".join(f"{host}:{port}: {fault}" for (host, port), fault in faults.items())
        not_found = MasterNotFoundError(f"no Sentinel tells where the master is ({told})")
        # One that is merely away may come back and let us in.
        not_found.__cause__ = next((fault for fault in faults.values() if not is_refusal(fault)), None) or next(
            iter(faults.values()), None
        )
        return not_found


def check_role(connection: Any, answer: Any) -> None:
    """Raise ConnectionError where who was found is no master (any more): the Sentinels may lag behind, or itself."""
    role = answer[0]
    if role != "master":
        raise exceptions.ConnectionError(f"{connection.host}:{connection.port} is no master now, but a {role}")
