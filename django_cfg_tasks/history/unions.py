"""Rows that are found in several ways, in one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from django_cfg_tasks.models import TaskLog


def any_of(parts: Sequence[QuerySet[TaskLog] | RawSQL]) -> RawSQL:
    """Return the ids of all ``parts``, each with a limit of its own, which not every database takes in a union."""
    selects: list[str] = []
    params: list[Any] = []
    for part in parts:
        if isinstance(part, RawSQL):
            sql, values = part.sql, part.params
        else:
            try:
                sql, values = part.values("id").query.get_compiler(part.db).as_sql()
            except EmptyResultSet:
                continue
        selects.append(f"SELECT part_{len(selects)}.id FROM ({sql}) AS part_{len(selects)}")  # noqa: S608
        params += values
    return RawSQL(" UNION ALL ".join(selects) or "SELECT NULL WHERE 1 = 0", params)  # noqa: S611
