"""Runs one job and says what became of it. It never raises for what a task does, and writes nothing itself."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import logging
import threading
import traceback as traceback_module
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections, reset_queries

from django_cfg_tasks import attribution
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.context import JobContext
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.exceptions import (
    JobTimeoutError,
    ResultError,
    SerializationError,
    TasksError,
    UnknownTaskError,
)
from django_cfg_tasks.hooks import JobRun, around, around_run
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.serialization import encode_result
from django_cfg_tasks.signals import task_started
from django_cfg_tasks.task import Task
from django_cfg_tasks.worker.deadlines import Deadlines
from django_cfg_tasks.worker.progress import TakesProgress
from django_cfg_tasks.worker.retries import next_try
from django_cfg_tasks.worker.threads import Interrupted, JobThreads

logger = logging.getLogger("django_cfg_tasks.worker")

ASKED_SECONDS = 5.0
"""How long a sync function that can see that it should end may take before it is interrupted."""
HURRIED_SECONDS = 2.0
"""The same at a shutdown, which does not wait for long, and while another worker runs the job already."""
TRACEBACK_CHARACTERS = 20_000
MESSAGE_CHARACTERS = 4_000


class Stop(enum.Enum):
    """Why a running job was told to stop."""

    canceled = "canceled"
    shutdown = "shutdown"
    superseded = "superseded"
    """Another worker has taken the job over; what becomes of this run counts for nothing."""


class Run(NamedTuple):
    """What became of one run."""

    attempt: Attempt | None
    """None: the job never started."""
    error: BaseException | None = None
    """What the task raised, if that is the outcome."""


class Runner:
    """Runs jobs for one worker: sync functions in ``threads``, async ones within ``surroundings``.

    Without them it has threads of its own, and gives each async job database connections of its own.
    """

    def __init__(
        self,
        config: RearqConfig,
        signals: SignalDispatcher,
        progress: TakesProgress,
        worker_name: str,
        *,
        threads: JobThreads | None = None,
        surroundings: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    ) -> None:
        self._config = config
        self._signals = signals
        self._progress = progress
        self._worker_name = worker_name
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._stopped: dict[str, Stop] = {}
        self._told: dict[str, threading.Event] = {}
        self._limits: dict[str, float] = {}
        self._deadlines = Deadlines()
        self._threads = threads or JobThreads.pool(config.max_jobs)
        self._surroundings = surroundings or django_connections

    @property
    def stuck(self) -> bool:
        """Whether a sync function runs on though its job is over."""
        return self._threads.stuck

    def end_of(self, job_id: str) -> asyncio.Event | None:
        """Return the end of a sync function that outlasts its job, which is over; None if it ended with it."""
        return self._threads.end_of(job_id)

    def limit(self, job_id: str | None) -> float:
        """Return how many seconds a running job may take; of one that is not known, the longest of those that run."""
        return self._limits.get(job_id or "") or max(self._limits.values(), default=self._config.job_timeout)

    def stop(self, job_id: str, why: Stop) -> bool:
        """Tell a running job to stop: CancelledError in async functions, an interrupt in sync ones.

        A sync function with a context is asked by it first. False if the job does not run (yet).
        """
        running = self._running.get(job_id)
        if running is None:
            return False
        if job_id not in self._stopped:
            self._stopped[job_id] = why
            if (told := self._told.get(job_id)) is not None:
                told.set()
            running.cancel()
        return True

    def close(self) -> None:
        """End idle threads."""
        self._threads.close()
        self._deadlines.close()

    async def run(self, record: JobRecord, *, not_before: dt.datetime | None = None) -> Run:
        """Run the job, and change ``record`` to what it is now.

        Must be awaited in an asyncio task of its own, which `stop` cancels. Whether it has expired is reckoned at
        ``not_before``, where that is still to come.
        """
        now = dt.datetime.now(dt.UTC)
        if record.expire_time is not None and record.expire_time <= max(now, not_before or now):
            record.status, record.finish_time = JobStatus.expired, now
            record.error_message = f"It expired at {record.expire_time.isoformat()} before it could start."
            return Run(None)
        if not around_run:
            return await self._run(record, now)
        watched = JobRun(record)
        with around(around_run, watched):
            run = await self._run(record, now)
            watched.attempt, watched.error = run.attempt, run.error
        return run

    async def _run(self, record: JobRecord, now: dt.datetime) -> Run:
        if (current := asyncio.current_task()) is not None:
            self._running[record.job_id] = current
        record.start_time = now
        try:
            value = await self._call(record)
            record.result = _encoded(value)
        except BaseException as error:  # SystemExit in a task ends the job, not the worker
            attempt = self._failed(record, error)
            return Run(attempt, error if attempt.error_class else None)
        finally:
            self._running.pop(record.job_id, None)
            self._stopped.pop(record.job_id, None)
            self._told.pop(record.job_id, None)
            self._limits.pop(record.job_id, None)
        record.status = JobStatus.success
        return Run(self._attempt(record, AttemptOutcome.success))

    def _failed(self, record: JobRecord, error: BaseException) -> Attempt:
        why = self._stopped.get(record.job_id)
        if why is not None and isinstance(error, asyncio.CancelledError | Interrupted):
            if why is Stop.canceled:
                record.status = JobStatus.canceled
                return self._attempt(record, AttemptOutcome.canceled)
            # Nobody's fault: no retry is used.
            record.status, record.due_time = JobStatus.queued, None
            return self._attempt(record, AttemptOutcome.released)
        record.error_class = _class_name(error)
        record.error_message = (str(error) or record.error_class)[:MESSAGE_CHARACTERS]
        record.traceback = _traceback(error)
        again = next_try(record, error)
        if again is None:
            record.status = JobStatus.failed
            return self._attempt(record, AttemptOutcome.failed)
        pause, counted = again
        record.job_retries += counted
        if pause > 0:
            record.status = JobStatus.deferred
            record.due_time = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=pause)
        else:
            record.status, record.due_time = JobStatus.queued, None
        return self._attempt(record, AttemptOutcome.retried)

    def _attempt(self, record: JobRecord, outcome: AttemptOutcome) -> Attempt:
        record.finish_time = dt.datetime.now(dt.UTC)
        if outcome is not AttemptOutcome.released:
            record.deliveries = 0  # it came to an end, so it is not what kills workers
        failed = outcome in (AttemptOutcome.failed, AttemptOutcome.retried)
        if not failed:
            record.error_class = record.error_message = record.traceback = None
        attempt = Attempt(
            number=record.attempt,
            worker=self._worker_name,
            start_time=record.start_time,
            finish_time=record.finish_time,
            outcome=outcome,
            error_class=record.error_class,
            error_message=record.error_message,
            traceback=record.traceback,
        )
        record.attempts.append(attempt)
        return attempt

    async def _call(self, record: JobRecord) -> Any:
        task = tasks.get(record.task)
        if task is None and tasks.finders:
            task = await asyncio.to_thread(tasks.find, record.task)
        if task is None:
            known = ", ".join(sorted(task.name for task in tasks)) or "none"
            raise UnknownTaskError(
                f"This worker knows no task {record.task!r}. "
                f"Is its module imported, and the name unchanged? Known: {known}."
            )
        args, kwargs = task.codec.decode(record.args, record.kwargs)
        attribution.attribute_to_user_of_job(record.options.get("user"))
        if task.options.bind:
            told = self._told[record.job_id] = threading.Event()
            args.insert(0, JobContext(record, task, told_to_stop=told, note=self._progress.note))
        return await self._call_in_time(record, task, args, kwargs)

    async def _call_in_time(
        self, record: JobRecord, task: Task[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        limit = float(record.options.get("job_timeout") or task.options.job_timeout or self._config.job_timeout)
        self._limits[record.job_id] = limit
        self._signals.send(task_started, record)
        deadline = self._deadlines.within(limit)
        overdue = False

        def ask() -> float:
            nonlocal overdue
            why = self._stopped.get(record.job_id)
            overdue = why is None and deadline.passed
            return HURRIED_SECONDS if why in (Stop.shutdown, Stop.superseded) else ASKED_SECONDS

        told, timer = self._told.get(record.job_id), None
        if told is not None and limit < float("inf"):
            timer = asyncio.get_running_loop().call_at(deadline.when, told.set)
        try:
            with deadline:
                if task.is_async:
                    async with self._surroundings():
                        value = await task.function(*args, **kwargs)
                else:
                    value = await self._threads.run(
                        record.job_id, lambda: task.function(*args, **kwargs), ask if told is not None else None
                    )
        except BaseException as error:
            if overdue or (isinstance(error, TimeoutError) and deadline.passed):
                raise _timeout(limit) from error
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if overdue:  # however it ended when it was asked to
            raise _timeout(limit)
        return value


def _timeout(limit: float) -> JobTimeoutError:
    return JobTimeoutError(f"The job ran longer than its job_timeout of {limit:g} s.")


class django_connections(ThreadSensitiveContext):  # noqa: N801 - as a context manager's name is written
    """Give an async job a thread of its own for ``sync_to_async``, as Django gives each ASGI request one.

    So the ORM calls of two jobs run side by side, and the connections opened for one job are closed at its
    end without harm to another. A job that never touches the ORM costs no thread.
    """

    async def __aexit__(self, *error: object) -> None:
        try:
            if SyncToAsync.context_to_thread_executor.get(self) is not None:
                await asyncio.shield(sync_to_async(_close_connections)())
        finally:
            await super().__aexit__(*error)  # type: ignore[no-untyped-call]  # asgiref's has no types


def _close_connections() -> None:
    reset_queries()
    connections.close_all()


def _encoded(value: Any) -> Any:
    try:
        return encode_result(value)
    except SerializationError as error:
        raise ResultError(f"{error} The task itself ended without an error, so it is not run again.") from None


def _class_name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins" or isinstance(error, TasksError)
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _traceback(error: BaseException) -> str:
    text = "".join(traceback_module.format_exception(error))
    if len(text) <= TRACEBACK_CHARACTERS:
        return text
    half = TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
