"""One statement to PostgreSQL by libpq itself, as psycopg gives it out: for what is said often, and one row at a time.

psycopg's cursors look at the types of all values, at the plans they keep and at what might come back, which takes as
long as the server does. Here all values travel as text, and what comes back is a number. Imported where psycopg 3 is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, DatabaseError, pq
from psycopg.pq.abc import PGresult

from django_cfg_tasks.store.connection import with_numbers
from django_cfg_tasks.waits import Steps, Wait

NAME = b"django_cfg_tasks"


class PlannedStatement:
    """A statement that the server has planned for one connection, which is used for nothing else from now on.

    Blocks while it is made. With ``is_pooled`` it is planned anew each time: a pooler in front may give the next one to
    another session, which knows nothing of the plan.
    """

    def __init__(self, connection: Connection[Any], sql: str, *, is_pooled: bool) -> None:
        self._pgconn = connection.pgconn
        self._sql = with_numbers(sql).encode()
        self._is_planned = not is_pooled
        if self._is_planned:
            # To plan it costs the server as much as to run it.
            _check(self._pgconn.prepare(NAME, self._sql))
        self._pgconn.nonblocking = 1

    def run(self, values: Sequence[object]) -> Steps[int]:
        """Run it; return how many rows it changed. Where it raises, or is given up, the connection must be closed."""
        pgconn = self._pgconn
        texts = [None if value is None else _text(value) for value in values]
        if self._is_planned:
            pgconn.send_query_prepared(NAME, texts)
        else:
            pgconn.send_query_params(self._sql, texts)
        while pgconn.flush():
            yield Wait(pgconn.socket, to_write=True)
        changed = 0
        while True:
            while pgconn.is_busy():
                yield Wait(pgconn.socket)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return changed
            _check(result)
            changed += result.command_tuples or 0


def _check(result: PGresult) -> None:
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise DatabaseError(pq.error_message(result))


def _text(value: object) -> bytes:
    text = str(value).encode()
    if b"\0" in text:
        raise ValueError("PostgreSQL takes no NUL in a text")  # libpq would take what stands before it
    return text
