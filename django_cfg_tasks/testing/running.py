"""Runs jobs here and now, by the worker's own `Runner`: sync functions in the caller's thread, retries at once.

What comes before and after it in a worker (the claim, the outcome, the signals, the history) happens here one after
the other. A job that a running one enqueues waits until that has ended, as it would for a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.jobs import WAITING, JobRecord, JobStatus
from django_cfg_tasks.signals import signal_of
from django_cfg_tasks.store import Outcome
from django_cfg_tasks.testing.store import LocalStore, answer
from django_cfg_tasks.worker.ledger import call_canceled
from django_cfg_tasks.worker.runner import Run, Runner, Stop
from django_cfg_tasks.worker.threads import JobThreads

logger = logging.getLogger("django_cfg_tasks.testing")

P = ParamSpec("P")
R = TypeVar("R")

MOST_RUNS = 1000
"""How many runs may follow from one call: jobs that enqueue each other for ever would else never end it."""


class LocalSignals(SignalDispatcher):
    """Signals that wait until `deliver` is called, in whose thread the sync receivers run."""

    def _wake(self) -> None:
        """Leave it to `deliver`."""

    @property
    def waiting(self) -> bool:
        """Whether there is anything to deliver."""
        return bool(self._queue)

    async def deliver(self) -> None:
        """Call the receivers of all that waits; what they raise is logged."""
        with suppress(IndexError):  # another thread may deliver at the same time
            while True:
                await self._delivered(self._queue.popleft())


class CallersThread(Executor):
    """Runs functions where ``sync_to_async`` does: in the thread that called the async code, if one did."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Future[Any]] = set()

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have ``function`` run soon. It can't be called off, only interrupted."""
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()
        call = asyncio.ensure_future(sync_to_async(function)(*args, **kwargs))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return future


class Chain:
    """The jobs that one call runs, and what follows from them."""

    def __init__(self, job_ids: Iterable[str] = (), *, most: int = MOST_RUNS) -> None:
        self.waiting = deque(job_ids)
        self.open = True
        self.errors: dict[str, BaseException] = {}
        self._most = most
        self._runs = 0

    def count(self, record: JobRecord) -> None:
        """Count a run; TasksError if there were too many."""
        self._runs += 1
        if self._runs > self._most:
            raise TasksError(
                f"{self._most} runs followed from one call, and {record.task} {record.job_id} would be the next. "
                "Do jobs enqueue each other for ever, or is one retried without an end (Retry(count=False))? "
                "run_enqueued(most=...) allows more."
            )


_chain: ContextVar[Chain | None] = ContextVar("django_cfg_tasks_chain", default=None)


def open_chain() -> Chain | None:
    """Return the chain of the job that runs here; None where none does."""
    chain = _chain.get()
    return chain if chain is not None and chain.open else None


class Runs:
    """Runs the jobs of one store. ``write`` takes what changed into the history; it may use the ORM."""

    def __init__(
        self,
        config: RearqConfig,
        store: LocalStore,
        signals: LocalSignals,
        write: Callable[[list[JobRecord]], None],
        name: str,
    ) -> None:
        self._config = config
        self._store = store
        self._signals = signals
        self._write = sync_to_async(write)
        self._name = name
        self._running: dict[str, tuple[asyncio.AbstractEventLoop, Runner]] = {}

    async def work(self, chain: Chain) -> None:
        """Run the jobs of ``chain``, and what they add to it."""
        token = _chain.set(chain)
        try:
            while chain.waiting:
                await self.run(chain.waiting.popleft(), chain)
        finally:
            chain.open = False
            _chain.reset(token)

    async def run(self, job_id: str, chain: Chain) -> None:
        """Run a job, again and again where it is to be retried, to a final state; nothing where it can't start."""
        while claimed := answer(self._store.claim([job_id], self._name)):
            record = claimed[job_id]
            chain.count(record)
            run = await self._run_once(record)
            if run.error is not None:
                chain.errors[job_id] = run.error
            await self._ended(record, run)
            _pass_cancel_on()
            if record.status not in WAITING:
                return

    async def _run_once(self, record: JobRecord) -> Run:
        runner = Runner(self._config, self._signals, self, self._name, threads=_threads(), surroundings=nullcontext)
        self._running[record.job_id] = asyncio.get_running_loop(), runner
        try:
            # In a task of its own, which can be cancelled alone.
            return await asyncio.ensure_future(runner.run(record, not_before=record.due_time))
        finally:
            del self._running[record.job_id]
            runner.close()

    def note(self, record: JobRecord, fraction: float, message: str) -> None:
        """Take a running job's progress in."""
        record.progress, record.progress_message = fraction, message
        answer(self._store.note_progress([record]))

    def stop(self, job_id: str) -> None:
        """Tell a running job that it is canceled."""
        if (running := self._running.get(job_id)) is not None:
            loop, runner = running
            loop.call_soon_threadsafe(runner.stop, job_id, Stop.canceled)

    async def _ended(self, record: JobRecord, run: Run) -> None:
        outcome = Outcome(record, run.attempt, f"{self._name}#{record.id}.{record.attempt}")
        taken = record.id in answer(self._store.record([outcome]))
        if not taken:
            current = answer(self._store.load([record.job_id])).get(record.job_id)
            if current is None or current.status is not JobStatus.canceled:
                return  # deleted meanwhile
            call_canceled(outcome)
            answer(self._store.keep_attempts([outcome]))
        if record.error_class:
            failed = record.status is JobStatus.failed
            logger.log(
                logging.WARNING if failed else logging.INFO,
                "%s %s in %s ms: %s (%s: %s)",
                record.task, record.job_id, record.duration_ms, record.status, record.error_class, record.error_message,
                exc_info=run.error if failed else None,
            )  # fmt: skip
        await self._write([record.snapshot()])
        signal = signal_of(record, run.attempt)
        if signal is not None and taken:  # who canceled it tells of that
            duration = run.attempt.duration if run.attempt is not None else None
            self._signals.send(signal, record, duration=duration, exception=run.error)
        await self._signals.deliver()


def _threads() -> JobThreads:
    # Not cleaned: the connections are the caller's, and so is what is open on them.
    return JobThreads(CallersThread(), lambda: None)


def _pass_cancel_on() -> None:
    """Raise CancelledError where this was cancelled while a job ran: the job has taken it, and was recorded."""
    current = asyncio.current_task()
    if current is not None and current.cancelling():
        raise asyncio.CancelledError
