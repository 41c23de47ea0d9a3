"""What stands in for Redis where there is none: no worker, nothing that waits there, and nobody to be told.

It has the methods of `broker.Broker` that a client's questions need; `live` and `health` then say how things stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django_cfg_tasks.broker import Backlog, Peer
from django_cfg_tasks.exceptions import BrokerUnavailableError


class _NoGates:
    async def lengths(self, most: int) -> dict[str, int]:
        """Return how many jobs wait in front of gates: none."""
        return {}


class NoBroker:
    """No Redis. What only a real one can answer raises BrokerUnavailableError, which names the backend."""

    master: str | None = None

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self.gates = _NoGates()

    async def ping(self) -> str:
        """Refuse."""
        raise BrokerUnavailableError(
            f"There is no Redis: TaskConfig(backend={self._backend!r}) keeps jobs in the memory of this process."
        )

    async def workers(self) -> list[Peer]:
        """Return the workers: none."""
        return []

    async def exists(self, key: str) -> bool:
        """Whether Redis has a key: no."""
        return False

    async def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many jobs wait in the streams: none."""
        return dict.fromkeys(queues, 0)

    async def backlogs(self, queues: Sequence[str], group: str) -> dict[str, Backlog]:
        """Return what waits in the streams: nothing."""
        return {queue: Backlog(ready=0, oldest_seconds=None, delivered=0) for queue in queues}
