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
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.serialization import dumps
from django_cfg_tasks.store import schema
from django_cfg_tasks.store.connection import (
    Connection,
    Target,
    is_missing_table,
    is_outage,
    is_refusal,
    target_of_django,
    target_of_url,
)
from django_cfg_tasks.store.rows import (
    EPOCH,
    OldJob,
    OpenJob,
    Outcome,
    add_attempt,
    insert_document,
    open_job_of,
    outcome_row,
    record_of,
    written_moment,
)
from django_cfg_tasks.store.statements import STATEMENTS

__all__ = [
    "OldJob",
    "OpenJob",
    "Outcome",
    "Store",
    "Target",
    "insert_through_django",
    "is_outage",
    "is_refusal",
    "load_through_django",
    "target_of_django",
    "target_of_url",
]

NO_LIMIT = 2**31 - 1
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
                await self.connection.drive(schema.ensure(self.target.vendor))
            self._prepared = True

    async def _execute(self, sql: str, params: list[Any]) -> list[dict[str, Any]]:
        if not self._prepared:
            await self._prepare()
        try:
            return await self.connection.execute(sql, params)
        except Exception as error:
            if is_missing_table(error):
                raise self._not_migrated() from error
            raise

    def _not_migrated(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.target.name} lacks the tables that hold jobs, or some of their columns. "
            "Run: python manage.py migrate tasks"
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.connection.close()

    async def insert(self, records: Sequence[JobRecord]) -> set[str]:
        """Store new jobs in one statement; return the ids of those that were new."""
        rows = await self._execute(self._sql.insert, [insert_document(records)])
        return {row["job_id"] for row in rows}

    async def load(self, job_ids: Iterable[str], *, attempts: bool = False) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts if asked for."""
        rows = await self._execute(self._sql.select, [dumps(list(job_ids))])
        records = [record_of(row) for row in rows]
        if attempts:
            await self._load_attempts(records)
        return {record.job_id: record for record in records}

    async def claim(self, job_ids: Sequence[str], owner: str, deaths: int = NO_LIMIT) -> dict[str, JobRecord]:
        """Make ``owner`` the one that runs those of ``job_ids`` that wait; return the jobs that are its now.

        Jobs over which ``deaths`` workers or more have died stay as they are.
        """
        now = dt.datetime.now(dt.UTC).isoformat(sep=" ")
        rows = await self._execute(self._sql.claim, [owner, now, dumps(list(job_ids)), str(deaths)])
        records = [record_of(row) for row in rows]
        await self._load_attempts([record for record in records if record.attempt > 1])
        return {record.job_id: record for record in records}

    async def record(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Write outcomes and attempts in one transaction; return the row ids of those that took effect."""
        document = dumps([outcome_row(outcome) for outcome in outcomes])
        if self._sql.record is not None:
            rows = await self._execute(self._sql.record, [document])
            return {row["id"] for row in rows}
        async with self.connection.transaction() as run:
            taken = [row["id"] for row in await run(self._sql.update, [document])]
            await run(self._sql.insert_results, [document, dumps(taken)])
        return set(taken)

    async def cancel(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Cancel those of ``job_ids`` that are not final; return them."""
        rows = await self._execute(self._sql.cancel, [dumps(list(job_ids))])
        records = [record_of(row) for row in rows]
        await self._load_attempts(records)
        return {record.job_id: record for record in records}

    async def page(self, *, after_id: int, limit: int, since: dt.datetime | None = None) -> list[JobRecord]:
        """Return up to ``limit`` jobs after row ``after_id``, oldest first, with their attempts."""
        earliest = (since or EPOCH).astimezone(dt.UTC).isoformat(sep=" ")
        as_text = self.target.vendor == "postgresql"
        params = [str(after_id), earliest, str(limit)] if as_text else [after_id, earliest, limit]
        records = [record_of(row) for row in await self._execute(self._sql.page, params)]
        await self._load_attempts(records)
        return records

    async def open_page(self, *, after_id: int, limit: int) -> list[OpenJob]:
        """Return up to ``limit`` jobs after row ``after_id`` that are not final, oldest first."""
        as_text = self.target.vendor == "postgresql"
        rows = await self._execute(self._sql.open_page, [str(after_id), str(limit)] if as_text else [after_id, limit])
        return [open_job_of(row) for row in rows]

    async def open_among(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of ``job_ids`` that are not final."""
        return {row["job_id"] for row in await self._execute(self._sql.open_ids, [dumps(list(job_ids))])}

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
        cursor = [after.enqueued, str(after.id)] if after is not None else [written_moment(_BEGINNING), "0"]
        rows = await self._execute(self._sql.old, [moment, moment, moment, *cursor, moment, str(limit)])
        return [OldJob(row["id"], str(row["enqueue_time"]), bool(row["ended"])) for row in rows]

    async def count_attempts(self, ids: Sequence[int]) -> int:
        """Return how many attempts the jobs of these rows had."""
        return int((await self._execute(self._sql.count_results, [dumps(list(ids))]))[0]["number"])

    async def delete_attempts(self, ids: Sequence[int], limit: int) -> int:
        """Delete up to ``limit`` attempts of the jobs of these rows; return how many."""
        return len(await self._execute(self._sql.delete_results, [dumps(list(ids)), str(limit)]))

    async def delete_jobs(self, ids: Sequence[int]) -> int:
        """Delete those of these rows that are final and have no attempts left; return how many."""
        return len(await self._execute(self._sql.delete_jobs, [dumps(list(ids))]))

    async def kept(self, job_ids: Iterable[str], cutoff: dt.datetime) -> set[str]:
        """Return those of ``job_ids`` whose jobs exist, and are not among those that ended before ``cutoff``."""
        rows = await self._execute(self._sql.kept, [dumps(list(job_ids)), *[written_moment(cutoff)] * 4])
        return {row["job_id"] for row in rows}

    async def answers(self) -> bool:
        """Ask the database for both tables with all of their columns; False if it lacks some. It only reads."""
        return await self.connection.ask(schema.is_complete(self.target.vendor))


def insert_through_django(records: Sequence[JobRecord], alias: str) -> set[str]:
    """Store new jobs through Django's connection, in its open transaction; return the ids that were new."""
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(STATEMENTS[connection.vendor].insert, [insert_document(records)])
        return {row[0] for row in cursor.fetchall()}


def load_through_django(job_ids: Iterable[str], alias: str) -> dict[str, JobRecord]:
    """Return the jobs among ``job_ids`` as Django's open transaction sees them."""
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(STATEMENTS[connection.vendor].select, [dumps(list(job_ids))])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {row["job_id"]: record_of(row) for row in rows}
