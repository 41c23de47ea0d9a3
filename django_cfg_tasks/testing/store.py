"""The jobs of one process of tests, in memory, under the names of the `store` that keeps them in SQL.

What SQL's statements say of ids, unique keys, disabled tasks and the attempt that owns a job is said here in Python.
No coroutine of it ever waits, so that `answer` gives its result at once. Jobs that hang on a transaction are gone when
it is rolled back, and may not run before it commits.
"""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from django_cfg_tasks.jobs import WAITING, JobRecord, JobStatus
from django_cfg_tasks.serialization import dumps
from django_cfg_tasks.store import OldJob, OpenCount, OpenJob, Outcome, TaskState
from django_cfg_tasks.testing.transactions import Held

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")


def answer(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine that never waits returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("It waits for something.")


@dataclass(frozen=True, slots=True)
class _Target:
    name: str = "memory"
    in_django: bool = True


class LocalStore:
    """Jobs by their ids, in the order in which they came. Safe to use from many threads."""

    def __init__(self) -> None:
        self.target = _Target()
        self._lock = threading.RLock()
        self._jobs: dict[str, JobRecord] = {}
        self._accepted: dict[str, JobRecord] = {}
        self._rows = itertools.count(1)
        self._states: dict[str, TaskState] = {}
        self._held = Held()

    # What hangs on a transaction

    def hold(
        self,
        records: Iterable[JobRecord],
        connection: BaseDatabaseWrapper,
        callback: Callable[[], None],
        *,
        back: bool,
    ) -> None:
        """Forget these jobs if the open transaction is rolled back; ``back``: nor let them run before `committed`."""
        ids = [record.job_id for record in records]
        with self._lock:
            self._held.add(ids, connection, callback)
            if back:
                self._held.hold_back(ids)

    def committed(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Keep jobs whose callback is called; return those that may run from now on, and might not before."""
        ids = [record.job_id for record in records]
        with self._lock:
            # Django empties its list before it calls what was in it: some may have been taken for undone.
            forgotten = {record.job_id: record.snapshot() for record in records if record.job_id not in self._jobs}
            self._jobs |= forgotten
            self._held.committed(ids)
            ready = self._held.release(ids) | forgotten.keys()
            return [record for record in records if record.job_id in ready]

    def release_of_tests(self) -> list[JobRecord]:
        """Let jobs run that wait for a commit which never comes, as what is left around them is of tests."""
        with self._lock:
            self._forget_undone()
            released = self._held.release(self._held.releasable())
            return [record.snapshot() for job_id, record in self._jobs.items() if job_id in released]

    def is_held_back(self, job_id: str) -> bool:
        """Whether a job may not run before its transaction commits."""
        with self._lock:
            return self._held.is_held_back(job_id)

    def _forget_undone(self) -> None:
        for job_id in self._held.take_undone():
            self._jobs.pop(job_id, None)

    # Looking at all of them

    def all(self) -> list[JobRecord]:
        """Return all jobs, oldest first."""
        with self._lock:
            self._forget_undone()
            return [record.snapshot() for record in self._jobs.values() if not self._held.is_hidden(record.job_id)]

    def accepted(self) -> list[JobRecord]:
        """Return all jobs as they were when they were accepted, oldest first."""
        with self._lock:
            self._forget_undone()
            return [self._accepted[job_id].snapshot() for job_id in self._jobs]

    def due(self, moment: dt.datetime) -> list[str]:
        """Return the ids of the jobs that may start by ``moment``, in the order in which they are due."""
        with self._lock:
            self._forget_undone()
            ready = [
                record
                for record in self._jobs.values()
                if record.status in WAITING
                and (record.due_time is None or record.due_time <= moment)
                and not self._held.is_held_back(record.job_id)
                and not self._state(record.task).disabled
            ]
            # The order of those that are due at the same moment is that in which they came.
            return [record.job_id for record in sorted(ready, key=lambda each: each.due_time or each.enqueue_time)]

    def clear(self) -> None:
        """Forget all jobs, and what is disabled and paused."""
        with self._lock:
            for each in (self._jobs, self._accepted, self._states, self._held):
                each.clear()

    # As the store in SQL

    async def insert(self, records: Sequence[JobRecord]) -> set[str]:
        """Store new jobs; return the ids of those that were new. Their arguments go through JSON's text."""
        with self._lock:
            self._forget_undone()
            return {record.job_id for record in records if self._insert(record)}

    def _insert(self, record: JobRecord) -> bool:
        if record.job_id in self._jobs or (self._state(record.task).disabled and not record.even_if_disabled):
            return False
        if record.unique_key is not None and self._holder(record.unique_key) is not None:
            return False
        stored = record.snapshot()
        stored.id = next(self._rows)
        stored.args, stored.kwargs, stored.options = from_json(dumps([record.args, record.kwargs, record.options]))
        self._jobs[record.job_id] = stored
        self._accepted[record.job_id] = stored.snapshot()
        return True

    def _holder(self, key: str) -> JobRecord | None:
        now = dt.datetime.now(dt.UTC)
        for record in self._jobs.values():
            if record.unique_key == key:
                if record.unique_until is None or record.unique_until > now:
                    return record
                record.unique_key = record.unique_until = None
        return None

    async def find(self, records: Sequence[JobRecord]) -> dict[str, JobRecord]:
        """Return, by the ids of ``records``, the jobs that have the same ids or else the same unique keys."""
        with self._lock:
            found = {}
            for record in records:
                known = self._jobs.get(record.job_id)
                if known is None and record.unique_key is not None:
                    known = self._holder(record.unique_key)
                if known is not None:
                    found[record.job_id] = known.snapshot()
            return found

    async def load(self, job_ids: Iterable[str], *, attempts: bool = True) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts."""
        with self._lock:
            self._forget_undone()
            return {
                job_id: self._jobs[job_id].snapshot()
                for job_id in job_ids
                if job_id in self._jobs and not self._held.is_hidden(job_id)
            }

    async def claim(self, job_ids: Sequence[str], owner: str, deaths: int = 0) -> dict[str, JobRecord]:
        """Make ``owner`` the one that runs those of ``job_ids`` that wait; return the jobs that are its now."""
        claimed = {}
        with self._lock:
            self._forget_undone()
            for job_id in job_ids:
                record = self._jobs.get(job_id)
                if record is None or record.status not in WAITING or self._state(record.task).disabled:
                    continue
                record.status, record.owner = JobStatus.in_progress, owner
                record.start_time, record.finish_time = dt.datetime.now(dt.UTC), None
                record.attempt += 1
                record.progress, record.progress_message = None, ""
                record.result = record.error_class = record.error_message = record.traceback = None
                if record.unique_key is not None and record.unique_key.startswith("s"):
                    record.unique_key = None
                claimed[job_id] = record.snapshot()
        return claimed

    async def record(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Write outcomes; return the row ids of those that took effect. Results go through JSON's text."""
        taken: set[int] = set()
        with self._lock:
            for outcome in outcomes:
                record = outcome.record
                known = self._jobs.get(record.job_id)
                if known is None or (known.status, known.attempt) != (JobStatus.in_progress, record.attempt):
                    continue
                record.result = from_json(dumps(record.result))
                stored = record.snapshot()
                if outcome.attempt is None:  # SQL has no place for what was no attempt
                    stored.owner = stored.finish_time = stored.error_message = None
                if stored.status.is_final:
                    stored.unique_key = _key_after_end(known)
                else:
                    stored.unique_key = known.unique_key
                self._jobs[record.job_id] = stored
                taken.add(stored.id or 0)
        return taken

    async def keep_attempts(self, outcomes: Sequence[Outcome]) -> None:
        """Write the attempts of jobs whose end somebody else has decided meanwhile."""
        with self._lock:
            for outcome in outcomes:
                known = self._jobs.get(outcome.record.job_id)
                if known is not None and outcome.attempt is not None:
                    known.attempts = [*known.attempts, outcome.attempt]
                    known.start_time, known.finish_time = outcome.attempt.start_time, outcome.attempt.finish_time

    async def edit(self, record: JobRecord) -> JobRecord | None:
        """Write a waiting job's arguments, retries and time to expire; None where it waits no more, or never did."""
        with self._lock:
            known = self._jobs.get(record.job_id)
            if known is None or known.status not in WAITING:
                return None
            known.args, known.kwargs = from_json(dumps([record.args, record.kwargs]))
            known.job_retry, known.job_retry_after = record.job_retry, record.job_retry_after
            known.expire_time = record.expire_time
            return known.snapshot()

    async def cancel(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Cancel those of ``job_ids`` that are not final; return them."""
        with self._lock:
            self._forget_undone()
            return {
                job_id: self._canceled(self._jobs[job_id])
                for job_id in dict.fromkeys(job_ids)
                if job_id in self._jobs and not self._held.is_hidden(job_id) and not self._jobs[job_id].status.is_final
            }

    async def cancel_task(self, task: str, limit: int) -> list[JobRecord]:
        """Cancel up to ``limit`` jobs of ``task`` that are not final, oldest first; return them."""
        with self._lock:
            self._forget_undone()
            found = [record for record in self._jobs.values() if record.task == task and not record.status.is_final]
            return [self._canceled(record) for record in found[:limit]]

    def _canceled(self, record: JobRecord) -> JobRecord:
        was_running = record.status is JobStatus.in_progress
        record.status, record.unique_key = JobStatus.canceled, _key_after_end(record)
        if not was_running:
            record.owner = None
        return record.snapshot()

    async def note_progress(self, records: Sequence[JobRecord]) -> None:
        """Write how far running jobs are; of those that run no more nothing is written."""
        with self._lock:
            for record in records:
                known = self._jobs.get(record.job_id)
                if known is not None and (known.status, known.attempt) == (JobStatus.in_progress, record.attempt):
                    known.progress, known.progress_message = record.progress, record.progress_message

    async def disable(self, task: str) -> None:
        """Let no job of ``task`` start, and none be enqueued unless it says so."""
        self._keep(replace(self._state(task), disabled=True))

    async def enable(self, task: str) -> None:
        """Undo `disable`."""
        self._keep(replace(self._state(task), disabled=False))

    async def pause(self, task: str) -> None:
        """Note that the schedule of ``task`` is paused."""
        self._keep(replace(self._state(task), paused=True))

    async def resume(self, task: str) -> None:
        """Undo `pause`."""
        self._keep(replace(self._state(task), paused=False))

    def _keep(self, state: TaskState) -> None:
        self._states[state.name] = state

    def _state(self, task: str) -> TaskState:
        return self._states.get(task) or TaskState(task)

    async def task_states(self) -> dict[str, TaskState]:
        """Return what is known of tasks, by name."""
        return dict(self._states)

    async def disabled(self) -> set[str]:
        """Return the names of disabled tasks."""
        return {state.name for state in list(self._states.values()) if state.disabled}

    async def paused(self) -> set[str]:
        """Return the names of tasks whose schedules are paused."""
        return {state.name for state in list(self._states.values()) if state.paused}

    async def page(self, *, after_id: int, limit: int, since: dt.datetime | None = None) -> list[JobRecord]:
        """Return up to ``limit`` jobs after row ``after_id``, oldest first, with their attempts."""
        found = [
            record
            for record in self.all()
            if (record.id or 0) > after_id and (since is None or record.enqueue_time >= since)
        ]
        return found[:limit]

    async def open_page(self, *, after_id: int, limit: int) -> list[OpenJob]:
        """Return up to ``limit`` jobs after row ``after_id`` that are not final, oldest first."""
        return [
            OpenJob(
                record.id or 0, record.job_id, record.task, record.queue, record.status,
                record.enqueue_time, record.due_time, record.owner,
            )
            for record in self.all()
            if not record.status.is_final and (record.id or 0) > after_id
        ][:limit]  # fmt: skip

    async def open_counts(self) -> list[OpenCount]:
        """Return how many jobs are not final, by task, queue and status."""
        counts = Counter(
            (record.task, record.queue, record.status) for record in self.all() if not record.status.is_final
        )
        return [OpenCount(*key, number) for key, number in counts.items()]

    async def open_among(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of ``job_ids`` that are not final."""
        return {job_id for job_id, record in (await self.load(job_ids)).items() if not record.status.is_final}

    async def old_page(self, cutoff: dt.datetime, *, after: OldJob | None, limit: int) -> list[OldJob]:
        """Return up to ``limit`` jobs enqueued before ``cutoff`` and after ``after``, oldest first."""
        return [
            OldJob(
                record.id or 0,
                record.enqueue_time.isoformat(),
                record.status.is_final and (record.finish_time or cutoff) <= cutoff,
            )
            for record in self.all()
            if record.enqueue_time < cutoff and (after is None or (record.id or 0) > after.id)
        ][:limit]

    async def count_attempts(self, ids: Sequence[int]) -> int:
        """Return how many attempts the jobs of these rows had."""
        return sum(len(record.attempts) for record in self.all() if record.id in ids)

    async def delete_attempts(self, ids: Sequence[int], limit: int) -> int:
        """Delete the attempts of the jobs of these rows; return how many."""
        count = await self.count_attempts(ids)
        with self._lock:
            for record in self._jobs.values():
                if record.id in ids:
                    record.attempts = []
        return count

    async def delete_jobs(self, ids: Sequence[int]) -> int:
        """Delete those of these rows that are final; return how many."""
        with self._lock:
            gone = [key for key, record in self._jobs.items() if record.id in ids and record.status.is_final]
            for job_id in gone:
                del self._jobs[job_id]
            return len(gone)

    async def kept(self, job_ids: Iterable[str], cutoff: dt.datetime) -> set[str]:
        """Return those of ``job_ids`` whose jobs exist, and are not among those that ended before ``cutoff``."""
        found = await self.load(job_ids)
        return {
            job_id
            for job_id, record in found.items()
            if not (record.status.is_final and (record.finish_time or record.enqueue_time) < cutoff)
        }

    async def answers(self) -> bool:
        """Whether jobs can be kept: always."""
        return True


def _key_after_end(record: JobRecord) -> str | None:
    return record.unique_key if record.unique_key is not None and record.unique_key.startswith("t") else None
