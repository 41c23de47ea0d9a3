"""Writes TaskLog: by a multi-row upsert that never moves a job back. What is new, and good ends, have shorter ways.

PostgreSQL, SQLite, MySQL and MariaDB. It knows nothing of threads and buffers: `Recorder` calls it from its
own thread, `sync` from whatever thread it is in.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.db import NotSupportedError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Field, ForeignKey, JSONField
from pydantic_core import to_json

from django_cfg_tasks.jobs import FINAL, JobRecord
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import beginnings, ends
from django_cfg_tasks.recorder.merge import latest
from django_cfg_tasks.recorder.rows import DATA_ERRORS, Values, bare, values
from django_cfg_tasks.turns import turn_of

logger = logging.getLogger("django_cfg_tasks.recorder")

MAX_ROWS = 500
"""Rows of one statement, where the database takes as many parameters."""

_SHORT_WAYS: tuple[tuple[Callable[[list[JobRecord]], Any], Mapping[str, Callable[[Any, Any], set[str]]]], ...] = (
    (beginnings.beginnings_of, beginnings.WRITERS),
    (ends.ends_of, ends.WRITERS),
)
"""What picks the records that have one, and what writes them, by the kind of the database."""

_BARE = "The TaskLog row of job %s is written without arguments, user, result and attempts: %s"

_ALL = [field for field in TaskLog._meta.concrete_fields if not field.primary_key]
_FINAL = ", ".join(f"'{status.value}'" for status in sorted(FINAL))
_ARRAY_LENGTH = {"postgresql": "JSONB_ARRAY_LENGTH", "sqlite": "JSON_ARRAY_LENGTH", "mysql": "JSON_LENGTH"}


def upsert(records: Iterable[JobRecord], using: str | None = None) -> int:
    """Bring TaskLog up to ``records`` and return how many rows it covers by that.

    A row that is further along than its record stays as it is. A row that the database refuses is written
    without its arguments, user, result and attempts, or, if even that is refused, left out; both are logged.
    Where the database itself fails, its error is raised and the call can be repeated: rows written before
    that stay and do no harm.
    """
    alias = using or router.db_for_write(TaskLog)
    standing = latest(records)
    done = _write_shortly(standing, alias)
    rows = [_row(record) for record in standing if record.job_id not in done]
    _forget_unknown_users(rows)
    size = _rows_per_statement(connections[alias])
    return len(done) + sum(_write(rows[start : start + size], alias) for start in range(0, len(rows), size))


def _write_shortly(records: list[JobRecord], alias: str) -> set[str]:
    """Write what has a short way, and return the ids of the jobs that are done with by that."""
    connection = connections[alias]
    done: set[str] = set()
    for rows_of, writers in _SHORT_WAYS:
        if (write := writers.get(connection.vendor)) is None:
            continue
        rows = rows_of(records)
        for start in range(0, len(rows), MAX_ROWS):
            # Whole rows are looked at one by one, and what is wrong with one is said there.
            with suppress(*DATA_ERRORS), _guarded(connection):
                done |= write(connection, rows[start : start + MAX_ROWS])
    return done


def _row(record: JobRecord) -> Values:
    try:
        return values(record)
    except DATA_ERRORS as error:
        logger.warning(_BARE, record.job_id, _summary(error))
        record = record.snapshot()
        record.args, record.kwargs, record.result, record.attempts, record.options = [], {}, None, [], {}
        return values(record)


def _write(rows: list[Values], alias: str) -> int:
    try:
        _execute(rows, alias)
    except DATA_ERRORS as error:
        if len(rows) > 1:
            return sum(_write([row], alias) for row in rows)
        return _write_refused(rows[0], alias, error)
    return len(rows)


def _write_refused(row: Values, alias: str, reason: Exception) -> int:
    try:
        _execute([bare(row)], alias)
    except DATA_ERRORS as error:
        logger.error(  # noqa: TRY400 - the database's words say it all, and this may come in numbers
            "The TaskLog row of job %s is left out, the database refuses it: %s", row["job_id"], _summary(error)
        )
        return 0
    logger.warning(_BARE, row["job_id"], _summary(reason))
    return 1


def _execute(rows: list[Values], alias: str) -> None:
    connection = connections[alias]
    with _guarded(connection), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_upsert(connection, _document(connection)), [to_json(rows).decode()])
        else:
            prepare = _preparers(connection)
            parameters = [
                row[name] if prepared is None or row[name] is None else prepared(row[name])
                for row in rows
                for name, prepared in prepare
            ]
            placeholders = f"({', '.join(['%s'] * len(_ALL))})"
            cursor.execute(_upsert(connection, f"VALUES {', '.join([placeholders] * len(rows))}"), parameters)


def _guarded(connection: BaseDatabaseWrapper) -> AbstractContextManager[Any]:
    """Inside a transaction of the caller's, a refused row must not take that transaction with it."""
    alone = connection.get_autocommit() and not connection.in_atomic_block
    if not alone:
        return transaction.atomic(using=connection.alias)
    if connection.vendor == "sqlite":
        return turn_of(connection.settings_dict["NAME"]).taken()
    return nullcontext()


def _preparers(connection: BaseDatabaseWrapper) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Return each name in `Values`, and what makes its value one of the driver's; of most it is one already."""

    def preparer(field: Field[Any, Any]) -> Callable[[Any], Any] | None:
        if isinstance(field, DateTimeField):
            return connection.ops.adapt_datetimefield_value
        if isinstance(field, ForeignKey | JSONField):
            return functools.partial(field.get_db_prep_save, connection=connection)
        return None

    return [(field.attname, preparer(field)) for field in _ALL]


def _document(connection: BaseDatabaseWrapper) -> str:
    """Return a table whose only parameter is a JSON document of rows: a batch of any size is one value."""
    quote = connection.ops.quote_name
    names = ", ".join(f"x.{quote(field.attname)}" for field in _ALL)
    types = ", ".join(f"{quote(field.attname)} {field.db_type(connection)}" for field in _ALL)
    return f"SELECT {names} FROM json_to_recordset(%s::json) AS x({types})"  # noqa: S608 - names of our own


def _upsert(connection: BaseDatabaseWrapper, source: str) -> str:
    quote = connection.ops.quote_name
    table = quote(TaskLog._meta.db_table)
    columns = ", ".join(map(quote, map(_column, _ALL)))
    insert = f"INSERT INTO {table} ({columns}) {source}"
    if connection.vendor in ("postgresql", "sqlite"):
        assignments = ", ".join(_assignments(connection, "EXCLUDED.{}"))
        return (
            f"{insert} ON CONFLICT ({quote('job_id')}) DO UPDATE SET {assignments} "
            f"WHERE EXCLUDED.{quote('revision')} >= {table}.{quote('revision')}"
        )
    if connection.vendor == "mysql":
        # As Django itself tells them apart: VALUES() is deprecated where there is an alias for the new row.
        if getattr(connection, "mysql_is_mariadb", False) or getattr(connection, "mysql_version", ()) < (8, 0, 19):
            return f"{insert} ON DUPLICATE KEY UPDATE {', '.join(_assignments(connection, 'VALUES({})'))}"
        return f"{insert} AS new ON DUPLICATE KEY UPDATE {', '.join(_assignments(connection, 'new.{}'))}"
    raise NotSupportedError(
        f"TaskLog can't be kept on {connection.vendor}; route it to PostgreSQL, SQLite, MySQL or MariaDB."
    )


def _column(field: Field[Any, Any]) -> str:
    return str(field.column)


def _assignments(connection: BaseDatabaseWrapper, pattern: str) -> Iterator[str]:
    """Yield ``column = value``; `merge` says in Python what these say in SQL."""
    quote = connection.ops.quote_name
    table = quote(TaskLog._meta.db_table)

    def new(name: str) -> str:
        return pattern.format(quote(name))

    def old(name: str) -> str:
        return f"{table}.{quote(name)}"

    count = _ARRAY_LENGTH[connection.vendor]
    keeps_progress = (
        f"{new('progress')} IS NULL AND {old('progress')} IS NOT NULL "
        f"AND ({new('revision')} = {old('revision')} OR {new('status')} IN ({_FINAL}))"
    )
    special = {
        "attempts": (
            f"CASE WHEN {count}({new('attempts')}) >= {count}({old('attempts')}) "
            f"THEN {new('attempts')} ELSE {old('attempts')} END"
        ),
        **{
            name: f"CASE WHEN {keeps_progress} THEN {old(name)} ELSE {new(name)} END"
            for name in ("progress", "progress_message")
        },
        **{
            name: (
                f"CASE WHEN {new('revision')} = {old('revision')} "
                f"THEN COALESCE({new(name)}, {old(name)}) ELSE {new(name)} END"
            )
            for name in ("start_time", "finish_time", "duration_ms")
        },
    }
    # MySQL assigns from left to right and compares with what it has assigned already: revision comes last.
    names = [name for name in map(_column, _ALL) if name not in ("job_id", "created_at", "revision")] + ["revision"]
    for name in names:
        value = special.get(name, new(name))
        if connection.vendor == "mysql":
            value = f"IF({new('revision')} >= {old('revision')}, {value}, {old(name)})"
        yield f"{quote(name)} = {value}"


def _rows_per_statement(connection: BaseDatabaseWrapper) -> int:
    if connection.vendor != "sqlite":
        return MAX_ROWS
    connection.ensure_connection()
    # Django counts on 999 parameters; SQLite itself has taken 32,766 and more for years.
    limit: int = connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return max(1, min(MAX_ROWS, limit // len(_ALL)))


def _forget_unknown_users(rows: list[Values]) -> None:
    """Leave out users who are gone: the column has no constraint that would see to it."""
    wanted = {row["user_id"] for row in rows} - {None}
    if not wanted:
        return
    users = get_user_model()
    known = set(
        users._base_manager.using(router.db_for_write(users))
        .filter(pk__in=wanted)
        .values_list(TaskLog._meta.get_field("user").target_field.attname, flat=True)
    )
    for row in rows:
        if row["user_id"] not in known:
            row["user_id"] = None


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:500]


__all__ = ["MAX_ROWS", "upsert"]
