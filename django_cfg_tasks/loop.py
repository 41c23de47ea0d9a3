"""One home loop per process: the event loop that owns its Redis and SQL connections.

A worker adopts the loop that ReArq's CLI runs. Any other process gets a loop of its own in a daemon thread,
started at first use; a forked child starts anew. Callers on any thread or loop hand their work over here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from django_cfg_tasks.exceptions import TasksError, WrongThreadError

logger = logging.getLogger("django_cfg_tasks.loop")

T = TypeVar("T")
R = TypeVar("R")

INTERRUPTIBLE_SECONDS = 0.5
"""How often a thread that waits looks up."""
CANCEL_AGAIN_SECONDS = 0.5


class HomeLoop:
    """The loop, and the ways to it from everywhere else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether a loop has been adopted or started."""
        return self._loop is not None

    @property
    def adopted(self) -> bool:
        """Whether the loop belongs to somebody else (a worker's main loop)."""
        return self._loop is not None and self._thread is None

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make ``loop`` the home loop; the caller keeps it running."""
        with self._lock:
            if self._loop is loop:
                return
            if self._loop is not None and not self._loop.is_closed():
                raise WrongThreadError("This process has a home loop already; a worker must be the first to use it.")
            self._loop, self._thread = loop, None

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the home loop, starting a thread for it if there is none."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            return loop
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                loop = asyncio.new_event_loop()
                ready = threading.Event()
                thread = threading.Thread(
                    target=_run_loop, args=(loop, ready), name="django_cfg_tasks-loop", daemon=True
                )
                thread.start()
                ready.wait()
                self._loop, self._thread = loop, thread
            return self._loop

    def is_here(self) -> bool:
        """Whether the caller runs on the home loop."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await ``coroutine`` on the home loop, from any loop."""
        loop = self.start()
        if self.is_here():
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    def call(self, coroutine: Coroutine[Any, Any, T], instead: str) -> T:
        """Wait for ``coroutine`` on the home loop, from sync code. A waiter that is interrupted cancels it.

        WrongThreadError, naming ``instead`` as the way out, where that would block the home loop itself.
        """
        try:
            self.refuse_here(instead)
        except WrongThreadError:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, self.start())
        try:
            # Now and then a step in Python, as an exception that is raised from another thread waits for one.
            while True:
                done, _ = concurrent.futures.wait([future], INTERRUPTIBLE_SECONDS)
                if done:
                    return future.result()
        except BaseException:
            future.cancel()
            raise

    def refuse_here(self, instead: str) -> None:
        """Raise WrongThreadError where a blocking call would block the home loop."""
        if self.is_here():
            raise WrongThreadError(
                f"This blocking call was made on the event loop that has to answer it. Use {instead} in async code."
            )

    def stop(self, timeout: float = 5) -> None:
        """End the loop if it is ours; an adopted one is only let go."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout)


def runs_here() -> bool:
    """Whether any loop runs in this thread, which a blocking call would block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_loop(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(ready.set)
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    except BaseException:
        logger.exception("The home loop of process %d died; its jobs' calls will fail.", os.getpid())
        raise
    finally:
        loop.close()


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` and wait until all have ended, however.

    Again and again: asyncio before 3.12 and redis-py lose a cancel that comes in the moment of an answer.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
        for task in done:
            if not task.cancelled():
                task.exception()  # else asyncio complains that nobody asked


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for ``event``; False if it was not set within so many seconds."""
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(seconds):  # wait_for would make a task of it
            await event.wait()
    except TimeoutError:
        return False
    return True


class Batcher(Generic[T, R]):
    """Group commit: what arrives while one batch is being written goes into the next.

    ``write`` gets a list of items and returns, for each, its result or the exception that the submitter shall
    see; what it raises, all submitters of the batch see. A lone item is written at once.
    """

    def __init__(
        self,
        home: HomeLoop,
        write: Callable[[list[T]], Awaitable[list[R | BaseException]]],
        *,
        most: int = 500,
    ) -> None:
        self._home = home
        self._write = write
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Part[T, R]] = []
        self._scheduled = False

    @property
    def idle(self) -> bool:
        """Whether nothing is being written, and nothing waits for it."""
        return not self._scheduled

    def submit(self, items: list[T]) -> concurrent.futures.Future[list[R]]:
        """Take ``items``, which stay together; the future gets their results in their order. From any thread."""
        future: concurrent.futures.Future[list[R]] = concurrent.futures.Future()
        self._add((items, future))
        return future

    def call(self, items: list[T]) -> list[R]:
        """Take ``items``, which stay together, and wait for their results. In any thread but that of the home loop."""
        waiter: _Blocked[R] = _Blocked()
        self._add((items, waiter))
        return waiter.result()

    async def put(self, items: list[T]) -> list[R]:
        """Take ``items``, which stay together, and return their results in their order. On any loop."""
        future: asyncio.Future[list[R]] = asyncio.get_running_loop().create_future()
        self._add((items, future))
        return await future

    def _add(self, part: _Part[T, R]) -> None:
        loop = self._home.start()
        with self._lock:
            self._waiting.append(part)
            wake, self._scheduled = not self._scheduled, True
        if not wake:
            return
        if self._home.is_here():
            self._start(loop)
        else:
            loop.call_soon_threadsafe(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._drain(), name="django_cfg_tasks-enqueue")

    async def _drain(self) -> None:
        while batch := self._take():
            items = [item for part, _ in batch for item in part]
            try:
                results = await self._write(items)
            except Exception as error:
                # A batch is one statement: its failure is the failure of each of its submitters.
                _tell([(future, error) for _, future in batch])
                continue
            except BaseException:
                # The loop ends, and nobody is left to write what waits: let no submitter wait for ever.
                with self._lock:
                    batch, self._waiting, self._scheduled = batch + self._waiting, [], False
                stopped = TasksError("The loop that owns the connections was stopped before this was done.")
                _tell([(future, stopped) for _, future in batch])
                raise
            answers: list[_Answer[R]] = []
            position = 0
            for part, future in batch:
                share = results[position : position + len(part)]
                position += len(part)
                refused = next((result for result in share if isinstance(result, BaseException)), None)
                answers.append((future, share if refused is None else refused))  # type: ignore[arg-type]
            _tell(answers)

    def _take(self) -> list[_Part[T, R]]:
        with self._lock:
            count = size = 0
            for items, _ in self._waiting:
                if count and size + len(items) > self._most:
                    break
                size += len(items)
                count += 1
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            if not batch:
                self._scheduled = False
            return batch


class _Blocked(Generic[R]):
    """A thread that waits for one answer: what is needed of a future for that, at a fraction of the cost."""

    __slots__ = ("_answer", "_lock")
    _answer: list[R] | BaseException

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self, answer: list[R] | BaseException) -> None:
        self._answer = answer
        self._lock.release()

    def result(self) -> list[R]:
        self._lock.acquire()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


_Future = concurrent.futures.Future[list[R]] | asyncio.Future[list[R]]
_Waiter = _Future[R] | _Blocked[R]
_Part = tuple[list[T], _Waiter[R]]
_Answer = tuple[_Waiter[R], list[R] | BaseException]


def _tell(answers: list[_Answer[R]]) -> None:
    """Give each future its answer. Each loop is woken once, however many of its futures are among them."""
    elsewhere: dict[asyncio.AbstractEventLoop, list[tuple[_Future[R], list[R] | BaseException]]] = {}
    for future, answer in answers:
        if isinstance(future, asyncio.Future):
            elsewhere.setdefault(future.get_loop(), []).append((future, answer))
        elif isinstance(future, _Blocked):
            future.set(answer)
        elif future.set_running_or_notify_cancel():
            _set(future, answer)
    here = asyncio.get_running_loop()
    for loop, its in elsewhere.items():
        if loop is here:
            _set_all(its)
        else:
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(_set_all, its)


def _set_all(answers: list[tuple[_Future[R], list[R] | BaseException]]) -> None:
    for future, answer in answers:
        if not future.done():
            _set(future, answer)


def _set(future: _Future[R], answer: list[R] | BaseException) -> None:
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
