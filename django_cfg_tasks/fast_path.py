"""The short way of a lone job: stored and rung for where the caller is, on two connections that are kept for it.

The home loop writes many jobs in one statement. For a single one, while nobody else enqueues, its round trips between
threads cost as much as the work. So a caller does the work itself; what would block an async one is done by a thread.
Only what is plain goes this way: whatever comes in between, the caller takes the long way, which knows what to do and
what to say.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from django_cfg_tasks.broker import Doorbell, bell_of
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.loop import HomeLoop
from django_cfg_tasks.store import HeldConnection
from django_cfg_tasks.waits import Steps, block_on, follow

logger = logging.getLogger("django_cfg_tasks.client")

PAUSE_SECONDS = 5.0
"""For so long everybody takes the long way after a failure."""
LOOK_SECONDS = 60.0
"""How often somebody looks whether the connections are used."""
CLOSE_SECONDS = 1.0
"""How long a job that is under way may keep the end waiting."""


class Tried(enum.Enum):
    """What became of a job on the short way."""

    stored = enum.auto()
    """It is accepted."""
    not_stored = enum.auto()
    """Nothing was done: the way was not free, or something else has the job's id, or its task is disabled."""
    unsure = enum.auto()
    """The database failed: the job may be stored or not, and nobody was told of it."""


_Work = tuple[Steps[Tried], asyncio.Future[Tried]]


class FastPath:
    """One job at a time. ``held`` opens what stores jobs, None where they can't be stored this way.

    ``accepted`` is called in whichever thread stored a job, and then, if Redis did not hear of it, ``unheard``.
    """

    def __init__(
        self,
        home: HomeLoop,
        doorbell: Doorbell,
        held: Callable[[], HeldConnection | None],
        *,
        accepted: Callable[[JobRecord], None],
        unheard: Callable[[JobRecord, Exception], None],
    ) -> None:
        self._home = home
        self._doorbell = doorbell
        self._make_held = held
        self._accepted = accepted
        self._unheard = unheard
        self._held: HeldConnection | None = None
        self._taken = threading.Lock()
        self._not_before = 0.0
        self._watched = False
        self._work: SimpleQueue[_Work | None] | None = None
        self._handing_over = threading.Lock()  # or what is handed over could come behind the thread's end

    def accept(self, record: JobRecord) -> Tried:
        """Store a job and ring for it, in the caller's thread."""
        return block_on(self._accept(record)) if self._take() else Tried.not_stored

    async def aaccept(self, record: JobRecord) -> Tried:
        """Store a job and ring for it, on the caller's loop or in a thread of our own.

        A caller that is cancelled leaves it to that thread.
        """
        return await follow(self._accept(record), self._hand_over) if self._take() else Tried.not_stored

    def close(self) -> None:
        """Close the connections and end the thread; the next use opens them again."""
        with self._handing_over:
            work, self._work = self._work, None
            if work is not None:
                work.put(None)
        if self._taken.acquire(timeout=CLOSE_SECONDS):
            try:
                self._rest()
            finally:
                self._taken.release()

    def _take(self) -> bool:
        return time.monotonic() >= self._not_before and self._taken.acquire(blocking=False)

    def _accept(self, record: JobRecord) -> Steps[Tried]:
        """Do it, and give the way free again."""
        try:
            held = self._held or self._open()
            if held is None:
                self._not_before = float("inf")
                return Tried.not_stored
            try:
                if not (yield from held.insert(record)):
                    return Tried.not_stored
            except Exception as error:
                self._not_before = time.monotonic() + PAUSE_SECONDS
                logger.debug("Job %s takes the long way: %s: %s", record.job_id, type(error).__name__, error)
                return Tried.unsure
            self._accepted(record)
            try:
                yield from self._doorbell.ring(bell_of(record))
            except Exception as error:
                self._unheard(record, error)
            return Tried.stored
        finally:
            self._taken.release()

    # Connections that nobody uses

    def _open(self) -> HeldConnection | None:
        self._held = held = self._make_held()
        if held is not None and not self._watched:
            self._watched = True
            self._home.start().call_soon_threadsafe(self._watch)
        return held

    def _watch(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self._taken.acquire(blocking=False):
            try:
                if self._held is None or self._held.is_idle:
                    self._rest()
                    self._watched = False
                    return
            finally:
                self._taken.release()
        self._watch()

    def _rest(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.close()
        self._doorbell.close()

    # The thread

    def _hand_over(self, steps: Steps[Tried]) -> asyncio.Future[Tried]:
        """Have the thread do the rest."""
        answer: asyncio.Future[Tried] = asyncio.get_running_loop().create_future()
        try:
            with self._handing_over:
                work = self._work or self._start_thread()
                work.put((steps, answer))
        except RuntimeError:  # no more threads, or the interpreter is going down
            steps.close()
            answer.set_result(Tried.unsure)
        return answer

    def _start_thread(self) -> SimpleQueue[_Work | None]:
        work: SimpleQueue[_Work | None] = SimpleQueue()
        threading.Thread(target=self._run, args=(work,), name="django_cfg_tasks-fast-path", daemon=True).start()
        self._work = work
        return work

    def _run(self, work: SimpleQueue[_Work | None]) -> None:
        while (item := work.get()) is not None:
            steps, answer = item
            try:
                outcome: Tried | BaseException = block_on(steps)
            except BaseException as error:
                outcome = error
            with suppress(RuntimeError):  # its loop was closed meanwhile
                answer.get_loop().call_soon_threadsafe(_tell, answer, outcome)
            del item, steps, answer, outcome


def _tell(answer: asyncio.Future[Tried], outcome: Tried | BaseException) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
