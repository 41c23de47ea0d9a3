"""Work that takes several statements, told one by one to whoever holds a connection, whichever kind it is.

A generator yields a `Query`, is sent what came of it, and returns what came of all. It knows no driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """One statement; ``returns`` says whether its rows are wanted."""

    sql: str
    returns: bool = False
    params: Sequence[Any] = ()
    counts: bool = False
    """Whether what is wanted is one row whose ``changed`` says how many the statement changed."""


class Run(Protocol):
    """Run one query on an open connection, and say what came of it."""

    def __call__(self, query: Query) -> Awaitable[Rows]: ...


async def drive(run: Run, steps: Generator[Query, Rows, T]) -> T:
    """Run what ``steps`` ask for, and return what they return."""
    try:
        query = next(steps)
        while True:
            query = steps.send(await run(query))
    except StopIteration as end:
        value: T = end.value
        return value


def drive_cursor(cursor: Any, steps: Generator[Query, Rows, T]) -> T:
    """`drive`, on a cursor of Django's."""
    try:
        query = next(steps)
        while True:
            cursor.execute(query.sql, query.params or None)
            rows: Rows = []
            if query.returns and cursor.description is not None:
                names = [column[0] for column in cursor.description]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            elif query.counts:
                rows = [{"changed": cursor.rowcount}]
            query = steps.send(rows)
    except StopIteration as end:
        value: T = end.value
        return value
