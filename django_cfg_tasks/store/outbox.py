"""The outbox: jobs that become part of Django's open transaction, through Django's own connection.

The same statements as the store's, run in the caller's thread. Django's errors pass as they are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.serialization import dumps
from django_cfg_tasks.store.dialects import STATEMENTS
from django_cfg_tasks.store.rows import by_unique_key, ending_keys, insert_document, keyed, record_of, written_moment
from django_cfg_tasks.store.statements import Procedure, Statement
from django_cfg_tasks.store.steps import Rows, drive_cursor


def insert_through_django(records: Sequence[JobRecord], alias: str) -> set[str]:
    """`Store.insert`, through Django's connection, in its open transaction."""
    from django.db import connections

    sql = STATEMENTS[connections[alias].vendor]
    if ending := ending_keys(records):
        _run_through_django(sql.end_unique, [written_moment(dt.datetime.now(dt.UTC)), dumps(ending)], alias)
    rows = _run_through_django(sql.insert, [insert_document(records)], alias)
    return {row["job_id"] for row in rows}


def find_through_django(records: Sequence[JobRecord], alias: str) -> dict[str, JobRecord]:
    """`Store.find`, as Django's open transaction sees it; without attempts."""
    from django.db import connections

    sql = STATEMENTS[connections[alias].vendor]
    rows = _run_through_django(sql.select + sql.as_of_now, [dumps([record.job_id for record in records])], alias)
    found = {row["job_id"]: record_of(row) for row in rows}
    if others := keyed(records, found):
        keys = dumps([record.unique_key for record in others])
        rows = _run_through_django(sql.select_unique + sql.as_of_now, [keys], alias)
        found |= by_unique_key(others, [record_of(row) for row in rows])
    return found


def disabled_through_django(alias: str) -> set[str]:
    """`Store.disabled`, as Django's open transaction sees it."""
    from django.db import connections

    sql = STATEMENTS[connections[alias].vendor]
    rows = _run_through_django(sql.tasks + sql.as_of_now, [], alias)
    return {row["name"] for row in rows if row["disabled_since"] is not None}


def _run_through_django(sql: Statement, params: list[Any], alias: str) -> Rows:
    from django.db import connections

    with connections[alias].cursor() as cursor:
        if isinstance(sql, Procedure):
            return drive_cursor(cursor, sql.steps(params))
        cursor.execute(sql, params)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
