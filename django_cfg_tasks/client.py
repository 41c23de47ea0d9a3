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
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from django_cfg_tasks import conf
from django_cfg_tasks.broker import Bell, Broker
from django_cfg_tasks.config import RearqConfig, TaskConfig
from django_cfg_tasks.exceptions import (
    BrokerUnavailableError,
    EnqueueError,
    JobNotFoundError,
    StoreUnavailableError,
    TasksDisabledError,
    TasksError,
)
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.loop import Batcher, HomeLoop
from django_cfg_tasks.results import ResultWaiter
from django_cfg_tasks.signals import announce
from django_cfg_tasks.store import (
    Store,
    insert_through_django,
    is_refusal,
    load_through_django,
    target_of_django,
    target_of_url,
)

if TYPE_CHECKING:
    from rearq import ReArq

logger = logging.getLogger("django_cfg_tasks.client")

T = TypeVar("T")

REARQ_APP = "django_cfg_tasks.worker.rearq_app.DjangoReArq"
"""By name, as it is the one door upwards: only a process that runs ReArq's CLI opens it."""

_MOST_UNRUNG = 100_000
LAST_RING_SECONDS = 1.0


class ReArqClient:
    """Accepts jobs, tells what became of them, and holds the connections that both need.

    Every method may be called from any thread; those that start with ``a`` are awaited, on any event loop.
    """

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        self.home = HomeLoop()
        self.broker = Broker(config.rearq)
        self._store: Store | None = None
        self._rearq: ReArq | None = None
        self._lock = threading.Lock()
        self._enqueues: Batcher[JobRecord, bool] = Batcher(self.home, self._write)
        self._rings: Batcher[JobRecord, bool] = Batcher(self.home, self._ring_committed)
        self._loads: Batcher[str, JobRecord | None] = Batcher(self.home, self._load)
        self._unrung: deque[Bell] = deque(maxlen=_MOST_UNRUNG)
        self._ringer: asyncio.Task[None] | None = None
        self.waiter = ResultWaiter(self.broker, self._load_one)
        atexit.register(self.close)

    @property
    def rearq_config(self) -> RearqConfig:
        """The engine's settings."""
        return self.config.rearq

    @property
    def store(self) -> Store:
        """The store; ConfigurationError where the configured database can't hold jobs."""
        if self._store is None:
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
        Returns, for each, None if it is new, else the job that had its id already. EnqueueError if the
        database refuses or can't be reached; a Redis that can't be reached only delays the jobs.
        """
        self._refuse_if_disabled()
        self.home.refuse_here("await task.delay(...) or await task.aenqueue(...)")
        if on_commit and _in_transaction():
            return self._enqueue_in_transaction(records)
        return self._accepted(records, self._enqueues.submit(list(records)).result())

    async def aenqueue(self, records: Sequence[JobRecord]) -> list[JobRecord | None]:
        """`enqueue`, for async code; it knows no transaction."""
        self._refuse_if_disabled()
        new = await asyncio.wrap_future(self._enqueues.submit(list(records)))
        known = await self.aload([r.job_id for r, fresh in zip(records, new, strict=True) if not fresh])
        return [None if fresh else known.get(r.job_id) for r, fresh in zip(records, new, strict=True)]

    # Asking about jobs

    def load(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts."""
        self.home.refuse_here("await client.aload(...)")
        return _present(self._loads.submit(list(job_ids)).result()) if job_ids else {}

    async def aload(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """`load`, for async code."""
        return _present(await asyncio.wrap_future(self._loads.submit(list(job_ids)))) if job_ids else {}

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

    def read_records(self, after_id: int, limit: int, since: dt.datetime | None = None) -> list[JobRecord]:
        """Return up to ``limit`` jobs after row ``after_id``, oldest first, with their attempts."""
        return self.call(self._page(after_id, limit, since), instead="sync_to_async(client.read_records)(...)")

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
        """Close all connections; on the home loop."""
        if self._ringer is not None:
            self._ringer.cancel()
            self._ringer = None
        if self._unrung:
            # A last try, so that jobs need not wait for the sweeper where Redis is back by now.
            with suppress(Exception):
                await asyncio.wait_for(self.broker.ring(list(self._unrung)), LAST_RING_SECONDS)
        await self.waiter.close()
        await self.broker.close()
        if self._store is not None:
            await self._store.close()

    # On the home loop

    async def _write(self, records: list[JobRecord]) -> list[bool | BaseException]:
        try:
            new = await self.store.insert(records)
        except StoreUnavailableError as error:
            raise EnqueueError(f"The job was not accepted. {error}") from error
        except TasksError:
            raise
        except Exception as error:
            if len(records) > 1 and is_refusal(error):
                # One bad row must not cost the others of its batch theirs.
                return [(await self._write_one(record)) for record in records]
            raise EnqueueError(f"The job was not accepted: {type(error).__name__}: {error}") from error
        # Of two with one id in a batch, the first is the new one.
        fresh_ids, first = set(new), []
        for record in records:
            first.append(record.job_id in fresh_ids)
            fresh_ids.discard(record.job_id)
        await self._committed([record for record, fresh in zip(records, first, strict=True) if fresh])
        return [*first]

    async def _write_one(self, record: JobRecord) -> bool | BaseException:
        try:
            return (await self._write([record]))[0]
        except Exception as error:
            return error

    async def _ring_committed(self, records: list[JobRecord]) -> list[bool | BaseException]:
        await self._committed(records)
        return [True] * len(records)

    async def _committed(self, records: list[JobRecord]) -> None:
        """Tell Redis, and whoever listens, of jobs that are stored."""
        if not records:
            return
        announce(records)
        await self.ring([bell_of(record) for record in records])

    async def ring(self, bells: Sequence[Bell]) -> None:
        """Ring; while Redis is away, keep the bells in mind and go on at once."""
        if not self._unrung:
            try:
                await self.broker.ring(bells)
                return
            except Exception as error:
                # They are stored: whatever Redis has against the bell, the caller's enqueue has succeeded.
                level = logging.WARNING if isinstance(error, BrokerUnavailableError) else logging.ERROR
                logger.log(level, "%d job(s) are stored and will be run once Redis is back. %s", len(bells), error)
        # A full deque forgets the oldest: the sweeper finds them in SQL.
        self._unrung.extend(bells)
        if self._ringer is None or self._ringer.done():
            self._ringer = asyncio.get_running_loop().create_task(self._ring_again(), name="django_cfg_tasks-ringer")

    async def _ring_again(self) -> None:
        pause = 0.2
        while self._unrung:
            bells = [self._unrung[index] for index in range(min(500, len(self._unrung)))]
            try:
                await self.broker.ring(bells)
            except Exception:  # said by whoever rang first
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)
                continue
            for _ in bells:
                self._unrung.popleft()
        logger.info("Redis is back; all stored jobs have been rung for.")

    async def _load(self, job_ids: list[str]) -> list[JobRecord | BaseException | None]:
        found = await self.store.load(set(job_ids), attempts=True)
        return [found.get(job_id) for job_id in job_ids]

    async def _load_one(self, job_id: str) -> JobRecord | None:
        return (await asyncio.wrap_future(self._loads.submit([job_id])))[0]

    async def _page(self, after_id: int, limit: int, since: dt.datetime | None) -> list[JobRecord]:
        return await self.store.page(after_id=after_id, limit=limit, since=since)

    async def _cancel(self, job_id: str) -> bool:
        canceled = (await self.store.cancel([job_id])).get(job_id)
        if canceled is None:
            if await self._load_one(job_id) is None:
                raise JobNotFoundError(f"No job has the id {job_id!r}.")
            return False
        announce([canceled])
        try:
            await self.broker.announce_cancel(canceled.task, job_id)
            await self.broker.announce_finished([job_id])
        except BrokerUnavailableError as error:
            logger.warning("Job %s is canceled, but a worker that runs it could not be told. %s", job_id, error)
        return True

    # In the caller's thread

    def _enqueue_in_transaction(self, records: Sequence[JobRecord]) -> list[JobRecord | None]:
        from django.db import DatabaseError, transaction

        alias = conf.DATABASE_ALIAS
        if self.rearq_config.db_url is not None:
            # The jobs' database knows nothing of this transaction: all of it waits for the commit.
            def submit() -> None:
                self._enqueues.submit(list(records)).result()

            transaction.on_commit(submit, using=alias)
            return [None] * len(records)
        try:
            new = insert_through_django(records, alias)
        except DatabaseError as error:
            raise EnqueueError(f"The job was not accepted: {error}".rstrip(".") + ".") from error
        fresh = [record for record in records if record.job_id in new]
        if fresh:
            transaction.on_commit(lambda: self._after_commit(fresh), using=alias)
        known = (
            load_through_django([r.job_id for r in records if r.job_id not in new], alias)
            if len(fresh) < len(records)
            else {}
        )
        return [None if record.job_id in new else known.get(record.job_id) for record in records]

    def _after_commit(self, records: list[JobRecord]) -> None:
        if self.home.is_here():
            self._rings.submit(records)
        else:
            self._rings.submit(records).result()

    def _accepted(self, records: Sequence[JobRecord], new: list[bool]) -> list[JobRecord | None]:
        known = self.load([r.job_id for r, fresh in zip(records, new, strict=True) if not fresh])
        return [None if fresh else known.get(r.job_id) for r, fresh in zip(records, new, strict=True)]

    def _refuse_if_disabled(self) -> None:
        if not self.config.enabled:
            raise TasksDisabledError(
                "Tasks are switched off (TaskConfig(enabled=False)), so nothing can be enqueued. "
                "Call the task as a plain function, or switch tasks on."
            )


def bell_of(record: JobRecord) -> Bell:
    """Return how to ring for a job that waits."""
    return Bell(record.queue, record.job_id, round(record.due_time.timestamp() * 1000) if record.due_time else None)


def _present(records: list[JobRecord | None]) -> dict[str, JobRecord]:
    return {record.job_id: record for record in records if record is not None}


def _in_transaction() -> bool:
    from django.db import connections

    return bool(connections[conf.DATABASE_ALIAS].in_atomic_block)


_client: ReArqClient | None = None
_client_lock = threading.Lock()
_abandoned: list[ReArqClient] = []


def get_rearq_client() -> ReArqClient:
    """Return the client of this process, made at the first call. Safe from any thread."""
    global _client
    client = _client
    if client is None:
        config = conf.get_config()
        with _client_lock:
            client = _client = _client or ReArqClient(config)
    return client


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
