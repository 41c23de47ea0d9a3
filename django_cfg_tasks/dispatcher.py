"""Delivers the signals about jobs behind the back of whoever sends them: no job waits for a receiver.

One per client, on its home loop. Async receivers run there, sync ones in one thread beside it. It knows jobs as plain
data; why a signal is sent is its sender's business.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.signals import TaskSignal

logger = logging.getLogger("django_cfg_tasks.signals")

P = ParamSpec("P")
R = TypeVar("R")

MOST_WAITING = 10_000
FLUSH_SECONDS = 3.0
"""How long the end of a process waits for receivers."""
UNWIND_SECONDS = 0.5
"""How long an async one that was cancelled for that may take to clean up."""
BATCH = 100
"""After so many signals the receivers' database connections are cleaned up, also where more wait."""
SAY_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _News:
    signal: TaskSignal
    sender: Any
    record: JobRecord
    duration: float | None
    exception: BaseException | None

    def __str__(self) -> str:
        return f"{self.signal.name} of {self.record.task} {self.record.job_id}"


class SignalDispatcher:
    """A queue of signals, first in, first out. All of it belongs on the home loop."""

    def __init__(self, *, most: int = MOST_WAITING) -> None:
        self._most = most
        self._queue: deque[_News] = deque()
        self._delivering: asyncio.Task[None] | None = None
        self._at: _News | None = None
        self._thread: ReceiverThread | None = None
        self._dropped = 0
        self._said_at: float | None = None

    def send(
        self,
        signal: TaskSignal,
        record: JobRecord,
        *,
        duration: float | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Have ``signal`` delivered soon; where it has no receiver for this task, nothing is done.

        More than can wait is dropped, with a log line: jobs must not wait for receivers, nor memory grow with them.
        """
        if not signal.receivers:  # asked thousands of times a second
            return
        sender = tasks.get(record.task)
        if not signal.has_listeners(sender):
            return
        if len(self._queue) >= self._most:
            self._drop()
            return
        self._queue.append(_News(signal, sender, record.snapshot(), duration, exception))
        self._wake()

    def _wake(self) -> None:
        """Have what waits delivered."""
        if self._delivering is None or self._delivering.done():
            if self._thread is None:
                # Now, as no thread can be started once the interpreter ends, and what waits then is delivered.
                self._thread = ReceiverThread()
            self._delivering = asyncio.get_running_loop().create_task(
                self._deliver_all(self._thread), name="django_cfg_tasks-signals", context=self._thread.context
            )

    async def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until all is delivered; after ``seconds``, give up what is not, with a log line."""
        deadline = time.monotonic() + seconds
        while self._delivering is not None and not self._delivering.done():
            left = deadline - time.monotonic()
            if left <= 0:
                await self._give_up(self._delivering, seconds)
                break
            await asyncio.wait({self._delivering}, timeout=left)
        self._say_dropped()

    async def aclose(self) -> None:
        """Deliver what waits, or give it up, and end the thread."""
        await self.flush()
        self._let_thread_go()

    async def _give_up(self, delivering: asyncio.Task[None], seconds: float) -> None:
        waiting, self._queue = self._queue, deque()
        logger.error(
            "%d signal(s) are not delivered, for their receivers did not end within %g s: the first is %s.",
            len(waiting) + (self._at is not None), seconds, self._at,
        )  # fmt: skip
        delivering.cancel()
        await asyncio.wait({delivering}, timeout=UNWIND_SECONDS)
        self._delivering = None
        self._let_thread_go()  # it may be with a receiver that never ends

    def _let_thread_go(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _deliver_all(self, thread: ReceiverThread) -> None:
        try:
            while self._queue:
                for _ in range(min(BATCH, len(self._queue))):
                    self._at = self._queue.popleft()
                    if not await self._delivered(self._at):
                        break  # for a connection that was lost, among other things
                self._at = None
                thread.rest()
        finally:
            self._at = None
        self._say_dropped()

    async def _delivered(self, news: _News) -> bool:
        """Call the receivers, one signal after the other; False where one of them raised."""
        record = news.record
        try:
            answers = await news.signal.asend_robust(
                news.sender,
                job_id=record.job_id,
                task=record.task,
                attempt=record.attempt,
                duration=news.duration,
                exception=news.exception,
                record=record,
            )
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            logger.exception("A receiver of %s was cancelled.", news)  # by itself, not by us
            return False
        except Exception:
            logger.exception("%s could not be delivered.", news)
            return False
        well = True
        for receiver, answer in answers:
            if isinstance(answer, Exception):
                well = False
                name = getattr(receiver, "__qualname__", None) or repr(receiver)
                logger.error("The receiver %s failed to take in %s.", name, news, exc_info=answer)
        return well

    def _drop(self) -> None:
        self._dropped += 1
        if self._said_at is None or time.monotonic() - self._said_at >= SAY_AGAIN_SECONDS:
            self._say_dropped()

    def _say_dropped(self) -> None:
        if self._dropped:
            logger.error(
                "%d signal(s) were dropped: %d wait, as many as may, for receivers that do not keep up; at present %s.",
                self._dropped, len(self._queue), self._at or "none is being delivered",
            )  # fmt: skip
            self._dropped, self._said_at = 0, time.monotonic()


class ReceiverThread(Executor):
    """The thread in which sync receivers run, and what async ones hand to ``sync_to_async``.

    A daemon of our own: asgiref's executors are closed, and no thread can be started, when the interpreter ends, which
    is when a short process has most to deliver; and one that hangs must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._sensitive = ThreadSensitiveContext()
        self.context = contextvars.Context()
        """The context in which asgiref finds this thread. It holds nothing else: not what the sender's does."""
        SyncToAsync.context_to_thread_executor[self._sensitive] = self
        self.context.run(SyncToAsync.thread_sensitive_context.set, self._sensitive)
        self._used = False
        threading.Thread(target=self._run, name="django_cfg_tasks-signals", daemon=True).start()

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run ``function`` in the thread, after what was submitted before."""
        future: Future[R] = Future()
        self._work.put((future, partial(self._called, partial(function, *args, **kwargs))))
        return future

    def rest(self) -> None:
        """Clean up the database connections after what was submitted before."""
        self._work.put((Future(), self._clean_after))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after what was submitted before; never waits for it."""
        SyncToAsync.context_to_thread_executor.pop(self._sensitive, None)
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, call = work
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as error:
                    future.set_exception(error)
                except BaseException as error:
                    # SystemExit would end the event loop that hears of it.
                    future.set_exception(RuntimeError(f"A receiver raised {error!r}."))
            del work, future, call  # the thread sleeps now; nothing shall live on for that

    def _called(self, call: Callable[[], R]) -> R:
        if not self._used:
            self._used = True
            _clean_connections()
        return call()

    def _clean_after(self) -> None:
        if self._used:
            self._used = False
            _clean_connections()


def _clean_connections() -> None:
    """Do what Django does before and after a request."""
    from django.db import close_old_connections, reset_queries

    reset_queries()
    close_old_connections()
