"""A process's sign of life: a thread with a Redis connection of its own, independent of the event loop.

A task that blocks the loop therefore keeps its worker alive in the eyes of others, up to what `LoopWatch` allows.
Whether the lease still stands is what the worker asks before it takes or starts a job.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from django_cfg_tasks.broker import keys, script
from django_cfg_tasks.broker.connection import blocking_client
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.worker.watch import LoopWatch

logger = logging.getLogger("django_cfg_tasks.worker")

LOOK_SECONDS = 0.25
"""How often the thread looks at the loop, and tries again when Redis is away."""


class Lease:
    """Renews ``rearq:alive:<name>`` and the process's line in ``rearq:worker`` until it is stopped.

    ``lapsed`` is called, in the lease's thread, when the lease had lapsed before it was renewed: others may have
    taken jobs over. Until `reaffirm` says that this was looked into, the lease does not count as held. ``beside`` is
    called in the lease's thread, with its connection, each time that it looks: for what else must be renewed.
    """

    def __init__(
        self,
        config: RearqConfig,
        name: str,
        describe: Callable[[], dict[str, Any]],
        *,
        watch: LoopWatch | None = None,
        lapsed: Callable[[], None] = lambda: None,
        beside: Callable[[redis.Redis], None] = lambda client: None,
    ) -> None:
        self._config = config
        self._name = name
        self._describe = describe
        self._watch = watch
        self._tell_lapsed = lapsed
        self._beside = beside
        self._renewed_at: float | None = None
        self._lapsed = False
        self._dropped = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"django_cfg_tasks-lease-{name}", daemon=True)

    @property
    def held(self) -> bool:
        """Whether nobody can have taken this process for dead since it last knew."""
        renewed = self._renewed_at
        return renewed is not None and not self._lapsed and time.monotonic() - renewed < self._config.lease

    def reaffirm(self) -> None:
        """Count the lease as held again: what may have happened while it had lapsed was looked into."""
        self._lapsed = False

    def start(self) -> None:
        """Renew at once, then four times in every lease."""
        self._thread.start()

    def stop(self, timeout: float = 5) -> None:
        """Give the lease up and take the process off the list, as far as Redis can be reached."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        client: redis.Redis | None = None
        warned = False
        due = 0.0
        while True:
            try:
                client = client or blocking_client(self._config)
                if self._stop.is_set():
                    self._give_up(client)
                    client.hdel(keys.WORKERS, self._name)
                    client.close()
                    return
                if not self._may_hold(client):
                    due = 0.0
                else:
                    if time.monotonic() >= due:
                        self._renew(client)
                        due = time.monotonic() + self._config.lease / 4
                    self._beside(client)
                    warned = False
            except Exception as error:
                # Whatever happens to one renewal, the next one must be tried.
                client, due = None, 0.0
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
            self._stop.wait(min(LOOK_SECONDS, self._config.lease / 8))

    def _may_hold(self, client: redis.Redis) -> bool:
        """Look at the loop; give the lease up while it is blocked for longer than any job may take."""
        hopeless = self._watch is not None and self._watch.is_hopeless()
        if hopeless and not self._dropped:
            self._dropped = True
            self._give_up(client)
            logger.critical(
                "%s gives its lease up, for its event loop is blocked: other workers take its jobs over. "
                "If this goes on, restart the process.",
                self._name,
            )
        elif not hopeless:
            self._dropped = False
        return not hopeless

    def _renew(self, client: redis.Redis) -> None:
        asked_at = time.monotonic()
        line = {**self._describe(), "ms": round(time.time() * 1000)}
        was_alive = client.eval(
            script("heartbeat"),
            4,
            keys.ALIVE_PREFIX + self._name,
            keys.WORKERS,
            keys.PULSE,
            keys.GRACE,
            round(self._config.lease * 1000),
            self._name,
            json.dumps(line),
        )
        if not was_alive and self._renewed_at is not None:
            logger.warning("The lease of %s had lapsed, and is renewed.", self._name)
            self._lapsed = True
            self._tell_lapsed()
        self._renewed_at = asked_at

    def _give_up(self, client: redis.Redis) -> None:
        client.delete(keys.ALIVE_PREFIX + self._name)
