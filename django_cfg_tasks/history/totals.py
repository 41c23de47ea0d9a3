"""How many jobs the whole task log has, by queue and by status, without counting millions of rows.

On PostgreSQL what is more than `EXACT` is estimated from the planner's own statistics, and says so.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Count

from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog

EXACT = 10_000
"""Jobs of one status in one queue up to which they are counted."""
MOST_FAILURES = 100_000
"""Where the count of recent failures ends."""

_TABLE = TaskLog._meta.db_table
_STATUSES = ", ".join(f"('{status.value}')" for status in JobStatus)
_CAPPED = (
    "WITH RECURSIVE queues(name) AS ("
    f"SELECT MIN(queue_name) FROM {_TABLE} UNION ALL "
    f"SELECT (SELECT MIN(queue_name) FROM {_TABLE} WHERE queue_name > queues.name) FROM queues WHERE name IS NOT NULL"
    ") SELECT queues.name, statuses.status, "
    f"(SELECT COUNT(*) FROM (SELECT 1 FROM {_TABLE} AS logs WHERE logs.queue_name = queues.name "
    "AND logs.status = statuses.status LIMIT %s) AS capped) "
    f"FROM queues CROSS JOIN (VALUES {_STATUSES}) AS statuses(status) WHERE queues.name IS NOT NULL "
    f"UNION ALL SELECT NULL, NULL, (SELECT COUNT(*) FROM (SELECT 1 FROM {_TABLE} AS logs "
    f"WHERE logs.status = '{JobStatus.failed.value}' AND logs.enqueue_time >= %s LIMIT %s) AS capped)"
)
_STATISTICS = (
    "SELECT CASE WHEN relpages > 0 THEN reltuples / relpages "
    "* (pg_relation_size(pg_class.oid) / current_setting('block_size')::int) ELSE 0 END, "
    "attname, most_common_vals::text::text[], most_common_freqs FROM pg_class "
    "JOIN pg_namespace ON pg_namespace.oid = relnamespace LEFT JOIN pg_stats ON schemaname = nspname "
    "AND tablename = relname AND attname IN ('queue_name', 'status') "
    f"WHERE pg_class.oid = '{_TABLE}'::regclass"
)


@dataclass(frozen=True, slots=True)
class Total:
    """How many there are, and whether that is an estimate."""

    count: int
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """All jobs of the log."""

    all: Total
    recent_failures: int
    """Failed jobs of the period, up to `MOST_FAILURES`."""
    by_queue: dict[str, Total]
    by_status: dict[str, Total]


def totals(alias: str, since: dt.datetime) -> Totals:
    """Return how many jobs there are, and how many enqueued since then have failed, in at most two queries."""
    if connections[alias].vendor == "postgresql":
        return _estimated(alias, since)
    pairs = TaskLog.objects.using(alias).order_by().values_list("queue_name", "status").annotate(number=Count("pk"))
    queues, statuses = Counter[str](), Counter[str]()
    for queue, status, number in pairs:
        queues[queue] += number
        statuses[status] += number
    return Totals(
        Total(queues.total()),
        _recent_failures(alias, since),
        {name: Total(queues[name]) for name in sorted(queues)},
        {name: Total(statuses[name]) for name in sorted(statuses)},
    )


def _recent_failures(alias: str, since: dt.datetime) -> int:
    failed = TaskLog.objects.using(alias).failed().filter(enqueue_time__gte=since).order_by()
    return failed.values("pk")[:MOST_FAILURES].count()


def _estimated(alias: str, since: dt.datetime) -> Totals:
    with connections[alias].cursor() as cursor:
        cursor.execute(_CAPPED, [EXACT + 1, since, MOST_FAILURES])
        rows = cursor.fetchall()
        failures = sum(number for queue, _, number in rows if queue is None)
        pairs = [(queue, status, number) for queue, status, number in rows if number and queue is not None]
        if all(number <= EXACT for *_, number in pairs):
            everything, shares = _read([])
        else:
            cursor.execute(_STATISTICS)
            everything, shares = _read(cursor.fetchall())
    found: dict[str, dict[str, tuple[int, bool]]] = {"queue_name": {}, "status": {}}
    for queue, status, number in pairs:
        for column, name in (("queue_name", queue), ("status", status)):
            known, capped = found[column].get(name, (0, False))
            found[column][name] = known + number, capped or number > EXACT
    least = sum(number for *_, number in pairs)
    estimated = any(number > EXACT for *_, number in pairs)
    by_column = {
        column: {
            name: Total(max(known, round(everything * shares.get((column, name), 0.0))) if capped else known, capped)
            for name, (known, capped) in sorted(names.items())
        }
        for column, names in found.items()
    }
    return Totals(
        Total(max(least, round(everything)) if estimated else least, estimated),
        failures,
        by_column["queue_name"],
        by_column["status"],
    )


def _read(rows: list[Any]) -> tuple[float, dict[tuple[str, str], float]]:
    shares = {
        (column, name): float(share)
        for _, column, names, frequencies in rows
        if names is not None
        for name, share in zip(names, frequencies, strict=True)
    }
    return (float(rows[0][0]) if rows else 0.0), shares
