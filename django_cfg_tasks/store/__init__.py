"""The only room that touches ReArq's tables, which hold the truth about every job.

Async through Tortoise's connection on the home loop; inside a Django transaction through Django's own. What
it raises when the database is out of reach is StoreUnavailableError: nothing was lost, try again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django_cfg_tasks.exceptions import ConfigurationError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.serialization import dumps
from django_cfg_tasks.store import schema
from django_cfg_tasks.store.connection import Connection
from django_cfg_tasks.store.dialects import STATEMENTS
from django_cfg_tasks.store.errors import is_deadlock, is_missing_table, is_outage, is_refusal
from django_cfg_tasks.store.held import HELD_VENDORS, HeldConnection
from django_cfg_tasks.store.outbox import disabled_through_django, find_through_django, insert_through_django
from django_cfg_tasks.store.rows import (
    EPOCH,
    OldJob,
    OpenCount,
    OpenJob,
    Outcome,
    TaskState,
    add_attempt,
    by_unique_key,
    ending_keys,
    firings_document,
    insert_document,
    keyed,
    open_job_of,
    outcome_document,
    progress_document,
    record_of,
    successes_among,
    task_state_of,
    whole_record_of,
    written_moment,
)
from django_cfg_tasks.store.statements import Procedure, Statement
from django_cfg_tasks.store.steps import Rows
from django_cfg_tasks.store.target import Target, missing_driver, target_of_django, target_of_url

__all__ = [
    "HELD_VENDORS",
    "HeldConnection",
    "OldJob",
    "OpenCount",
    "OpenJob",
    "Outcome",
    "Store",
    "Target",
    "TaskState",
    "disabled_through_django",
    "find_through_django",
    "insert_through_django",
    "is_outage",
    "is_refusal",
    "missing_driver",
    "target_of_django",
    "target_of_url",
]

NO_LIMIT = 2**31 - 1
DEADLOCK_TRIES = 3
"""How often a statement is tried that the database ended so that another could go on."""
_BEGINNING = dt.datetime.min.replace(tzinfo=dt.UTC)


class Store:
    """The jobs of one database."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.connection = Connection(target)
        self._sql = STATEMENTS[target.vendor]
        self._prepared = target.in_django
        self._preparing = asyncio.Lock()

    async def prepare(self) -> None:
        """Make or extend the tables, safe in many processes at once; in Django's database only look at them.

        ConfigurationError where Django's database has not been migrated.
        """
        if not self.target.in_django:
            await self._prepare()
        elif not await self.answers():
            raise self._not_migrated()

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._prepared:
                return
            if not await self.answers():
                await self.connection.drive_alone(schema.ensure(self.target.vendor))
            self._prepared = True

    async def _execute(self, sql: Statement, params: Sequence[Any]) -> Rows:
        if not self._prepared:
            await self._prepare()
        tries = DEADLOCK_TRIES
        while True:
            try:
                if isinstance(sql, Procedure):
                    drive = self.connection.drive if sql.needs_transaction(params) else self.connection.ask
                    return await drive(sql.steps(params))
                return await self.connection.execute(sql, params)
            except Exception as error:
                if is_missing_table(error):
                    raise self._not_migrated() from error
                tries -= 1
                if not tries or not is_deadlock(error):
                    raise

    def _number(self, value: int) -> int | str:
        """Return a number as the statements take it: PostgreSQL's take text, and say so."""
        return str(value) if self.target.vendor == "postgresql" else value

    def _not_migrated(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.target.name} lacks the tables that hold jobs, or some of their columns. "
            "Run: python manage.py migrate tasks"
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.connection.close()

    async def insert(self, records: Sequence[JobRecord]) -> set[str]:
        """Store new jobs in one statement; return the ids of those that were new.

        The others have the id or the unique key of a job that is there, or their tasks are disabled.
        """
        if ending := ending_keys(records):
            await self._execute(self._sql.end_unique, [written_moment(dt.datetime.now(dt.UTC)), dumps(ending)])
        rows = await self._execute(self._sql.insert, [insert_document(records)])
        return {row["job_id"] for row in rows}

    async def find(self, records: Sequence[JobRecord]) -> dict[str, JobRecord]:
        """Return, by the ids of ``records``, the jobs that have the same ids or else the same unique keys."""
        found = await self.load([record.job_id for record in records], attempts=True)
        if others := keyed(records, found):
            rows = await self._execute(self._sql.select_unique, [dumps([record.unique_key for record in others])])
            holders = [record_of(row) for row in rows]
            await self._load_attempts(holders)
            found |= by_unique_key(others, holders)
        return found

    async def load(self, job_ids: Iterable[str], *, attempts: bool = False) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts if asked for."""
        if attempts and self._sql.select_whole is not None:
            rows = await self._execute(self._sql.select_whole, [_array(job_ids)])
            return {row["job_id"]: whole_record_of(row) for row in rows}
        records = [record_of(row) for row in await self._execute(self._sql.select, [_array(job_ids)])]
        if attempts:
            await self._load_attempts(records)
        return {record.job_id: record for record in records}

    async def claim(self, job_ids: Sequence[str], owner: str, deaths: int = NO_LIMIT) -> dict[str, JobRecord]:
        """Make ``owner`` the one that runs those of ``job_ids`` that wait; return the jobs that are its now.

        Jobs over which ``deaths`` workers or more have died stay as they are.
        """
        now = dt.datetime.now(dt.UTC).isoformat(sep=" ")
        rows = await self._execute(self._sql.claim, [owner, now, _array(job_ids), self._number(deaths)])
        records = [record_of(row) for row in rows]
        await self._load_attempts([record for record in records if record.attempt > 1])
        return {record.job_id: record for record in records}

    async def record(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Write outcomes, each together with its attempt; return the row ids of those that took effect."""
        taken: set[int] = set()
        if self._sql.record_successes is not None:
            successes, outcomes = successes_among(outcomes)
            if successes:
                taken = {row["id"] for row in await self._execute(self._sql.record_successes, successes)}
        if outcomes:
            taken |= {row["id"] for row in await self._execute(self._sql.record, [outcome_document(outcomes)])}
        return taken

    async def keep_attempts(self, outcomes: Sequence[Outcome]) -> None:
        """Write the attempts of jobs whose end somebody else has decided meanwhile; one that is written stays."""
        document = outcome_document(outcomes)
        await self._execute(self._sql.insert_results, [document, dumps([outcome.record.id for outcome in outcomes])])

    async def edit(self, record: JobRecord) -> JobRecord | None:
        """Write a waiting job's arguments, retries and time to expire; None where it waits no more, or never did."""
        expire = written_moment(record.expire_time) if record.expire_time is not None else None
        numbers = self._number(record.job_retry), self._number(record.job_retry_after)
        rows = await self._execute(
            self._sql.edit, [dumps(record.args), dumps(record.kwargs), *numbers, expire, record.job_id]
        )
        records = [record_of(row) for row in rows]
        await self._load_attempts(records)
        return records[0] if records else None

    async def cancel(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Cancel those of ``job_ids`` that are not final; return them."""
        rows = await self._execute(self._sql.cancel, [_array(job_ids)])
        records = [record_of(row) for row in rows]
        await self._load_attempts(records)
        return {record.job_id: record for record in records}

    async def cancel_task(self, task: str, limit: int) -> list[JobRecord]:
        """Cancel up to ``limit`` jobs of ``task`` that are not final, oldest first; return them."""
        rows = await self._execute(self._sql.cancel_task, [task, self._number(limit)])
        records = [record_of(row) for row in rows]
        await self._load_attempts(records)
        return records

    async def note_progress(self, records: Sequence[JobRecord]) -> None:
        """Write how far running jobs are; of those that run no more, or elsewhere, nothing is written."""
        await self._execute(self._sql.progress, [progress_document(records)])

    async def disable(self, task: str) -> None:
        """Let no job of ``task`` start, and none be enqueued unless it says so."""
        await self._execute(self._sql.disable, [written_moment(dt.datetime.now(dt.UTC)), task])

    async def enable(self, task: str) -> None:
        """Undo `disable`."""
        await self._execute(self._sql.enable, [task])

    async def pause(self, task: str) -> None:
        """Let timers leave out the due times of ``task``."""
        await self._execute(self._sql.pause, [written_moment(dt.datetime.now(dt.UTC)), task])

    async def resume(self, task: str) -> None:
        """Undo `pause`."""
        await self._execute(self._sql.resume, [task])

    async def task_states(self) -> dict[str, TaskState]:
        """Return what is known of tasks, by name; of most there is nothing to know."""
        return {row["name"]: task_state_of(row) for row in await self._execute(self._sql.tasks, [])}

    async def disabled(self) -> set[str]:
        """Return the names of disabled tasks."""
        return {state.name for state in (await self.task_states()).values() if state.disabled}

    async def paused(self) -> set[str]:
        """Return the names of tasks whose schedules are paused."""
        return {state.name for state in (await self.task_states()).values() if state.paused}

    async def note_firings(self, states: Sequence[TaskState]) -> None:
        """Keep up to when timers have seen to the due times of cron tasks; an earlier moment changes nothing."""
        await self._execute(self._sql.note_firings, [firings_document(states)])

    async def page(self, *, after_id: int, limit: int, since: dt.datetime | None = None) -> list[JobRecord]:
        """Return up to ``limit`` jobs after row ``after_id``, oldest first, with their attempts."""
        earliest = (since or EPOCH).astimezone(dt.UTC).isoformat(sep=" ")
        params = [self._number(after_id), earliest, self._number(limit)]
        records = [record_of(row) for row in await self._execute(self._sql.page, params)]
        await self._load_attempts(records)
        return records

    async def open_page(self, *, after_id: int, limit: int) -> list[OpenJob]:
        """Return up to ``limit`` jobs after row ``after_id`` that are not final, oldest first."""
        rows = await self._execute(self._sql.open_page, [self._number(after_id), self._number(limit)])
        return [open_job_of(row) for row in rows]

    async def open_counts(self) -> list[OpenCount]:
        """Return how many jobs are not final, by task, queue and status."""
        rows = await self._execute(self._sql.open_counts, [])
        return [OpenCount(row["task"], row["queue"] or "", JobStatus(row["status"]), row["number"]) for row in rows]

    async def open_among(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of ``job_ids`` that are not final."""
        return {row["job_id"] for row in await self._execute(self._sql.open_ids, [_array(job_ids)])}

    async def _load_attempts(self, records: Sequence[JobRecord]) -> None:
        if not records:
            return
        rows = await self._execute(self._sql.results, [dumps([record.id for record in records])])
        by_id = {record.id: record for record in records}
        for row in rows:
            add_attempt(by_id[row["job_id"]], row)

    async def old_page(self, cutoff: dt.datetime, *, after: OldJob | None, limit: int) -> list[OldJob]:
        """Return up to ``limit`` jobs enqueued before ``cutoff`` and after ``after``, oldest first."""
        moment = written_moment(cutoff)
        since, after_id = (after.enqueued, after.id) if after is not None else (written_moment(_BEGINNING), 0)
        params = [moment, moment, moment, since, self._number(after_id), moment, self._number(limit)]
        rows = await self._execute(self._sql.old, params)
        return [OldJob(row["id"], str(row["enqueue_time"]), bool(row["ended"])) for row in rows]

    async def count_attempts(self, ids: Sequence[int]) -> int:
        """Return how many attempts the jobs of these rows had."""
        return int((await self._execute(self._sql.count_results, [dumps(list(ids))]))[0]["number"])

    async def delete_attempts(self, ids: Sequence[int], limit: int) -> int:
        """Delete up to ``limit`` attempts of the jobs of these rows; return how many."""
        return len(await self._execute(self._sql.delete_results, [dumps(list(ids)), self._number(limit)]))

    async def delete_jobs(self, ids: Sequence[int]) -> int:
        """Delete those of these rows that are final and have no attempts left; return how many."""
        return len(await self._execute(self._sql.delete_jobs, [dumps(list(ids))]))

    async def kept(self, job_ids: Iterable[str], cutoff: dt.datetime) -> set[str]:
        """Return those of ``job_ids`` whose jobs exist, and are not among those that ended before ``cutoff``."""
        rows = await self._execute(self._sql.kept, [_array(job_ids), *[written_moment(cutoff)] * 4])
        return {row["job_id"] for row in rows}

    async def answers(self) -> bool:
        """Ask the database for both tables with all of their columns; False if it lacks some. It only reads."""
        return await self.connection.ask(schema.is_complete(self.target.vendor))


def _array(job_ids: Iterable[str]) -> str:
    return dumps(list(dict.fromkeys(job_ids)))
