"""The short way for good ends: what changes in the row of a job that has succeeded at once, and the SQL that writes it.

Most of what a recorder writes tells just that, of a job whose row is there. An update of these columns costs half of
what the whole row does. PostgreSQL and SQLite; MySQL could not tell which rows it found.
"""

# ruff: noqa: S608 - SQL is put together from constants, values are parameters

from __future__ import annotations

import datetime as dt
import functools
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from pydantic_core import to_json

from django_cfg_tasks.jobs import FINAL_REVISION, JobRecord, JobStatus
from django_cfg_tasks.masking import mask
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder.rows import DATA_ERRORS, as_json, attempts_of, fitting, is_open, moment_of


class End(NamedTuple):
    """What the row of a job that has succeeded has of its own; the rest is the same for all of them."""

    job_id: str
    worker_id: str
    result: str | None
    attempts: list[dict[str, Any]]
    start_time: dt.datetime | None
    finish_time: dt.datetime | None
    duration_ms: int | None


_TABLE = f'"{TaskLog._meta.db_table}"'
_FIRST_RUN = 1  # the revision of a job whose first run is under way
_SUCCEEDED = f"status = '{JobStatus.success.value}', success = true, revision = {FINAL_REVISION}"
# Column by column: a document of rows would have each name in each row.
_IN_POSTGRESQL = (
    "WITH new AS MATERIALIZED (SELECT json_array_elements_text(%s::json) AS job_id, "
    "json_array_elements_text(%s::json) AS worker_id, json_array_elements_text(%s::json) AS result, "
    "json_array_elements(%s::json) AS attempts, json_array_elements_text(%s::json) AS start_time, "
    "json_array_elements_text(%s::json) AS finish_time, json_array_elements_text(%s::json) AS duration_ms) "
    f"UPDATE {_TABLE} AS log SET {_SUCCEEDED}, updated_at = %s, worker_id = new.worker_id, "
    "result = new.result::jsonb, attempts = new.attempts::jsonb, start_time = new.start_time::timestamptz, "
    "finish_time = new.finish_time::timestamptz, duration_ms = new.duration_ms::bigint "
    f"FROM new WHERE log.job_id = new.job_id AND log.revision <= {_FIRST_RUN} RETURNING log.job_id"
)
# One step for all rows: at each the thread gives up Python's lock, and must come by it again.
_READ = ", ".join(f"json_extract(value, '$[{number}]') AS {name}" for number, name in enumerate(End._fields))  # noqa: SLF001
_IN_SQLITE = (
    f"UPDATE {_TABLE} SET {_SUCCEEDED}, updated_at = %s, worker_id = new.worker_id, result = new.result, "
    "attempts = new.attempts, start_time = new.start_time, finish_time = new.finish_time, "
    f"duration_ms = new.duration_ms FROM (SELECT {_READ} FROM json_each(%s)) AS new "
    f"WHERE {_TABLE}.job_id = new.job_id AND {_TABLE}.revision <= {_FIRST_RUN}"
)
_ENDED_IN_SQLITE = (
    f"SELECT job_id FROM {_TABLE} WHERE job_id IN (SELECT value FROM json_each(%s)) AND revision = {FINAL_REVISION}"
)


def ends_of(records: Iterable[JobRecord]) -> list[End]:
    """Return the ends of those jobs that have succeeded at once, but for those where more may have changed.

    That may be where there was an attempt before, or progress, and where arguments are hidden by what only those know
    who know the task: whoever wrote the row may not have been one of them.
    """
    is_plain = functools.cache(is_open)
    ends = []
    for record in records:
        if record.status is not JobStatus.success or not record.attempt == len(record.attempts) == 1:
            continue
        if record.progress is not None or not is_plain(record.task):
            continue
        with suppress(*DATA_ERRORS):  # its whole row is looked at, and what is wrong with it said then
            ends.append(_end(record))
    return ends


def _end(record: JobRecord) -> End:
    return End(
        record.job_id,
        worker_id=fitting("worker_id", record.owner or record.attempts[0].worker),
        result=as_json(mask(record.result)),
        attempts=attempts_of(record.attempts),
        start_time=moment_of(record.start_time),
        finish_time=moment_of(record.finish_time),
        duration_ms=record.duration_ms,
    )


# Both write into rows that are there and tell of no more than a first run, and return the ids of those jobs.


def _write_in_postgresql(connection: BaseDatabaseWrapper, ends: Sequence[End]) -> set[str]:
    columns = [to_json(column).decode() for column in zip(*ends, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(_IN_POSTGRESQL, [*columns, moment_of(timezone.now())])
        return {job_id for (job_id,) in cursor.fetchall()}


def _write_in_sqlite(connection: BaseDatabaseWrapper, ends: Sequence[End]) -> set[str]:
    moment = connection.ops.adapt_datetimefield_value
    rows = [(*end[:4], moment(end.start_time), moment(end.finish_time), end.duration_ms) for end in ends]
    with connection.cursor() as cursor:
        cursor.execute(_IN_SQLITE, [moment(moment_of(timezone.now())), to_json(rows).decode()])
        ids = [end.job_id for end in ends]
        if cursor.rowcount == len(ends):
            return set(ids)
        cursor.execute(_ENDED_IN_SQLITE, [to_json(ids).decode()])
        return {job_id for (job_id,) in cursor.fetchall()}


WRITERS: dict[str, Callable[[BaseDatabaseWrapper, Sequence[End]], set[str]]] = {"postgresql": _write_in_postgresql}
"""What writes ends, by the kind of the database."""
if sqlite3.sqlite_version_info >= (3, 33):  # which has UPDATE ... FROM
    WRITERS["sqlite"] = _write_in_sqlite
