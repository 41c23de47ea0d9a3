"""A process's sign of life: a thread with a Redis connection of its own, independent of the event loop.

A task that blocks the loop therefore keeps its worker alive in the eyes of others.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.connection import blocking_client
from django_cfg_tasks.config import RearqConfig

logger = logging.getLogger("django_cfg_tasks.worker")


class Lease:
    """Renews ``rearq:alive:<consumer>`` and the worker's line in ``rearq:worker`` until it is stopped."""

    def __init__(self, config: RearqConfig, worker_name: str, describe: Callable[[], dict[str, Any]]) -> None:
        self._config = config
        self._name = worker_name
        self._describe = describe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"django_cfg_tasks-lease-{worker_name}", daemon=True)

    def start(self) -> None:
        """Renew at once, then three times in every lease."""
        self._thread.start()

    def stop(self, timeout: float = 5) -> None:
        """Give the lease up and take the worker off the list, as far as Redis can be reached."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        client: redis.Redis | None = None
        warned = False
        while True:
            try:
                client = client or blocking_client(self._config)
                if self._stop.is_set():
                    client.pipeline().delete(keys.ALIVE_PREFIX + self._name).hdel(keys.WORKERS, self._name).execute()
                    client.close()
                    return
                self._renew(client)
                warned = False
            except Exception as error:
                # Whatever happens to one renewal, the next one must be tried.
                client = None
                if self._stop.is_set():
                    return
                if not warned:
                    logger.warning(
                        "The lease of %s can't be renewed; trying on. %s: %s",
                        self._name,
                        type(error).__name__,
                        error,
                    )
                    warned = True
            self._stop.wait(self._config.lease / 3 if client is not None else 0.5)

    def _renew(self, client: redis.Redis) -> None:
        line = {**self._describe(), "ms": round(time.time() * 1000)}
        pipe = client.pipeline(transaction=False)
        pipe.set(keys.ALIVE_PREFIX + self._name, "1", px=round(self._config.lease * 1000))
        pipe.hset(keys.WORKERS, self._name, json.dumps(line))
        pipe.execute()
