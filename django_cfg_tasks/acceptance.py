"""How jobs are accepted: stored in SQL, in batches or in the caller's transaction, then rung for.

Once a job is stored it is accepted. Whatever Redis has against the bell, the caller's enqueue has succeeded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from django_cfg_tasks import conf
from django_cfg_tasks.broker import Bell, Broker, Doorbell, bell_of
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.exceptions import (
    BrokerUnavailableError,
    EnqueueError,
    StoreUnavailableError,
    TaskDisabledError,
    TasksError,
)
from django_cfg_tasks.fast_path import FastPath, Tried
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.loop import Batcher, HomeLoop, runs_here
from django_cfg_tasks.signals import announce, task_enqueued
from django_cfg_tasks.store import (
    HELD_VENDORS,
    HeldConnection,
    Store,
    disabled_through_django,
    find_through_django,
    insert_through_django,
    is_refusal,
)

logger = logging.getLogger("django_cfg_tasks.client")

_MOST_UNRUNG = 100_000
LAST_RING_SECONDS = 1.0


class Acceptance:
    """Takes jobs in for one client. ``store`` gives the client's store, which is made at its first use."""

    def __init__(
        self,
        home: HomeLoop,
        broker: Broker,
        doorbell: Doorbell,
        signals: SignalDispatcher,
        store: Callable[[], Store],
        *,
        in_django: bool,
    ) -> None:
        self._home = home
        self._broker = broker
        self._signals = signals
        self._store = store
        self._in_django = in_django
        self._enqueues: Batcher[JobRecord, JobRecord | None] = Batcher(home, self._write)
        # Apart, as one of these may have to wait for the end of a transaction in which somebody enqueued its like.
        self._unique_enqueues: Batcher[JobRecord, JobRecord | None] = Batcher(home, self._write)
        self._rings: Batcher[JobRecord, bool] = Batcher(home, self._ring_committed)
        self._fast_path = FastPath(home, doorbell, self._held, accepted=self._accepted_here, unheard=self._unheard_here)
        self._arriving: list[None] = []
        self._unrung: deque[Bell] = deque(maxlen=_MOST_UNRUNG)
        self._ringer: asyncio.Task[None] | None = None

    def accept(self, records: Sequence[JobRecord], *, on_commit: bool) -> list[JobRecord | None]:
        """Store jobs and ring for them; see `ReArqClient.enqueue`."""
        tried = Tried.not_stored
        if _in_transaction():
            if on_commit:
                return self._accept_in_transaction(records)
        elif self._is_plain(records) and not runs_here():  # Django opens no connection there
            tried = self._fast_path.accept(records[0])
            if tried is Tried.stored:
                return [None]
        answers = self._batcher(records).call(list(records))
        if tried is Tried.unsure and _is_itself(records[0], answers[0]):
            self._rings.call(list(records))
            return [None]
        return answers

    async def aaccept(self, records: Sequence[JobRecord]) -> list[JobRecord | None]:
        """`accept`, for async code; it knows no transaction."""
        tried = Tried.not_stored
        if self._is_plain(records) and not self._home.is_here() and await self._is_alone():
            tried = await self._fast_path.aaccept(records[0])
            if tried is Tried.stored:
                return [None]
        answers = await self._batcher(records).put(list(records))
        if tried is Tried.unsure and _is_itself(records[0], answers[0]):
            await self._rings.put(list(records))
            return [None]
        return answers

    def _is_plain(self, records: Sequence[JobRecord]) -> bool:
        """Whether this is a lone job that may go the short way, as far as is known before."""
        return (
            self._in_django
            and len(records) == 1
            and records[0].unique_key is None
            and self._enqueues.idle
            and not self._unrung
        )

    async def _is_alone(self) -> bool:
        """Whether no other task is about to enqueue as well: those of one `asyncio.gather` go together."""
        self._arriving.append(None)
        try:
            await asyncio.sleep(0)
            return len(self._arriving) == 1 and self._enqueues.idle
        finally:
            self._arriving.pop()

    def _batcher(self, records: Sequence[JobRecord]) -> Batcher[JobRecord, JobRecord | None]:
        unique = any(record.unique_key is not None for record in records)
        return self._unique_enqueues if unique else self._enqueues

    async def aclose(self) -> None:
        """Stop ringing, after a last try, so that jobs need not wait for the sweeper where Redis is back by now."""
        if self._ringer is not None:
            self._ringer.cancel()
            self._ringer = None
        self._fast_path.close()
        if self._unrung:
            with suppress(Exception):
                await asyncio.wait_for(self._broker.ring(list(self._unrung)), LAST_RING_SECONDS)

    # On the home loop

    async def _write(self, records: list[JobRecord]) -> list[JobRecord | BaseException | None]:
        try:
            new = await self._store().insert(records)
            fresh, others = parted(records, new)
            answers = await self._answers(others) if others else {}
        except StoreUnavailableError as error:
            raise EnqueueError(f"The job was not accepted. {error}") from error
        except TasksError:
            raise
        except Exception as error:
            if len(records) > 1 and is_refusal(error):
                # One bad row must not cost the others of its batch theirs.
                return [(await self._write_one(record)) for record in records]
            raise EnqueueError(f"The job was not accepted: {type(error).__name__}: {error}") from error
        await self._committed(fresh)
        return [answers.get(id(record)) for record in records] if answers else [None] * len(records)

    async def _write_one(self, record: JobRecord) -> JobRecord | BaseException | None:
        try:
            return (await self._write([record]))[0]
        except Exception as error:
            return error

    async def _answers(self, records: list[JobRecord]) -> dict[int, JobRecord | BaseException | None]:
        """Say of records that were not new, by their identity, why: the job that was first, or a disabled task."""
        found = await self._store().find(records)
        unexplained = [record for record in records if record.job_id not in found]
        disabled = await self._store().disabled() if unexplained else set()
        answers: dict[int, JobRecord | BaseException | None] = {}
        for record in records:
            if record.job_id in found:
                answers[id(record)] = found[record.job_id]
            elif record.task in disabled and not record.even_if_disabled:
                answers[id(record)] = refused_as_disabled(record)
            else:
                # What was in its way is gone by now: its unique job ended, its task is enabled.
                answers[id(record)] = await self._write_one(record)
        return answers

    async def _ring_committed(self, records: list[JobRecord]) -> list[bool | BaseException]:
        await self._committed(records)
        return [True] * len(records)

    async def _committed(self, records: list[JobRecord]) -> None:
        """Tell Redis, and whoever listens, of jobs that are stored."""
        if not records:
            return
        announce(records)
        for record in records:
            self._signals.send(task_enqueued, record)
        await self.ring([bell_of(record) for record in records])

    async def ring(self, bells: Sequence[Bell]) -> None:
        """Ring; while Redis is away, keep the bells in mind and go on at once."""
        if not self._unrung:
            try:
                await self._broker.ring(bells)
                return
            except Exception as error:
                # They are stored: whatever Redis has against the bell, the caller's enqueue has succeeded.
                _say_unheard(len(bells), error)
        self._ring_later(bells)

    def _ring_later(self, bells: Sequence[Bell]) -> None:
        # A full deque forgets the oldest: the sweeper finds them in SQL.
        self._unrung.extend(bells)
        if self._ringer is None or self._ringer.done():
            self._ringer = asyncio.get_running_loop().create_task(self._ring_again(), name="django_cfg_tasks-ringer")

    async def _ring_again(self) -> None:
        pause = 0.2
        while self._unrung:
            bells = [self._unrung[index] for index in range(min(500, len(self._unrung)))]
            try:
                await self._broker.ring(bells)
            except Exception:  # said by whoever rang first
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)
                continue
            for _ in bells:
                self._unrung.popleft()
        logger.info("Redis is back; all stored jobs have been rung for.")

    # In the caller's thread

    def _held(self) -> HeldConnection | None:
        target = self._store().target
        return HeldConnection(target, conf.DATABASE_ALIAS) if target.vendor in HELD_VENDORS else None

    def _accepted_here(self, record: JobRecord) -> None:
        announce([record])
        if task_enqueued.receivers:
            self._home.start().call_soon_threadsafe(self._signals.send, task_enqueued, record)

    def _unheard_here(self, record: JobRecord, error: Exception) -> None:
        _say_unheard(1, error)
        self._home.start().call_soon_threadsafe(self._ring_later, [bell_of(record)])

    def _accept_in_transaction(self, records: Sequence[JobRecord]) -> list[JobRecord | None]:
        from django.db import DatabaseError, transaction

        alias = conf.DATABASE_ALIAS
        if not self._in_django:
            # The jobs' database knows nothing of this transaction: all of it waits for the commit.
            def submit() -> None:
                self._batcher(records).call(list(records))

            transaction.on_commit(submit, using=alias)
            return [None] * len(records)
        try:
            fresh, others = parted(records, insert_through_django(records, alias))
            known = find_through_django(others, alias) if others else {}
            unexplained = [record for record in others if record.job_id not in known]
            disabled = disabled_through_django(alias) if unexplained else set()
        except DatabaseError as error:
            raise EnqueueError(f"The job was not accepted: {error}".rstrip(".") + ".") from error
        for record in unexplained:
            if record.task in disabled and not record.even_if_disabled:
                raise refused_as_disabled(record)
        if fresh:
            transaction.on_commit(lambda: self._after_commit(fresh), using=alias)
        answers = {id(record): known.get(record.job_id) for record in others}
        if unexplained:
            # What was in their way is gone by now: the unique job ended, the task was enabled.
            again = self._accept_in_transaction(unexplained)
            answers |= {id(record): job for record, job in zip(unexplained, again, strict=True)}
        return [answers.get(id(record)) for record in records]

    def _after_commit(self, records: list[JobRecord]) -> None:
        if self._home.is_here():
            self._rings.submit(records)
        else:
            self._rings.call(records)


def parted(records: Sequence[JobRecord], new: set[str]) -> tuple[list[JobRecord], list[JobRecord]]:
    """Part those that were stored from the others; of two with one id, the first was."""
    if len(new) == len(records):
        return list(records), []
    first = {record.job_id: record for record in reversed(records) if record.job_id in new}
    fresh = [record for record in records if first.get(record.job_id) is record]
    return fresh, [record for record in records if first.get(record.job_id) is not record]


def refused_as_disabled(record: JobRecord) -> TaskDisabledError:
    """Return the error of one whose job is not accepted as its task is disabled."""
    return TaskDisabledError(
        f"The task {record.task!r} is disabled, so no job of it is accepted. Enable it "
        f"(get_rearq_client().enable({record.task!r})), or enqueue with using(even_if_disabled=True): "
        "the job then waits until the task is enabled."
    )


def _say_unheard(count: int, error: Exception) -> None:
    level = logging.WARNING if isinstance(error, BrokerUnavailableError) else logging.ERROR
    logger.log(level, "%d job(s) are stored and will be run once Redis is back. %s", count, error)


def _is_itself(record: JobRecord, found: JobRecord | None) -> bool:
    """Whether what was found in the way of a job is that job."""
    return found is not None and (found.job_id, found.enqueue_time) == (record.job_id, record.enqueue_time)


def _in_transaction() -> bool:
    from django.db import connections

    return bool(connections[conf.DATABASE_ALIAS].in_atomic_block)
