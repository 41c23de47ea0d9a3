"""What a worker process sets up once and takes down at its end, shared by the worker and the timer in it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import BrokerUnavailableError, StoreUnavailableError
from django_cfg_tasks.loop import ended
from django_cfg_tasks.recorder import recorder
from django_cfg_tasks.worker import logs
from django_cfg_tasks.worker.history import History
from django_cfg_tasks.worker.metrics import Metrics
from django_cfg_tasks.worker.shutdown import ShutdownLadder, wait_any

logger = logging.getLogger("django_cfg_tasks.worker")

FLUSH_SECONDS = 5.0
KEEP_SECONDS = 60.0
"""How long the recorder keeps a connection that it does not need: lone jobs come at any moment."""
SWITCH_SECONDS = 0.001
"""How long another thread may compute while the loop, back from a short call of the system, waits to go on.

Python's 5 ms are as long as the loop takes for a hundred jobs, and it makes such calls all the time.
"""


class Process:
    """One per process: who joins first sets it up, who leaves last takes it down."""

    def __init__(self, client: ReArqClient) -> None:
        self.client = client
        self.ladder = ShutdownLadder()
        self.history = History()
        self.identity = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        """Unique per process, also where process ids and host names repeat, as they do in containers."""
        self.on_shutdown: Callable[[], Awaitable[None]] | None = None
        self.profiled = False
        """Whether to print what jobs cost, by stage."""
        self.metrics: Metrics | None = None
        """What is served on the process's own port, if anything is."""
        self._serving: asyncio.Task[Any] | None = None
        self.stuck: Callable[[], bool] = lambda: False
        self._left_behind = False
        self._members = 0
        self._left = asyncio.Event()
        self._up = asyncio.Lock()
        self._is_up = False
        self._switch_seconds = sys.getswitchinterval()

    @asynccontextmanager
    async def joined(self, name: str) -> AsyncIterator[bool]:
        """Take part under ``name``; yields False if the process was told to stop before Redis and SQL were up."""
        self._members += 1
        if self._members == 1:
            recorder.keep_seconds = KEEP_SECONDS
            sys.setswitchinterval(min(SWITCH_SECONDS, self._switch_seconds))
            logs.configure(name, self.client.rearq_config.logs_dir)
            self.ladder.install()
        try:
            async with self._up:
                if not self._is_up:
                    self._is_up = await self._reach_stores()
                    if self._is_up:
                        self.history.start()
                        if self.metrics is not None:
                            self._serving = self.side_task(self.metrics.serve(), "metrics")
            yield self._is_up
        except BaseException:
            self.ladder.stop()  # who fails takes the other along
            raise
        finally:
            self._members -= 1
            if self._members == 0:
                try:
                    await self._leave()
                finally:
                    self._left.set()
            # ReArq's CLI stops the loop at the first error, and whatever runs on it just there.
            await self._left.wait()

    def side_task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task whose death is loud, and ends the process in order."""
        task = asyncio.create_task(coroutine, name=f"django_cfg_tasks-{name}")

        def died(task: asyncio.Task[Any]) -> None:
            if not task.cancelled() and task.exception() is not None:
                logger.critical("The %s of this process died; the process ends.", name, exc_info=task.exception())
                self.ladder.stop()

        task.add_done_callback(died)
        return task

    def leave_behind(self) -> None:
        """Note that something can't be made to end: the process will end without waiting for it."""
        self._left_behind = True

    async def _reach_stores(self) -> bool:
        """Wait for SQL and Redis, with a log line for each try; False if told to stop meanwhile."""
        for what, reach in (("SQL", self.client.store.prepare), ("Redis", self.client.broker.ping)):
            pause = 0.5
            while True:
                if self.ladder.stopping.is_set():
                    return False
                try:
                    await reach()
                    break
                except (StoreUnavailableError, BrokerUnavailableError) as error:
                    logger.warning("Waiting for %s; trying again in %.1f s. %s", what, pause, error)
                    await wait_any(self.ladder.stopping, timeout=pause)
                    pause = min(pause * 2, 10)
        return True

    async def _leave(self) -> None:
        try:
            if self.metrics is not None and self._serving is not None:
                await ended([self._serving])
                await asyncio.to_thread(self.metrics.close)
            if self.on_shutdown is not None:
                await self.on_shutdown()
            await self.client.signals.flush()  # receivers may enqueue jobs, which belong in the history
            flushed, _ = await asyncio.gather(
                asyncio.to_thread(recorder.flush, FLUSH_SECONDS),
                asyncio.to_thread(self.history.stop, FLUSH_SECONDS),
            )
            if not flushed or self.history.is_behind:
                logger.warning(
                    "The history of this process's last jobs is not complete; the timer that leads completes it "
                    "within some minutes, `python manage.py tasks_sync` at once."
                )
            await self.client.aclose()
        finally:
            self.ladder.restore()
            sys.setswitchinterval(self._switch_seconds)
            if self.stuck() or self._left_behind:
                # A thread that can't be interrupted would keep the process from ending; its job is queued again.
                logger.warning("A thread of a task or a hook does not end; the process ends without it.")
                logging.shutdown()
                os._exit(0)
