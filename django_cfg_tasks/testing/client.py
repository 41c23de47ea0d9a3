"""The client of TaskConfig(backend="immediate") and (backend="memory"): no Redis, no worker, jobs in memory.

It has the methods of `ReArqClient` and refuses what that refuses, so that whoever enqueues or asks need not know. The
thread that calls is the one that does all the work: what it has open with the database is seen, and nothing is left
to run when the call returns.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from django_cfg_tasks import conf
from django_cfg_tasks.acceptance import parted, refused_as_disabled
from django_cfg_tasks.client import ReArqClient, current_client
from django_cfg_tasks.exceptions import ConfigurationError, JobNotFoundError, WrongStateError, WrongThreadError
from django_cfg_tasks.hooks import around, around_enqueue
from django_cfg_tasks.jobs import WAITING, JobRecord, JobStatus
from django_cfg_tasks.loop import HomeLoop, runs_here
from django_cfg_tasks.signals import task_canceled, task_enqueued
from django_cfg_tasks.testing.broker import NoBroker
from django_cfg_tasks.testing.locks import LocalLocks
from django_cfg_tasks.testing.running import MOST_RUNS, Chain, LocalSignals, Runs, open_chain
from django_cfg_tasks.testing.store import LocalStore, answer
from django_cfg_tasks.testing.transactions import own_blocks

if TYPE_CHECKING:
    from django_cfg_tasks.config import TaskConfig

logger = logging.getLogger("django_cfg_tasks.testing")

T = TypeVar("T")

LOOK_SECONDS = 0.01
"""How often one looks who waits for a job that another thread runs."""


class CallersLoop(HomeLoop):
    """The home of a client that owns no connection: the loop of whoever awaits, and for sync code one for each call."""

    def start(self) -> NoReturn:
        """Refuse."""
        raise WrongThreadError("A client without connections has no loop of its own.")

    def is_here(self) -> bool:
        """Whether a loop runs in this thread: it would be blocked."""
        return runs_here()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await ``coroutine``."""
        return await coroutine

    def call(self, coroutine: Coroutine[Any, Any, T], instead: str) -> T:
        """Run ``coroutine`` from sync code; what it hands to ``sync_to_async`` runs in this thread."""
        try:
            self.refuse_here(instead)
        except WrongThreadError:
            coroutine.close()
            raise

        async def called() -> T:
            return await coroutine

        return async_to_sync(called)()


class LocalClient(ReArqClient):
    """Keeps jobs in memory. They run when they are enqueued (``immediate``) or when somebody says so (``memory``)."""

    def __init__(self, config: TaskConfig) -> None:  # not super's: that makes what talks to Redis
        self.config = config
        self.home = CallersLoop()
        self.broker = NoBroker(config.backend)  # type: ignore[assignment]
        self.signals = self._news = LocalSignals()
        self._store = self._jobs = LocalStore()  # type: ignore[assignment]
        self._rearq = None
        self._lock = threading.Lock()
        self._locks = LocalLocks()  # type: ignore[assignment]
        self._runs = Runs(config.rearq, self._jobs, self._news, write_history, config.backend)
        self.listeners: list[Callable[[list[JobRecord]], None]] = []
        """Called with the jobs that were accepted, in the thread that enqueued them."""

    @property
    def jobs(self) -> LocalStore:
        """All that was enqueued."""
        return self._jobs

    @property
    def immediate(self) -> bool:
        """Whether jobs run when they are enqueued."""
        return self.config.backend == "immediate"

    @property
    def rearq(self) -> NoReturn:
        """There is none; ConfigurationError."""
        raise ConfigurationError(
            f"TaskConfig(backend={self.config.backend!r}) is for tests: its jobs are in the memory of the process that "
            'enqueues them, where no worker, timer or server finds them. They need backend="rearq".'
        )

    # Accepting jobs

    def enqueue(self, records: Sequence[JobRecord], *, on_commit: bool = True) -> list[JobRecord | None]:
        """Take jobs in as `ReArqClient.enqueue` does; ``immediate`` runs them, in a transaction once it commits."""
        self._refuse_if_disabled()
        self.home.refuse_here("await task.delay(...) or await task.aenqueue(...)")
        with around(around_enqueue, records):
            known, ready = self._accept(records, on_commit=on_commit)
        self._start(ready)
        return known

    async def aenqueue(self, records: Sequence[JobRecord]) -> list[JobRecord | None]:
        """`enqueue`, for async code; it knows no transaction."""
        self._refuse_if_disabled()
        with around(around_enqueue, records):
            known, ready = await sync_to_async(self._accept)(records, on_commit=False)
        await self._work(ready)
        return known

    def _accept(
        self, records: Sequence[JobRecord], *, on_commit: bool
    ) -> tuple[list[JobRecord | None], list[JobRecord]]:
        """Store jobs; return, for each, which one was there first, and those jobs that are accepted as of now."""
        from django.db import connections, transaction

        fresh, others = parted(records, answer(self._jobs.insert(records)))
        found = answer(self._jobs.find(others)) if others else {}
        stored = list(answer(self._jobs.load([record.job_id for record in fresh])).values())
        connection = connections[conf.DATABASE_ALIAS]
        own = bool(own_blocks(connection))
        # A test's transaction is none of the code that it tests: without one of its own, that has its job at once.
        waits = bool(stored) and own and on_commit
        if stored and connection.in_atomic_block and (waits or not own):

            def committed() -> None:
                released = self._jobs.committed(stored)
                self._tell(released)
                self._start(released)

            transaction.on_commit(committed, using=conf.DATABASE_ALIAS)
            self._jobs.hold(stored, connection, committed, back=waits)
        for listener in list(self.listeners):
            listener(stored)
        for record in others:
            if record.job_id not in found:
                raise refused_as_disabled(record)
        if not waits:
            self._tell(stored)
        answers = {id(record): found[record.job_id] for record in others}
        return [answers.get(id(record)) for record in records], [] if waits else stored

    def _tell(self, records: list[JobRecord]) -> None:
        """Tell the history, and who listens to signals, of jobs that are stored for good."""
        write_history(records)
        for record in records:
            self.signals.send(task_enqueued, record)

    def _start(self, records: list[JobRecord]) -> None:
        """Run what may run now. For sync code."""
        chain = self._chain_for(records)
        if chain is not None or (self._news.waiting and open_chain() is None):
            self.home.call(self._worked(chain), instead="await task.delay(...)")

    async def _work(self, records: list[JobRecord]) -> None:
        chain = self._chain_for(records)
        if chain is not None or open_chain() is None:
            await self._worked(chain)

    def _chain_for(self, records: Iterable[JobRecord]) -> Chain | None:
        """Return what has to be run here and now; where a job runs already, leave it to what runs that."""
        now = dt.datetime.now(dt.UTC)
        due = [record.job_id for record in records if self.immediate and (record.due_time or now) <= now]
        current = open_chain()
        if current is not None:
            current.waiting.extend(due)
            return None
        return Chain(due) if due else None

    async def _worked(self, chain: Chain | None) -> None:
        await self._news.deliver()
        if chain is not None:
            await self._runs.work(chain)

    # Running what waits

    async def run_waiting(
        self, until: dt.datetime, most: int = MOST_RUNS
    ) -> tuple[list[str], dict[str, BaseException]]:
        """Run all jobs that are due by ``until``, in that order, and those that they enqueue.

        Return their ids in the order of their first runs, and what the last run of each has raised, if it did. What
        waits for the end of a transaction runs if none is open but that of a test.
        """
        chain = Chain(most=most)
        ran: dict[str, None] = {}
        await sync_to_async(self._release)()
        await self._news.deliver()
        while (job_id := next((each for each in self._jobs.due(until) if each not in ran), None)) is not None:
            ran[job_id] = None
            chain.waiting.append(job_id)
            chain.open = True
            await self._runs.work(chain)
            await sync_to_async(self._release)()
            await self._news.deliver()
        return list(ran), chain.errors

    def _release(self) -> None:
        self._tell(self._jobs.release_of_tests())

    # Asking about jobs

    def load(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts."""
        self.home.refuse_here("await client.aload(...)")
        return answer(self._jobs.load(job_ids))

    async def aload(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """`load`, for async code."""
        return answer(self._jobs.load(job_ids))

    async def await_final(self, job_id: str, timeout: float | None) -> JobRecord | None:
        """Return the job if it is final, or can be run now; else None, or WrongStateError without a ``timeout``.

        Nobody else runs it, so there is nothing to wait for; but for a job that another thread runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._is_startable(self._known(job_id)):
            await self._runs.work(Chain([job_id]))
        while True:
            record = self._known(job_id)
            if record.status.is_final:
                return record
            if record.status is not JobStatus.in_progress:
                self._refuse_in_vain(record, timeout)
                return None
            if deadline is not None and time.monotonic() >= deadline:
                return None
            await asyncio.sleep(LOOK_SECONDS)

    def wait_final(self, job_id: str, timeout: float | None) -> JobRecord | None:
        """`await_final`, for sync code."""
        return self.call(self.await_final(job_id, timeout), instead="await job.result(...)")

    def _known(self, job_id: str) -> JobRecord:
        record = answer(self._jobs.load([job_id])).get(job_id)
        if record is None:
            raise JobNotFoundError(f"No job has the id {job_id!r}.")
        return record

    def _is_startable(self, record: JobRecord) -> bool:
        now = dt.datetime.now(dt.UTC)
        return (
            self.immediate
            and record.status in WAITING
            and (record.due_time or now) <= now
            and not self._jobs.is_held_back(record.job_id)
        )

    def _refuse_in_vain(self, record: JobRecord, timeout: float | None) -> None:
        if timeout is None:
            why = (
                "it waits for the end of its transaction"
                if self._jobs.is_held_back(record.job_id)
                else ("it is not due yet, or its task is disabled" if self.immediate else "nothing runs it by itself")
            )
            raise WrongStateError(
                f"Job {record.job_id} of {record.task} would be waited for in vain: with backend="
                f"{self.config.backend!r} {why}. Call django_cfg_tasks.testing.run_enqueued() first."
            )

    # On whatever loop

    async def _load(self, job_ids: list[str]) -> list[JobRecord | BaseException | None]:
        found = answer(self._jobs.load(job_ids))
        return [found.get(job_id) for job_id in job_ids]

    async def _load_one(self, job_id: str) -> JobRecord | None:
        return answer(self._jobs.load([job_id])).get(job_id)

    async def _canceled(self, records: list[JobRecord], running: list[JobRecord]) -> None:
        now = dt.datetime.now(dt.UTC)
        for record in records:
            started = record.start_time if record.owner is not None else None
            if started is None:
                record.finish_time = now
            duration = None if started is None else (now - started).total_seconds()
            self.signals.send(task_canceled, record, duration=duration)
            self._runs.stop(record.job_id)
        await sync_to_async(write_history)(records)
        if open_chain() is None:
            await self._news.deliver()

    async def _enable(self, task: str) -> None:
        await self.store.enable(task)
        due = self._jobs.due(dt.datetime.now(dt.UTC))
        await self._work([record for record in answer(self._jobs.load(due)).values() if record.task == task])

    # The process

    def close(self) -> None:
        """Nothing is open."""

    async def aclose(self) -> None:
        """Nothing is open."""


def forget_jobs() -> None:
    """Empty the memory of the client in force, if it is one of these."""
    client = current_client()
    if isinstance(client, LocalClient):
        client.jobs.clear()


def write_history(records: list[JobRecord]) -> None:
    """Bring TaskLog up to ``records``, in the caller's connection and transaction; what is in the way is logged.

    A test may have no database, or not this one.
    """
    if not records:
        return
    from django.db import Error

    from django_cfg_tasks.recorder import upsert

    try:
        upsert(records)
    except Exception as error:
        level = logging.WARNING if isinstance(error, Error) else logging.DEBUG
        logger.log(level, "The history of %d job(s) is not written: %s: %s", len(records), type(error).__name__, error)
