"""The only room that touches ReArq's tables, which hold the truth about every job.

Async through Tortoise's connection on the home loop; inside a Django transaction through Django's own. What
it raises when the database is out of reach is StoreUnavailableError: nothing was lost, try again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg_tasks.exceptions import ConfigurationError
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
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
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_BEGINNING = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(slots=True)
class Outcome:
    """What became of one attempt: the job as it is now, and what is kept of the attempt.

    ``record.attempt`` is the fence: the outcome takes effect only while that attempt still owns the job.
    ``attempt`` is None for a job that was claimed and put back before it started.
    """

    record: JobRecord
    attempt: Attempt | None
    msg_id: str


@dataclass(frozen=True, slots=True)
class OpenJob:
    """What the sweeper wants to know of a job that is not final."""

    id: int
    job_id: str
    task: str
    queue: str
    status: JobStatus
    enqueue_time: dt.datetime
    due_time: dt.datetime | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class OldJob:
    """What retention wants to know of a job: its row, where it is in time, whether it ended long enough ago."""

    id: int
    enqueued: str
    """As the database wrote it."""
    ended: bool


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
        elif not await self.connection.drive(schema.is_complete(self.target.vendor)):
            raise self._not_migrated()

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._prepared:
                return
            if not await self.connection.drive(schema.is_complete(self.target.vendor)):
                await self.connection.drive(schema.ensure(self.target.vendor), lock=True)
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
        rows = await self._execute(self._sql.insert, [_document(records)])
        return {row["job_id"] for row in rows}

    async def load(self, job_ids: Iterable[str], *, attempts: bool = False) -> dict[str, JobRecord]:
        """Return the jobs that exist among ``job_ids``, with their attempts if asked for."""
        rows = await self._execute(self._sql.select, [dumps(list(job_ids))])
        records = [_record(row) for row in rows]
        if attempts:
            await self._load_attempts(records)
        return {record.job_id: record for record in records}

    async def claim(self, job_ids: Sequence[str], owner: str, deaths: int = NO_LIMIT) -> dict[str, JobRecord]:
        """Make ``owner`` the one that runs those of ``job_ids`` that wait; return the jobs that are its now.

        Jobs over which ``deaths`` workers or more have died stay as they are.
        """
        now = dt.datetime.now(dt.UTC).isoformat(sep=" ")
        rows = await self._execute(self._sql.claim, [owner, now, dumps(list(job_ids)), str(deaths)])
        records = [_record(row) for row in rows]
        await self._load_attempts([record for record in records if record.attempt > 1])
        return {record.job_id: record for record in records}

    async def record(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Write outcomes and attempts in one transaction; return the row ids of those that took effect."""
        document = dumps([_outcome_row(outcome) for outcome in outcomes])
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
        records = [_record(row) for row in rows]
        await self._load_attempts(records)
        return {record.job_id: record for record in records}

    async def page(self, *, after_id: int, limit: int, since: dt.datetime | None = None) -> list[JobRecord]:
        """Return up to ``limit`` jobs after row ``after_id``, oldest first, with their attempts."""
        earliest = (since or _EPOCH).astimezone(dt.UTC).isoformat(sep=" ")
        as_text = self.target.vendor == "postgresql"
        params = [str(after_id), earliest, str(limit)] if as_text else [after_id, earliest, limit]
        records = [_record(row) for row in await self._execute(self._sql.page, params)]
        await self._load_attempts(records)
        return records

    async def open_page(self, *, after_id: int, limit: int) -> list[OpenJob]:
        """Return up to ``limit`` jobs after row ``after_id`` that are not final, oldest first."""
        as_text = self.target.vendor == "postgresql"
        rows = await self._execute(self._sql.open_page, [str(after_id), str(limit)] if as_text else [after_id, limit])
        return [_open_job(row) for row in rows]

    async def open_among(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of ``job_ids`` that are not final."""
        return {row["job_id"] for row in await self._execute(self._sql.open_ids, [dumps(list(job_ids))])}

    async def _load_attempts(self, records: Sequence[JobRecord]) -> None:
        if not records:
            return
        rows = await self._execute(self._sql.results, [dumps([record.id for record in records])])
        by_id = {record.id: record for record in records}
        for row in rows:
            _add_attempt(by_id[row["job_id"]], row)

    async def old_page(self, cutoff: dt.datetime, *, after: OldJob | None, limit: int) -> list[OldJob]:
        """Return up to ``limit`` jobs enqueued before ``cutoff`` and after ``after``, oldest first."""
        moment = _moment(cutoff)
        cursor = [after.enqueued, str(after.id)] if after is not None else [_moment(_BEGINNING), "0"]
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
        rows = await self._execute(self._sql.kept, [dumps(list(job_ids)), *[_moment(cutoff)] * 4])
        return {row["job_id"] for row in rows}

    async def answers(self) -> bool:
        """Ask the database for both tables with all of their columns; False if it lacks some. It only reads."""
        try:
            for sql in (self._sql.select, self._sql.results):
                await self.connection.execute(sql, [dumps([])])
        except Exception as error:
            if is_missing_table(error):
                return False
            raise
        return True


def insert_through_django(records: Sequence[JobRecord], alias: str) -> set[str]:
    """Store new jobs through Django's connection, in its open transaction; return the ids that were new."""
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(STATEMENTS[connection.vendor].insert, [_document(records)])
        return {row[0] for row in cursor.fetchall()}


def load_through_django(job_ids: Iterable[str], alias: str) -> dict[str, JobRecord]:
    """Return the jobs among ``job_ids`` as Django's open transaction sees them."""
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(STATEMENTS[connection.vendor].select, [dumps(list(job_ids))])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {row["job_id"]: _record(row) for row in rows}


def _document(records: Sequence[JobRecord]) -> str:
    return dumps(
        [
            {
                "task": record.task,
                "args": record.args,
                "kwargs": record.kwargs,
                "job_retry": record.job_retry,
                "job_retries": record.job_retries,
                "job_retry_after": record.job_retry_after,
                "job_id": record.job_id,
                "enqueue_time": _written(record.enqueue_time),
                "expire_time": _written(record.expire_time),
                "status": record.status,
                "queue": record.queue,
                "due_time": _written(record.due_time),
                "options": record.options,
                "attempt": 0,
                "deliveries": 0,
            }
            for record in records
        ]
    )


def _outcome_row(outcome: Outcome) -> dict[str, Any]:
    record, attempt = outcome.record, outcome.attempt
    row: dict[str, Any] = {
        "id": record.id,
        "attempt": record.attempt,
        "status": record.status,
        "job_retries": record.job_retries,
        "due_time": _written(record.due_time),
        "deliveries": record.deliveries,
        "msg_id": outcome.msg_id,
        "keep_attempt": attempt is not None,
    }
    if attempt is not None:
        succeeded = attempt.outcome is AttemptOutcome.success
        row |= {
            "worker": attempt.worker,
            "success": succeeded,
            "result": dumps(record.result) if succeeded else _clean(attempt.error_message),
            "start_time": _written(attempt.start_time),
            "finish_time": _written(attempt.finish_time),
            "outcome": attempt.outcome,
            "error_class": (_clean(attempt.error_class) or "")[:255] or None,
            "error_message": _clean(attempt.error_message),
            "traceback": _clean(attempt.traceback),
        }
    return row


def _clean(text: str | None) -> str | None:
    """Replace what SQL databases can't store: NUL and broken Unicode."""
    if text is None or (text.isascii() and "\x00" not in text):
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _record(row: Mapping[str, Any]) -> JobRecord:
    return JobRecord(
        id=row["id"],
        job_id=row["job_id"],
        task=row["task"],
        queue=row["queue"] or "",
        args=_parsed(row["args"]) or [],
        kwargs=_parsed(row["kwargs"]) or {},
        status=JobStatus(row["status"]),
        job_retry=row["job_retry"],
        job_retries=row["job_retries"],
        job_retry_after=row["job_retry_after"],
        enqueue_time=_read(row["enqueue_time"]) or _EPOCH,
        expire_time=_read(row["expire_time"]),
        due_time=_read(row["due_time"]),
        start_time=_read(row["start_time"]),
        owner=row["owner"],
        attempt=row["attempt"] or 0,
        deliveries=row["deliveries"] or 0,
        options=_parsed(row["options"]) or {},
    )


def _open_job(row: Mapping[str, Any]) -> OpenJob:
    return OpenJob(
        id=row["id"],
        job_id=row["job_id"],
        task=row["task"],
        queue=row["queue"] or "",
        status=JobStatus(row["status"]),
        enqueue_time=_read(row["enqueue_time"]) or _EPOCH,
        due_time=_read(row["due_time"]),
        owner=row["owner"],
    )


def _add_attempt(record: JobRecord, row: Mapping[str, Any]) -> None:
    """Add one stored attempt; the last one also tells how the job stands."""
    success = bool(row["success"])
    # ReArq's own workers wrote no outcome.
    outcome = AttemptOutcome(row["outcome"] or ("success" if success else "failed"))
    message = row["error_message"] if row["outcome"] else (None if success else row["result"])
    attempt = Attempt(
        number=row["attempt"] or len(record.attempts) + 1,
        worker=row["worker"],
        start_time=_read(row["start_time"]),
        finish_time=_read(row["finish_time"]),
        outcome=outcome,
        error_class=row["error_class"],
        error_message=message,
        traceback=row["traceback"],
    )
    record.attempts.append(attempt)
    if record.status is JobStatus.in_progress:
        return
    record.start_time, record.finish_time = attempt.start_time, attempt.finish_time
    record.owner = attempt.worker
    record.error_class, record.error_message, record.traceback = (
        attempt.error_class,
        message,
        attempt.traceback,
    )
    if success:
        record.result = _parsed_result(row["result"])


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str | bytes) else value


def _parsed_result(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        # ReArq's own workers wrote str(result).
        return text


def _written(moment: dt.datetime | None) -> str | None:
    return _moment(moment) if moment is not None else None


def _moment(moment: dt.datetime) -> str:
    """Write a time so that text order is time order, as Tortoise writes it in SQLite."""
    return moment.astimezone(dt.UTC).isoformat(sep=" ")


def _read(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
