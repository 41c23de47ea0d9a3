"""How many rows there are, without counting millions: exact up to `EXACT`, beyond it as PostgreSQL's planner thinks."""

from __future__ import annotations

import json

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import IntegerField, QuerySet
from django.db.models.expressions import RawSQL

from django_cfg_tasks.models import TaskLog

EXACT = 10_000
"""Rows up to which they are counted; how many more there are is estimated."""

Logs = QuerySet[TaskLog]


def with_count(logs: Logs) -> Logs | None:
    """Return ``logs`` with the count of all its rows at each as ``counted``, so that both cost one query.

    The count ends one above `EXACT`. None if there can't be any rows.
    """
    try:
        sql, params = logs.order_by().values("pk")[: EXACT + 1].query.get_compiler(logs.db).as_sql()
    except EmptyResultSet:
        return None
    counting = f"(SELECT COUNT(*) FROM ({sql}) AS counted)"  # noqa: S608 - Django's own SQL
    count = RawSQL(counting, params, output_field=IntegerField())  # noqa: S611
    return logs.annotate(counted=count)


def estimate(logs: Logs) -> int:
    """Return how many rows there may be, as PostgreSQL's planner thinks; 0 elsewhere, where there is no cheap guess."""
    if connections[logs.db].vendor != "postgresql":
        return 0
    plan = json.loads(logs.order_by().values("pk").explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])
