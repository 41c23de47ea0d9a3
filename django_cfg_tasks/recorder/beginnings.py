"""The short way for new jobs: what the first row of a job has of its own, and the SQL that writes it.

Nothing is known of a new job but what its producer asked for. Its row costs half of what any row does, and where one is
there already, that one stays: it tells at least as much. PostgreSQL and SQLite.
"""

# ruff: noqa: S608 - SQL is put together from constants, values are parameters

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from pydantic_core import to_json

from django_cfg_tasks.jobs import WAITING, JobRecord
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder.rows import DATA_ERRORS, as_json, data_of, fitting, fitting_integer, is_open, moment_of

_ROW_OPTIONS = frozenset({"user", "retry_of"})
"""What of a job's options has a column of its own, and is looked at where whole rows are written."""


class Beginning(NamedTuple):
    """What the row of a new job has of its own; the rest is the same for all of them."""

    job_id: str
    task_name: str
    queue_name: str
    args: str | None
    kwargs: str | None
    status: str
    job_retry: int
    job_retry_after: int
    enqueue_time: dt.datetime | None
    expire_time: dt.datetime | None


_TABLE = f'"{TaskLog._meta.db_table}"'
_FIELDS = Beginning._fields  # noqa: SLF001
_SAME = {
    "worker_id": "''",
    "job_retries": "0",
    "retry_of": "''",
    "progress_message": "''",
    "error_class": "''",
    "error_message": "''",
    "traceback": "''",
    "attempts": "'[]'",
    "revision": "0",
}
_INSERT = f"INSERT INTO {_TABLE} ({', '.join([*_FIELDS, *_SAME])}, created_at, updated_at)"
_SAME_VALUES = ", ".join(_SAME.values())
_STAYS = "ON CONFLICT (job_id) DO NOTHING"
_TYPES = dict.fromkeys(_FIELDS, "text") | {
    "args": "jsonb",
    "kwargs": "jsonb",
    "job_retry": "int",
    "job_retry_after": "int",
    "enqueue_time": "timestamptz",
    "expire_time": "timestamptz",
}
# Column by column: a document of rows would have each name in each row.
_IN_POSTGRESQL = (
    f"{_INSERT} SELECT {', '.join(f'{name}::{kind}' for name, kind in _TYPES.items())}, {_SAME_VALUES}, now, now "
    f"FROM (SELECT {', '.join(f'json_array_elements_text(%s::json) AS {name}' for name in _FIELDS)}, "
    f"%s::timestamptz AS now) AS new {_STAYS}"
)
# One step for all rows: at each the thread gives up Python's lock, and must come by it again.
_READ = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(_FIELDS)))
_IN_SQLITE = (
    f"{_INSERT} SELECT {_READ}, {_SAME_VALUES}, now.at, now.at "
    f"FROM json_each(%s), (SELECT %s AS at) AS now WHERE true {_STAYS}"
)


def beginnings_of(records: Iterable[JobRecord]) -> list[Beginning]:
    """Return those of new jobs: never run, not read from the database, where they may have been changed meanwhile.

    But for those where who writes the row first must know more: who the user is, which arguments are hidden.
    """
    is_plain = functools.cache(is_open)
    beginnings = []
    for record in records:
        if record.id is not None or record.status not in WAITING or record.attempt or record.job_retries:
            continue
        if record.progress is not None or not _ROW_OPTIONS.isdisjoint(record.options) or not is_plain(record.task):
            continue
        with suppress(*DATA_ERRORS):  # its whole row is looked at, and what is wrong with it said then
            beginnings.append(_beginning(record))
    return beginnings


def _beginning(record: JobRecord) -> Beginning:
    args, kwargs, _ = data_of(record)
    return Beginning(
        fitting("job_id", record.job_id),
        task_name=fitting("task_name", record.task),
        queue_name=fitting("queue_name", record.queue),
        args=as_json(args),
        kwargs=as_json(kwargs),
        status=record.status.value,
        job_retry=fitting_integer(record.job_retry),
        job_retry_after=fitting_integer(record.job_retry_after),
        enqueue_time=moment_of(record.enqueue_time),
        expire_time=moment_of(record.expire_time),
    )


# Both write rows of jobs that have none, and return the ids of all.


def _write_in_postgresql(connection: BaseDatabaseWrapper, beginnings: Sequence[Beginning]) -> set[str]:
    columns = [to_json(column).decode() for column in zip(*beginnings, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(_IN_POSTGRESQL, [*columns, moment_of(timezone.now())])
    return {beginning.job_id for beginning in beginnings}


def _write_in_sqlite(connection: BaseDatabaseWrapper, beginnings: Sequence[Beginning]) -> set[str]:
    moment = connection.ops.adapt_datetimefield_value
    rows = [(*row[:-2], moment(row.enqueue_time), moment(row.expire_time)) for row in beginnings]
    with connection.cursor() as cursor:
        cursor.execute(_IN_SQLITE, [to_json(rows).decode(), moment(moment_of(timezone.now()))])
    return {beginning.job_id for beginning in beginnings}


WRITERS: dict[str, Callable[[BaseDatabaseWrapper, Sequence[Beginning]], set[str]]] = {
    "postgresql": _write_in_postgresql,
    "sqlite": _write_in_sqlite,
}
"""What writes beginnings, by the kind of the database."""
