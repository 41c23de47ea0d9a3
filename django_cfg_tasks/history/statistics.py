"""What the task log says in numbers: sums, percentiles, time lines. Functions of a queryset, without HTTP.

Percentiles are interpolated, as ``percentile_cont`` does it, on every database. Waits are those of jobs that ended
their first run or are at it: after a retry the row no longer says when the job first started.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import BigIntegerField, Count, Q, QuerySet, Sum
from django.db.models.expressions import RawSQL
from django.utils import timezone

from django_cfg_tasks.jobs import FINAL, WAITING, JobStatus
from django_cfg_tasks.models import TaskLog

Logs = QuerySet[TaskLog]
Interval = Literal["minute", "hour", "day"]

PERCENTILES = (0.5, 0.95, 0.99)
MOST_TASKS = 100
"""Tasks that a summary has lines of: those with the most jobs."""
MOST_BUCKETS = 2_000
_COLUMNS = ("task_name", "status", "job_retries", "duration_ms", "enqueue_time", "start_time")
_COUNTED = {
    "successful": (JobStatus.success,),
    "failed": (JobStatus.failed,),
    "in_progress": (JobStatus.in_progress,),
    "waiting": tuple(sorted(WAITING)),
    "canceled": (JobStatus.canceled,),
    "expired": (JobStatus.expired,),
}
_SUMS = ", ".join(
    f"SUM(CASE WHEN status IN ({', '.join(repr(status.value) for status in statuses)}) THEN 1 ELSE 0 END)"
    for statuses in _COUNTED.values()
)


def summary(logs: Logs) -> dict[str, Any]:
    """Return the numbers of ``logs``, over all and for each task, in one query.

    Times are milliseconds. What can't be known yet, such as the rate of success where nothing has ended, is None.
    """
    try:
        base, params = logs.order_by().values(*_COLUMNS).query.get_compiler(logs.db).as_sql()
    except EmptyResultSet:
        return _numbers((0,) * (1 + len(_COUNTED)), None, ()) | {"by_task": []}
    connection = connections[logs.db]
    statement = _SUMMARIES[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("{base}", base), params)
        rows = cursor.fetchall()
    counts = 1 + len(_COUNTED)
    overall: dict[str, Any] = {}
    by_task = []
    for is_overall, task_name, *values in rows:
        numbers = _numbers(values[:counts], values[counts], values[counts + 1 :])
        if is_overall:
            overall = numbers
        else:
            by_task.append({"task_name": task_name} | numbers)
    by_task.sort(key=lambda line: (-line["total"], line["task_name"]))
    return (overall or _numbers((0,) * counts, None, ())) | {"by_task": by_task[:MOST_TASKS]}


def timeline(logs: Logs, edges: Sequence[dt.datetime]) -> list[dict[str, Any]]:
    """Return what was enqueued from each edge to the next, in one query, whether anything was or not.

    The database counts in slices of time that fit every bucket exactly; they are added up here, where time zones are
    known.
    """
    times = [_epoch(edge, logs.db) for edge in edges]
    slice_seconds = math.gcd(*times) or 60
    buckets = [[0, 0, 0, 0, 0] for _ in edges[:-1]]
    rows = (
        logs.filter(enqueue_time__gte=edges[0], enqueue_time__lt=edges[-1])
        .order_by()
        .annotate(slice=_slices(logs.db, slice_seconds))
        .values("slice")
        .annotate(
            total=Count("pk"),
            successful=Count("pk", filter=Q(status=JobStatus.success.value)),
            failures=Count("pk", filter=Q(status=JobStatus.failed.value)),
            duration=Sum("duration_ms"),
            ran=Count("duration_ms"),
        )
        .values_list("slice", "total", "successful", "failures", "duration", "ran")
    )
    for number, *sums in rows:
        bucket = buckets[bisect_right(times, number * slice_seconds) - 1]
        for index, value in enumerate(sums):
            bucket[index] += value or 0
    return [
        {
            "timestamp": edge,
            "total": total,
            "successful": successful,
            "failed": failed,
            "avg_duration_ms": round(duration / ran, 1) if ran else None,
        }
        for edge, (total, successful, failed, duration, ran) in zip(edges[:-1], buckets, strict=True)
    ]


def bucket_edges(start: dt.datetime, end: dt.datetime, interval: Interval) -> list[dt.datetime] | None:
    """Return where buckets begin, the first at or before ``start``, and where the last one ends, after ``end``.

    By the clock of Django's current time zone: days of 23 and 25 hours count as one, and an hour that comes twice as
    two. None if there are more than `MOST_BUCKETS`.
    """
    edges = [_floor(start, interval)]
    while edges[-1] <= end:
        edges.append(_next(edges[-1], interval))
        if len(edges) > MOST_BUCKETS + 1:
            return None
    return edges


def latest_edges(now: dt.datetime, step: dt.timedelta, number: int) -> list[dt.datetime]:
    """Return the edges of ``number`` buckets of one ``step``, of which the last is the one that ``now`` is in.

    They are counted from midnight by the clock of Django's current time zone, so that hours begin at a bucket.
    """
    midnight = _floor(now, "day")
    last = (_utc(now) - _utc(midnight)) // step + 1
    return [_moved(midnight, (last - number + count) * step) for count in range(number + 1)]


def outcomes(logs: Logs, edges: Sequence[dt.datetime]) -> list[dict[str, int]]:
    """Return, for each bucket, how many of the jobs that were enqueued in it are in which status now, in one query."""
    times = [_epoch(edge, logs.db) for edge in edges]
    slice_seconds = math.gcd(*times) or 60
    buckets: list[dict[str, int]] = [{} for _ in edges[:-1]]
    rows = (
        logs.filter(enqueue_time__gte=edges[0], enqueue_time__lt=edges[-1])
        .order_by()
        .annotate(slice=_slices(logs.db, slice_seconds))
        .values("slice", "status")
        .annotate(number=Count("pk"))
        .values_list("slice", "status", "number")
    )
    for slice_number, status, number in rows:
        bucket = buckets[bisect_right(times, slice_number * slice_seconds) - 1]
        bucket[status] = bucket.get(status, 0) + number
    return buckets


def _next(edge: dt.datetime, interval: Interval) -> dt.datetime:
    if interval == "day":
        # Noon of the next day, which every day has, and from there back to its beginning.
        return _floor(_moved(edge, dt.timedelta(hours=36)), interval)
    step = dt.timedelta(hours=1) if interval == "hour" else dt.timedelta(minutes=1)
    following = _moved(edge, step)
    floored = _floor(following, interval)
    return floored if _utc(floored) > _utc(edge) else following  # where clocks change by less than an hour


def _floor(moment: dt.datetime, interval: Interval) -> dt.datetime:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    if interval == "day":
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        return timezone.localtime(midnight.astimezone(dt.UTC)) if timezone.is_aware(moment) else midnight
    return local.replace(minute=0 if interval == "hour" else local.minute, second=0, microsecond=0)


def _moved(moment: dt.datetime, step: dt.timedelta) -> dt.datetime:
    """Return the moment a true ``step`` later, by the same clock."""
    return timezone.localtime(_utc(moment) + step) if timezone.is_aware(moment) else moment + step


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC) if timezone.is_aware(moment) else moment


def _epoch(moment: dt.datetime, alias: str) -> int:
    """Return seconds as the database counts them: those that keep naive times count them as if they were UTC."""
    if timezone.is_naive(moment) and connections[alias].vendor == "postgresql":
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return calendar.timegm(moment.utctimetuple())


def _slices(alias: str, seconds: int) -> RawSQL:
    sql = _SLICES[connections[alias].vendor]
    return RawSQL(sql, [seconds], output_field=BigIntegerField())  # noqa: S611 - constants


_SLICES = {
    "postgresql": "FLOOR(date_part('epoch', enqueue_time) / %s)::bigint",  # EXTRACT is exact, and slower
    "sqlite": "CAST(strftime('%%s', enqueue_time) AS INTEGER) / %s",
    "mysql": "TIMESTAMPDIFF(SECOND, '1970-01-01', enqueue_time) DIV %s",
}


def _numbers(counts: Sequence[Any], average: Any, percentiles: Sequence[Any]) -> dict[str, Any]:
    total, *by_status = (int(count or 0) for count in counts)
    numbers: dict[str, Any] = {"total": total, **dict(zip(_COUNTED, by_status, strict=True))}
    ended = sum(numbers[name] for name, statuses in _COUNTED.items() if set(statuses) <= FINAL)
    return {
        **numbers,
        "success_rate": round(numbers["successful"] * 100 / ended, 2) if ended else None,
        "avg_duration_ms": None if average is None else round(float(average), 1),
        "avg_duration_seconds": None if average is None else round(float(average) / 1000, 3),
        **dict(zip(("duration_percentiles_ms", "wait_percentiles_ms"), _percentiles(percentiles), strict=True)),
    }


def _percentiles(values: Sequence[Any]) -> Iterator[dict[str, float | None]]:
    each = len(PERCENTILES)
    padded = list(values) or [None] * (2 * each)
    for start in (0, each):
        yield {
            f"p{p * 100:.0f}": None if value is None else round(float(value), 1)
            for p, value in zip(PERCENTILES, padded[start : start + each], strict=True)
        }


def _postgres() -> str:
    # A job that has not started has not waited for 0 ms: GREATEST passes over NULL.
    columns = [
        f"percentile_cont({p}) WITHIN GROUP (ORDER BY {value})"
        for value in ("duration_ms", "wait_ms")
        for p in PERCENTILES
    ]
    return (
        f"SELECT GROUPING(task_name) = 1, task_name, COUNT(*), {_SUMS}, AVG(duration_ms), {', '.join(columns)} FROM ("
        "SELECT task_name, status, duration_ms, CASE WHEN job_retries = 0 AND start_time IS NOT NULL THEN "
        "GREATEST(0, date_part('epoch', start_time - enqueue_time) * 1000) END AS wait_ms FROM ({base}) AS base"
        ") AS logs GROUP BY GROUPING SETS ((task_name), ())"
    )


def _others(floor: str, wait: str) -> str:
    """Return it for databases that know no percentiles; ``wait`` is how long a job waited, in milliseconds."""

    def ranked(value: str) -> str:
        order = f"ROW_NUMBER() OVER (PARTITION BY is_overall, task ORDER BY {value} IS NULL, {value}) - 1"
        return f"{order} AS {value}_rank, COUNT({value}) OVER (PARTITION BY is_overall, task) AS {value}_count"

    def at(value: str, p: float) -> str:
        place = f"{p} * ({value}_count - 1)"
        low = floor.format(place)
        return (
            f"SUM(CASE {value}_rank WHEN {low} THEN {value} * (1 - ({place} - {low})) "
            f"WHEN {low} + 1 THEN {value} * ({place} - {low}) END)"
        )

    columns = [at(value, p) for value in ("duration_ms", "wait_ms") for p in PERCENTILES]
    return (
        "WITH base AS ({base}), logs AS (SELECT task_name, status, duration_ms, CASE WHEN job_retries = 0 THEN "
        f"{wait} END AS wait_ms FROM base), "
        "both_ways AS (SELECT 1 AS is_overall, '' AS task, status, duration_ms, wait_ms FROM logs "
        "UNION ALL SELECT 0, task_name, status, duration_ms, wait_ms FROM logs), "
        f"ranks AS (SELECT *, {ranked('duration_ms')}, {ranked('wait_ms')} FROM both_ways) "
        f"SELECT is_overall, task, COUNT(*), {_SUMS}, AVG(duration_ms), {', '.join(columns)} "
        "FROM ranks GROUP BY is_overall, task"
    )


_SUMMARIES = {
    "postgresql": _postgres(),
    "sqlite": _others("CAST({} AS INTEGER)", "MAX(0, (julianday(start_time) - julianday(enqueue_time)) * 86400000.0)"),
    "mysql": _others("FLOOR({})", "GREATEST(0, TIMESTAMPDIFF(MICROSECOND, enqueue_time, start_time) / 1000)"),
}
