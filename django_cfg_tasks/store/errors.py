"""What an error says of the database: that it is away, that it refuses, that it lacks a table. No connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


def is_outage(error: BaseException) -> bool:
    """Tell whether the database, and not the statement, is at fault, so that trying again can help."""
    return any(_speaks_of_outage(cause) for cause in _chain(error))


def is_refusal(error: BaseException) -> bool:
    """Tell whether the database refuses what a statement brings, so that trying the same again can't help."""
    return any(
        isinstance(cause, UnicodeError | sqlite3.IntegrityError | sqlite3.DataError)
        or _state(cause).startswith(_REFUSED)
        or (_is_asyncpg(cause) and type(cause).__name__ == "DataError")
        for cause in _chain(error)
    )


def refuses_access(error: BaseException) -> bool:
    """Tell whether the database is there, and will not have us until somebody changes a setting."""
    return any(_state(cause).startswith(_NO_ACCESS) for cause in _chain(error))


def is_deadlock(error: BaseException) -> bool:
    """Tell whether two statements waited for each other, and this is the one that was given up."""
    return any(_state(cause) == "40P01" for cause in _chain(error))


def is_missing_table(error: BaseException) -> bool:
    """Tell whether a table or column is not there."""
    return any(
        _state(cause) in ("42P01", "42703") or str(cause).startswith(("no such table", "no such column"))
        for cause in _chain(error)
    )


# Connection, resources, intervention (a restart), system error, rolled back because of others, not in the state
# that is needed, a primary that has become a standby.
_OUTAGES = ("08", "53", "57", "58", "40", "55", "25006")
# User and password, no such database, no right to do this.
_NO_ACCESS = ("28", "3D000", "42501")
# Data out of range, constraints, program limits.
_REFUSED = ("22", "23", "54")
_SQLITE_OUTAGES = ("database is locked", "unable to open", "disk I/O", "disk is full", "readonly database")
# asyncpg's own complaints about a connection that broke while it was being used or opened.
_ASYNCPG_OUTAGES = ("InterfaceError", "InternalClientError", "ConnectionDoesNotExistError")


def _speaks_of_outage(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, OSError | TimeoutError)
        or _state(error).startswith(_OUTAGES)
        or (_is_asyncpg(error) and type(error).__name__ in _ASYNCPG_OUTAGES)
        or type(error).__name__ == "DBConnectionError"
        or (isinstance(error, sqlite3.OperationalError) and any(part in text for part in _SQLITE_OUTAGES))
        or (isinstance(error, ValueError) and "no active connection" in text)  # aiosqlite's, once it is closed
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it; chains may hold circles."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _state(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else ""


def _is_asyncpg(error: BaseException) -> bool:
    return type(error).__module__.startswith("asyncpg.")
