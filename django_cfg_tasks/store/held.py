"""A connection to Django's database that is ours: for the insert of lone jobs by whichever thread or loop has one.

Of Django's making, so that it is whatever the project's own are, but none of theirs: no transaction, no query log and
no end of a request touches it. One caller at a time may use it. What goes wrong is the driver's error.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.store.connection import with_marks
from django_cfg_tasks.store.dialects import STATEMENTS
from django_cfg_tasks.store.rows import lone_row
from django_cfg_tasks.store.target import Target
from django_cfg_tasks.waits import Steps

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_cfg_tasks.store.libpq import PlannedStatement

_INSERTS = {kind: sql for kind, statements in STATEMENTS.items() if (sql := statements.insert_lone) is not None}
HELD_VENDORS = frozenset(_INSERTS)
IDLE_SECONDS = 60.0
"""A connection that was not used for so long may have been forgotten by what stands in between: it is not trusted."""
SQLITE_BUSY_SECONDS = 1
CONNECT_SECONDS = 3
"""Where either takes longer, there is another way."""


class HeldConnection:
    """It connects at its first use, and again after each failure."""

    def __init__(self, target: Target, alias: str) -> None:
        self._target = target
        self._alias = alias
        self._raw: Any = None
        self._statement: PlannedStatement | None = None
        self._used_at = 0.0
        sql = _INSERTS[target.vendor]
        self._insert = with_marks(sql) if target.vendor == "sqlite" else sql

    def insert(self, record: JobRecord) -> Steps[bool]:
        """`Store.insert`, for one job without a unique key: whether it is new.

        Where this raises, or is given up, the job may be stored or not; the connection is closed.
        """
        try:
            if self._raw is None or (self._target.vendor == "postgresql" and self.is_idle):
                yield None
                self._open()
            self._used_at = time.monotonic()
            if self._statement is not None:
                return bool((yield from self._statement.run(lone_row(record))))
            yield None
            cursor = self._raw.cursor()
            try:
                cursor.execute(self._insert, lone_row(record))
                return bool(cursor.rowcount)
            finally:
                cursor.close()
        except BaseException:
            self.close()
            raise

    @property
    def is_idle(self) -> bool:
        """Whether it has not been used for a while."""
        return time.monotonic() - self._used_at >= IDLE_SECONDS

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        raw, self._raw, self._statement = self._raw, None, None
        if raw is not None:
            raw.close()

    def _open(self) -> None:
        self.close()
        # The driver's own: Django's would keep and log each statement where DEBUG is on, and can't be closed
        # on an event loop.
        self._raw = self._connect().connection
        if self._target.vendor == "postgresql":
            from django.db.backends.postgresql.psycopg_any import is_psycopg3

            if is_psycopg3:
                from django_cfg_tasks.store.libpq import PlannedStatement

                is_pooled = self._target.credentials.get("statement_cache_size") == 0
                self._statement = PlannedStatement(self._raw, self._insert, is_pooled=is_pooled)

    def _connect(self) -> BaseDatabaseWrapper:
        from django.db import connections

        connection = connections[self._alias].copy()
        connection.inc_thread_sharing()
        connection.settings_dict["AUTOCOMMIT"] = True
        options = connection.settings_dict["OPTIONS"]
        if self._target.vendor == "sqlite":
            connection.settings_dict["OPTIONS"] = {**options, "timeout": SQLITE_BUSY_SECONDS}
            connection.connect()
            self._prefer_wal(connection.connection)
            return connection
        connection.settings_dict["OPTIONS"] = {
            "connect_timeout": CONNECT_SECONDS,
            **{name: value for name, value in options.items() if name != "pool"},
        }
        connection.connect()
        return connection

    def _prefer_wal(self, raw: Any) -> None:
        """As the store's own connection does."""
        if self._target.credentials.get("journal_mode") != "keep":
            return
        raw.execute("PRAGMA busy_timeout=0")
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            pass  # somebody is in the way; it is tried again by whoever opens the file next
        finally:
            raw.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_SECONDS * 1000}")
