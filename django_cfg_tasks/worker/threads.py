"""Runs sync functions: a pool of threads that can be asked to give a function up."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Self

from django.db import close_old_connections, reset_queries

from django_cfg_tasks.loop import set_within

logger = logging.getLogger("django_cfg_tasks.worker")

GRACE_SECONDS = 10.0
"""How long a function may take to notice that it was interrupted."""


class Interrupted(BaseException):
    """Raised inside a function that has to end; a BaseException, so that ``except Exception`` lets it pass."""


class ThreadRun:
    """One function in one thread."""

    def __init__(self, name: str, function: Callable[[], Any], clean: Callable[[], None]) -> None:
        self.name = name
        self._function = function
        self._clean = clean
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._interrupted = False
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._outcome: tuple[Any, BaseException | None] = (None, None)

    def __call__(self) -> None:
        """Run the function, and clean the thread before and after it."""
        value: Any = None
        error: BaseException | None = None
        try:
            self._clean()
            with self._lock:
                if self._interrupted:
                    raise Interrupted
                self._thread_id = threading.get_ident()
            try:
                value = self._function()
            finally:
                with self._lock:
                    self._thread_id = None
        except BaseException as caught:  # whatever a task raises is the job's outcome, never the thread's
            error = caught
        finally:
            self._clean()
        self._outcome = (value, error)
        self._loop.call_soon_threadsafe(self.done.set)

    @property
    def succeeded(self) -> bool:
        """Whether the function has returned."""
        return self.done.is_set() and self._outcome[1] is None

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def interrupt(self) -> None:
        """Raise `Interrupted` in the function at its next step in Python; a blocking C call delays that."""
        with self._lock:
            self._interrupted = True
            if self._thread_id is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread_id), ctypes.py_object(Interrupted)
                )


def clean_connections() -> None:
    """Do for a thread's database connections what Django does around a request."""
    reset_queries()
    close_old_connections()


class JobThreads:
    """The threads in which sync functions run: as many at once as ``executor`` has.

    ``clean`` is called in the thread before each function and after it; unless it says otherwise, idle threads keep
    their database connections as Django allows.
    """

    def __init__(self, executor: Executor, clean: Callable[[], None] = clean_connections) -> None:
        self._executor = executor
        self._clean = clean
        self._running: set[ThreadRun] = set()

    @classmethod
    def pool(cls, most: int) -> Self:
        """Return as many threads of our own as jobs may run at once."""
        return cls(ThreadPoolExecutor(most, thread_name_prefix="django_cfg_tasks-job"))

    @property
    def stuck(self) -> bool:
        """Whether a function runs on."""
        return any(not run.done.is_set() for run in self._running)

    def end_of(self, name: str) -> asyncio.Event | None:
        """Return the end of a function that runs on though it was given up; None if there is none of that name."""
        if not self._running:  # asked at the end of every job
            return None
        return next((run.done for run in self._running if run.name == name and not run.done.is_set()), None)

    async def run(self, name: str, function: Callable[[], Any], ask: Callable[[], float] | None = None) -> Any:
        """Run ``function`` in a thread. Cancelling interrupts it and waits for its end, a while.

        With ``ask`` the function has a way to notice that it should end: ``ask`` is called first and tells for how
        many seconds it may take. A function that does not end even when interrupted is left alone; its thread stays
        taken until it does.
        """
        run = ThreadRun(name, function, self._clean)
        context = contextvars.copy_context()
        self._running = {other for other in self._running if not other.done.is_set()} | {run}
        waiting = self._executor.submit(context.run, run)
        try:
            await run.done.wait()
        except asyncio.CancelledError:
            if waiting.cancel():  # no thread was free yet
                self._running.discard(run)
                raise
            if not await _given_up(run, ask):
                raise
            self._running.discard(run)
            if run.succeeded:
                # It ended well before it noticed: that is its outcome.
                return run.result()
            raise
        self._running.discard(run)
        return run.result()

    def close(self) -> None:
        """Take no new work; idle threads end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def _given_up(run: ThreadRun, ask: Callable[[], float] | None) -> bool:
    """Make a function end: ask it, then interrupt it; False if it runs on all the same.

    To be cancelled once more, as at a shutdown, ends the asking, and then the waiting.
    """
    if ask is not None:
        try:
            if await set_within(run.done, ask()):
                return True
        except asyncio.CancelledError:
            logger.debug("A function is interrupted before its time to end by itself is over.")
    run.interrupt()
    return await set_within(run.done, GRACE_SECONDS)
