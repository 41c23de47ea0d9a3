"""The different values of a column of the task log, found without reading all of its rows."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connections
from django.db.models import QuerySet

from django_cfg_tasks.models import TaskLog

MOST_LOOKED_AT = 20_000
"""Values of one column at which it ends."""

_SKIP = (
    "SELECT '{column}', name FROM (WITH RECURSIVE names(name, n) AS ("
    "SELECT MIN({quoted}), 1 FROM {table} WHERE {quoted} > '' UNION ALL "
    "SELECT (SELECT MIN({quoted}) FROM {table} WHERE {quoted} > names.name{also}), names.n + 1 "
    "FROM names WHERE names.name IS NOT NULL AND names.n < {most}"
    ") SELECT name FROM names WHERE name IS NOT NULL) AS {column}_names"
)
_DISTINCT = "SELECT DISTINCT '{column}', {quoted} FROM {table} WHERE {quoted} > ''"
_PARTIAL = ("error_class",)
"""Columns whose index has only values that are not empty, which has to be said for it to be used."""


def names(queryset: QuerySet[TaskLog], columns: Collection[str]) -> dict[str, list[str]]:
    """Return the values that are not empty of each of the text ``columns``, in one query.

    From one value to the next in the column's index: as many steps as there are values, however many rows have each.
    """
    connection = connections[queryset.db]
    quote = connection.ops.quote_name
    statements = []
    for column in columns:
        # SQLite would enter the index by the wrong one of two conditions.
        skips = connection.vendor == "postgresql" or (connection.vendor == "sqlite" and column not in _PARTIAL)
        quoted = quote(column)
        statements.append(
            (_SKIP if skips else _DISTINCT).format(
                column=column,
                quoted=quoted,
                table=quote(TaskLog._meta.db_table),
                also=f" AND {quoted} > ''" if column in _PARTIAL else "",
                most=MOST_LOOKED_AT,
            )
        )
    found: dict[str, list[str]] = {column: [] for column in columns}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(statements))
        for column, name in cursor.fetchall():
            found[column].append(name)
    return found
