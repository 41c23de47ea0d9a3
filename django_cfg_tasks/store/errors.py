"""What an error says of the database: that it is away, that it refuses, that it lacks a table. No connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


class TooLargeError(Exception):
    """What is to be written is more than the server takes at once."""


def is_outage(error: BaseException) -> bool:
    """Tell whether the database, and not the statement, is at fault, so that trying again can help."""
    return any(_speaks_of_outage(cause) for cause in _chain(error))


def is_refusal(error: BaseException) -> bool:
    """Tell whether the database refuses what a statement brings, so that trying the same again can't help."""
    return any(
        isinstance(cause, UnicodeError | TooLargeError | sqlite3.IntegrityError | sqlite3.DataError)
        or _state(cause).startswith(_REFUSED)
        or (_is_asyncpg(cause) and type(cause).__name__ == "DataError")
        or (_is_mysql(cause) and type(cause).__name__ in ("DataError", "IntegrityError"))
        or _number(cause) in _MYSQL_REFUSED
        for cause in _chain(error)
    )


def refuses_access(error: BaseException) -> bool:
    """Tell whether the database is there, and will not have us until somebody changes a setting."""
    return any(_state(cause).startswith(_NO_ACCESS) or _number(cause) in _MYSQL_NO_ACCESS for cause in _chain(error))


def is_deadlock(error: BaseException) -> bool:
    """Tell whether two statements waited for each other, and this is the one that was given up."""
    return any(_state(cause) == "40P01" or _number(cause) in _MYSQL_DEADLOCKS for cause in _chain(error))


def in_words(error: BaseException) -> str:
    """Say what went wrong, as the driver says it: Tortoise tells of a MySQL that it can't reach by its settings."""
    if type(error).__name__ == "DBConnectionError" and error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def is_missing_table(error: BaseException) -> bool:
    """Tell whether a table or column is not there."""
    return any(
        _state(cause) in ("42P01", "42703")
        or _number(cause) in _MYSQL_MISSING
        or str(cause).startswith(("no such table", "no such column"))
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
_MYSQL_DEADLOCKS = {1213, 1467}  # the second, where one of what waited was the table's counter
_MYSQL_OUTAGES = {
    *(2002, 2003, 2005, 2006, 2013, 2014, 2055),  # the client's: no server, or no more
    *(1040, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1927, 4031),  # too many connections, broken ones, cut ones
    *(1053, 1077, 1078, 1079, 1290, 1792, 1836, 3032, 3100),  # a server that ends, or has become a read-only replica
    *(1021, 1041, 1114, 1135, 1180, 1030),  # no disk, no memory, no room
    *(*_MYSQL_DEADLOCKS, 1205, 1317, 1020),  # rolled back because of others, or by somebody
}
# User and password, no such database, no right to do this, a plugin that the client lacks.
_MYSQL_NO_ACCESS = {1044, 1045, 1049, 1142, 1143, 1227, 1251, 1370, 1698, 2059, 2061, 4151}
_MYSQL_MISSING = {1054, 1146}
# Data out of range or too long, no JSON.
_MYSQL_REFUSED = {1264, 1292, 1366, 1406, 3140, 3141, 4025, 4038}


def _speaks_of_outage(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, OSError | TimeoutError)
        or _state(error).startswith(_OUTAGES)
        or (_is_asyncpg(error) and type(error).__name__ in _ASYNCPG_OUTAGES)
        or type(error).__name__ == "DBConnectionError"
        or _number(error) in _MYSQL_OUTAGES
        or (_is_mysql(error) and type(error).__name__ == "InterfaceError")
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


def _is_mysql(error: BaseException) -> bool:
    return type(error).__module__.startswith(("asyncmy.", "pymysql.", "MySQLdb."))


def _number(error: BaseException) -> int:
    """Return the number that MySQL gives each kind of error; 0 where it is none of MySQL's."""
    number = error.args[0] if _is_mysql(error) and error.args else 0
    return number if isinstance(number, int) else 0
