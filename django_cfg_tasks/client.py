"""The client: one per process, owner of the home loop, the store and the broker.

`get_rearq_client` gives it out. Making one opens nothing; the first call that needs a connection does.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import datetime as dt
import logging
import os
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django_cfg_tasks import conf
from django_cfg_tasks.exceptions import (
    BrokerUnavailableError,
    JobNotFoundError,
    TasksDisabledError,
    UnknownTaskError,
)
from django_cfg_tasks.hooks import around, around_enqueue
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.loop import Batcher, HomeLoop
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.signals import announce, task_canceled

if TYPE_CHECKING:
    from rearq import ReArq

    from django_cfg_tasks.config import RearqConfig, TaskConfig
    from django_cfg_tasks.locks import Lock
    from django_cfg_tasks.store import Store
    from django_cfg_tasks.task import Task

logger = logging.getLogger("django_cfg_tasks.client")

T = TypeVar("T")

REARQ_APP = "django_cfg_tasks.worker.rearq_app.DjangoReArq"
"""By name, as it is the one door upwards: only a process that runs ReArq's CLI opens it."""
LOCAL_CLIENT = "django_cfg_tasks.testing.client.LocalClient"
"""By name, too: only tests open it."""
CANCEL_PAGE = 1000
"""How many jobs of a task are canceled in one statement."""


class ReArqClient:
    """Accepts jobs, tells what became of them, and holds the connections that both need.

    Every method may be called from any thread; those that start with ``a`` are awaited, on any event loop.
    """

    def __init__(self, config: TaskConfig) -> None:
        # Not with this module, which everything imports that declares a task: redis-py and the store are for those who
        # make a client.
        from django_cfg_tasks.acceptance import Acceptance
        from django_cfg_tasks.broker import Broker, Doorbell
        from django_cfg_tasks.dispatcher import SignalDispatcher
        from django_cfg_tasks.locks import Locks
        from django_cfg_tasks.results import ResultWaiter

        self.config = config
        self.home = HomeLoop()
        self.broker = Broker(config.rearq)
        self.signals = SignalDispatcher()
        self._store: Store | None = None
        self._rearq: ReArq | None = None
        self._lock = threading.Lock()
        self.acceptance = Acceptance(
            self.home,
            self.broker,
            Doorbell(config.rearq),
            self.signals,
            lambda: self.store,
            in_django=config.rearq.db_url is None,
        )
        self._loads: Batcher[str, JobRecord | None] = Batcher(self.home, self._load)
        self.waiter = ResultWaiter(self.broker, self._load_one)
        self._locks = Locks(self.broker)
        atexit.register(self.close)

    @property
    def rearq_config(self) -> RearqConfig:
        """The engine's settings."""
        return self.config.rearq

    @property
    def store(self) -> Store:
        """The store; ConfigurationError where the configured database can't hold jobs."""
        if self._store is None:
            from django_cfg_tasks.store import Store, target_of_django, target_of_url

            with self._lock:
                if self._store is None:
                    url = self.rearq_config.db_url
                    self._store = Store(
                        target_of_url(url)
                        if url is not None
                        else target_of_django(conf.django_database(), conf.DATABASE_ALIAS)
                    )
        return self._store

    @property
    def rearq(self) -> ReArq:
        """The ReArq instance that ``rearq main:rearq worker`` wants to find in ``main.py``."""
        if self._rearq is None:
            from django.utils.module_loading import import_string

            self._rearq = import_string(REARQ_APP)(self)
        return self._rearq

    # Accepting jobs

    def enqueue(self, records: Sequence[JobRecord], *, on_commit: bool = True) -> list[JobRecord | None]:
        """Store jobs and ring for them; wait until they are stored. For sync code.

        Inside ``transaction.atomic()`` they become part of the transaction, unless ``on_commit`` is False.
        Returns, for each, None if it is new, else the job that has its id or unique key already. EnqueueError if
        the database refuses or can't be reached (a Redis that can't be reached only delays the jobs),
        TaskDisabledError if the task is disabled.
        """
        self._refuse_if_disabled()
        self.home.refuse_here("await task.delay(...) or await task.aenqueue(...)")
        with around(around_enqueue, records):
            return self.acceptance.accept(records, on_commit=on_commit)

    async def aenqueue(self, records: Sequence[JobRecord]) -> list[JobRecord | None]:
        """`enqueue`, for async code; it knows no transaction."""
        self._refuse_if_disabled()
        with around(around_enqueue, records):
            return await self.acceptance.aaccept(records)

    # Asking about jobs

    def load(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts."""
        self.home.refuse_here("await client.aload(...)")
        return _present(self._loads.submit(list(job_ids)).result()) if job_ids else {}

    async def aload(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """`load`, for async code."""
        return _present(await self._loads.put(list(job_ids))) if job_ids else {}

    async def await_final(self, job_id: str, timeout: float | None) -> JobRecord | None:
        """Return the job once it is final, or None after ``timeout`` seconds; JobNotFoundError if it is none."""
        return await self.home.run(self.waiter.wait(job_id, timeout))

    def wait_final(self, job_id: str, timeout: float | None) -> JobRecord | None:
        """`await_final`, for sync code."""
        return self.call(self.waiter.wait(job_id, timeout), instead="await job.result(...)")

    async def acancel(self, job_id: str) -> bool:
        """Cancel a job that is not final; False if it was. A running one is told to stop."""
        return await self.home.run(self._cancel(job_id))

    def cancel(self, job_id: str) -> bool:
        """`acancel`, for sync code."""
        return self.call(self._cancel(job_id), instead="await job.acancel()")

    async def acancel_many(self, job_ids: Sequence[str]) -> set[str]:
        """Cancel those of these jobs that are not final, in one statement; return their ids."""
        return await self.home.run(self._cancel_many(job_ids))

    def cancel_many(self, job_ids: Sequence[str]) -> set[str]:
        """`acancel_many`, for sync code."""
        return self.call(self._cancel_many(job_ids), instead="await client.acancel_many(...)")

    async def acancel_task(self, task: str | Task[..., Any]) -> int:
        """Cancel all jobs of a task that are not final; return how many. Running ones are told to stop.

        Jobs that are enqueued meanwhile may be among them or not. UnknownTaskError for a name that this process
        does not know.
        """
        return await self.home.run(self._cancel_task(_name_of(task)))

    def cancel_task(self, task: str | Task[..., Any]) -> int:
        """`acancel_task`, for sync code."""
        return self.call(self._cancel_task(_name_of(task)), instead="await client.acancel_task(...)")

    # Switching tasks off and on

    async def adisable(self, task: str | Task[..., Any]) -> None:
        """Let no job of a task start, in any process, until it is enabled; those that run go on.

        Jobs that wait go on waiting. Enqueueing one raises TaskDisabledError, unless it says
        ``using(even_if_disabled=True)``. UnknownTaskError for a name that this process does not know.
        """
        await self.home.run(self.store.disable(_name_of(task)))

    def disable(self, task: str | Task[..., Any]) -> None:
        """`adisable`, for sync code."""
        self.call(self.store.disable(_name_of(task)), instead="await client.adisable(...)")

    async def aenable(self, task: str | Task[..., Any]) -> None:
        """Undo `adisable`: the jobs that waited run. UnknownTaskError for a name that this process does not know."""
        await self.home.run(self._enable(_name_of(task)))

    def enable(self, task: str | Task[..., Any]) -> None:
        """`aenable`, for sync code."""
        self.call(self._enable(_name_of(task)), instead="await client.aenable(...)")

    async def adisabled(self) -> set[str]:
        """Return the names of the disabled tasks."""
        return await self.home.run(self.store.disabled())

    def disabled(self) -> set[str]:
        """`adisabled`, for sync code."""
        return self.call(self.store.disabled(), instead="await client.adisabled()")

    # Schedules

    async def apause(self, task: str | Task[..., Any]) -> None:
        """Leave a cron task's due times out, whichever timer leads, until it is resumed; they are not made up for.

        Its jobs that wait or run go on, and jobs of it may be enqueued. UnknownTaskError for a name that this process
        does not know, or that of a task without a schedule.
        """
        await self.home.run(self.store.pause(_name_of_cron(task)))

    def pause(self, task: str | Task[..., Any]) -> None:
        """`apause`, for sync code."""
        self.call(self.store.pause(_name_of_cron(task)), instead="await client.apause(...)")

    async def aresume(self, task: str | Task[..., Any]) -> None:
        """Undo `apause`: it runs at its next due time. UnknownTaskError as there."""
        await self.home.run(self.store.resume(_name_of_cron(task)))

    def resume(self, task: str | Task[..., Any]) -> None:
        """`aresume`, for sync code."""
        self.call(self.store.resume(_name_of_cron(task)), instead="await client.aresume(...)")

    # History

    def read_records(self, after_id: int, limit: int, since: dt.datetime | None = None) -> list[JobRecord]:
        """Return up to ``limit`` jobs after row ``after_id``, oldest first, with their attempts."""
        return self.call(self._page(after_id, limit, since), instead="sync_to_async(client.read_records)(...)")

    # Locks

    def lock(self, name: str, timeout: float = 300, wait: float | None = None) -> Lock:
        """Return a lock that one holder at a time has, over all processes: ``with`` or ``async with`` takes it.

        It is renewed while it is held, and lapses within ``timeout`` seconds once its holder's process is dead.
        Taking it waits up to ``wait`` seconds, then raises LockTimeoutError, or BrokerUnavailableError if Redis is
        away; None waits for ever, 0 tries once. A holder goes on while Redis is away. See `Lock`.
        """
        from django_cfg_tasks.locks import Lock

        return Lock(self.home, self._locks, name, timeout=timeout, wait=wait)

    # The process

    def call(self, coroutine: Coroutine[Any, Any, T], instead: str) -> T:
        """Run ``coroutine`` on the home loop and wait for it. For sync code."""
        return self.home.call(coroutine, instead)

    def close(self) -> None:
        """Close all connections and end the home loop, if it is ours."""
        atexit.unregister(self.close)
        if not self.home.running or self.home.adopted:
            return
        try:
            asyncio.run_coroutine_threadsafe(self.aclose(), self.home.start()).result(timeout=5)
        except (TimeoutError, concurrent.futures.TimeoutError):
            logger.warning("The connections of django_cfg_tasks did not close within 5 s.")
        self.home.stop()

    async def aclose(self) -> None:
        """Deliver what signals wait, and close all connections; on the home loop."""
        await self.signals.aclose()
        await self.acceptance.aclose()
        await self.waiter.close()
        await self._locks.close()
        await self.broker.close()
        if self._store is not None:
            await self._store.close()

    # On the home loop

    async def _load(self, job_ids: list[str]) -> list[JobRecord | BaseException | None]:
        found = await self.store.load(set(job_ids), attempts=True)
        return [found.get(job_id) for job_id in job_ids]

    async def _load_one(self, job_id: str) -> JobRecord | None:
        return (await self._loads.put([job_id]))[0]

    async def _page(self, after_id: int, limit: int, since: dt.datetime | None) -> list[JobRecord]:
        return await self.store.page(after_id=after_id, limit=limit, since=since)

    async def _cancel(self, job_id: str) -> bool:
        canceled = (await self.store.cancel([job_id])).get(job_id)
        if canceled is None:
            if await self._load_one(job_id) is None:
                raise JobNotFoundError(f"No job has the id {job_id!r}.")
            return False
        await self._canceled([canceled], [canceled])
        return True

    async def _cancel_many(self, job_ids: Sequence[str]) -> set[str]:
        canceled = list((await self.store.cancel(job_ids)).values()) if job_ids else []
        if canceled:
            await self._canceled(canceled, canceled)
        return {record.job_id for record in canceled}

    async def _cancel_task(self, task: str) -> int:
        count = 0
        while True:
            canceled = await self.store.cancel_task(task, CANCEL_PAGE)
            count += len(canceled)
            if canceled:
                await self._canceled(canceled, [record for record in canceled if record.owner is not None])
            if len(canceled) < CANCEL_PAGE:
                return count

    async def _canceled(self, records: list[JobRecord], running: list[JobRecord]) -> None:
        """Tell of jobs that are canceled: who listens, workers that may run them, who waits for them."""
        for record in records:
            if record.owner is None and record.start_time is None:
                record.finish_time = dt.datetime.now(dt.UTC)  # of one that runs, its worker tells when it has ended
        announce(records)
        for record in records:
            self.signals.send(task_canceled, record, duration=_running_seconds(record))
        try:
            await self.broker.announce_canceled(
                [(record.task, record.job_id) for record in running], [record.job_id for record in records]
            )
        except BrokerUnavailableError as error:
            logger.warning(
                "%d job(s) are canceled, but no worker could be told; those that run are stopped once their workers "
                "reach Redis again. %s", len(records), error,
            )  # fmt: skip

    async def _enable(self, task: str) -> None:
        await self.store.enable(task)
        try:
            await self.broker.release_disabled(task)
        except BrokerUnavailableError as error:
            logger.warning("The task %r is enabled; its jobs wait until Redis is back. %s", task, error)

    def _refuse_if_disabled(self) -> None:
        if not self.config.enabled:
            raise TasksDisabledError(
                "Tasks are switched off (TaskConfig(enabled=False)), so nothing can be enqueued. "
                "Call the task as a plain function, or switch tasks on."
            )


def _running_seconds(record: JobRecord) -> float | None:
    """Return for how long a job has been running; None for one that is not."""
    if record.owner is None or record.start_time is None:
        return None
    return max(0.0, (dt.datetime.now(dt.UTC) - record.start_time).total_seconds())


def _present(records: list[JobRecord | None]) -> dict[str, JobRecord]:
    return {record.job_id: record for record in records if record is not None}


def _name_of(task: str | Task[..., Any]) -> str:
    """Return a task's name; UnknownTaskError where this process knows no task of that name."""
    return tasks[task].name if isinstance(task, str) else task.name


def _name_of_cron(task: str | Task[..., Any]) -> str:
    """Return a cron task's name; UnknownTaskError where this process knows no cron task of that name."""
    known = tasks[task] if isinstance(task, str) else task
    if known.cron is None:
        raise UnknownTaskError(f"The task {known.name!r} has no schedule: it is declared with @task, not @cron_task.")
    return known.name


_client: ReArqClient | None = None
_client_lock = threading.Lock()
_abandoned: list[ReArqClient] = []


def get_rearq_client() -> ReArqClient:
    """Return the client of this process, made at the first call. Safe from any thread.

    ConfigurationError where the configuration can't be used, or a task could not be declared.
    """
    global _client
    tasks.require_all()
    client = _client
    if client is None:
        config = conf.get_config()
        with _client_lock:
            client = _client = _client or _made(config)
    return client


def current_client() -> ReArqClient | None:
    """Return the client of this process if it was made."""
    return _client


def _made(config: TaskConfig) -> ReArqClient:
    if config.backend == "rearq":
        return ReArqClient(config)
    from django.utils.module_loading import import_string

    local: type[ReArqClient] = import_string(LOCAL_CLIENT)
    return local(config)


def _reset() -> None:
    global _client
    with _client_lock:
        client, _client = _client, None
    if client is not None:
        client.close()


def _after_fork() -> None:
    """Start anew in a child: the parent's loop does not run here, and its sockets are the parent's.

    The old client is kept, never used: collecting it could close what parent and child share.
    """
    global _client, _client_lock
    if _client is not None:
        atexit.unregister(_client.close)
        _abandoned.append(_client)
    _client, _client_lock = None, threading.Lock()


conf.on_reset(_reset)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
