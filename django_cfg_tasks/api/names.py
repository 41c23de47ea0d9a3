"""The different values of a column of the task log, found without reading all of its rows."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connections
from django.db.models import QuerySet

from django_cfg_tasks.models import TaskLog

MOST_LOOKED_AT = 20_000
"""Values of one column at which it ends."""

# That a name is not empty is said at each step: an index may have only rows of which that is so.
_SKIP = (
    "SELECT '{column}', name FROM (WITH RECURSIVE names(name, n) AS ("
    "SELECT MIN({quoted}), 1 FROM {table}{where} UNION ALL "
    "SELECT (SELECT MIN({quoted}) FROM {table}{where} AND {quoted} > names.name), names.n + 1 "
    "FROM names WHERE names.name IS NOT NULL AND names.n < {most}"
    ") SELECT name FROM names WHERE name IS NOT NULL) AS {column}_names"
)
_DISTINCT = "SELECT DISTINCT '{column}', {quoted} FROM {table}{where}"


def names(queryset: QuerySet[TaskLog], columns: Collection[str]) -> dict[str, list[str]]:
    """Return the values that are not empty of each of the text ``columns``, in one query.

    From one value to the next in the column's index: as many steps as there are values, however many rows have each.
    """
    connection = connections[queryset.db]
    pattern = _SKIP if connection.vendor in ("postgresql", "sqlite") else _DISTINCT
    quote = connection.ops.quote_name
    statements = []
    for column in columns:
        quoted = quote(column)
        statements.append(
            pattern.format(
                column=column,
                quoted=quoted,
                table=quote(TaskLog._meta.db_table),
                where=f" WHERE {quoted} > ''",
                most=MOST_LOOKED_AT,
            )
        )
    found: dict[str, list[str]] = {column: [] for column in columns}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(statements))
        for column, name in cursor.fetchall():
            found[column].append(name)
    return found
