"""A stretch of time at a glance: its jobs by outcome over time, by task and by failure.

For pages that ask again and again: a few queries that each read the rows once. `statistics` can say more, and takes
longer. On PostgreSQL no query runs for more than `TIME_LIMIT` seconds, however many jobs there were.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Left

from django_cfg_tasks.history import statistics
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog

TIME_LIMIT = 5
"""Seconds, of one query."""
MOST_TASKS = statistics.MOST_TASKS
MOST_FAILURES = 25
"""Kinds of failures that are told: those that came most often."""
MOST_MESSAGE = 300
"""Characters of an error's message."""

_CANCELED_BY_DATABASE = "57014"
_COLUMNS = ("task_name", "status", "job_retries", "duration_ms", "enqueue_time", "start_time")
_ENDED_OTHERWISE = (JobStatus.canceled, JobStatus.expired)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many jobs came to what end."""

    successful: int = 0
    failed: int = 0
    dropped: int = 0
    """Canceled or expired."""
    open: int = 0
    """Those that wait or run."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.successful + self.failed + self.dropped + self.open

    @property
    def success_rate(self) -> float | None:
        """The share of those that ended, from 0 to 1; None where none has."""
        ended = self.total - self.open
        return self.successful / ended if ended else None

    @property
    def failure_rate(self) -> float | None:
        """The share of those that ended, from 0 to 1; None where none has."""
        ended = self.total - self.open
        return self.failed / ended if ended else None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of all jobs, or of those of one task. Times are milliseconds, None where no job has them."""

    outcomes: Outcomes
    run_p50: float | None = None
    run_p95: float | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was enqueued from one moment to the next."""

    start: dt.datetime
    end: dt.datetime
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class Failure:
    """The failed jobs of one task whose last error had one class."""

    task_name: str
    error_class: str
    count: int
    last_seen: dt.datetime | None
    last_message: str
    """Of the newest of them, the beginning."""


@dataclass(frozen=True, slots=True)
class Digest:
    """All of it."""

    start: dt.datetime
    end: dt.datetime
    overall: Numbers
    wait_p95: float | None
    """Milliseconds; of jobs that ended their first run or are at it, as `statistics` knows no others."""
    buckets: tuple[Bucket, ...]
    tasks: dict[str, Numbers]
    """Those with the most jobs, up to `MOST_TASKS`."""
    failures: tuple[Failure, ...]


def digest(alias: str, edges: Sequence[dt.datetime]) -> Digest:
    """Sum up what was enqueued from the first edge to the last.

    TimeoutError where there is too much of it.
    """
    logs = TaskLog.objects.using(alias).filter(enqueue_time__gte=edges[0], enqueue_time__lt=edges[-1])
    with _limited(alias):
        counted = statistics.outcomes(TaskLog.objects.using(alias), edges)
        overall, wait_p95, by_task = _numbers(logs)
        found = _failures(logs)
    return Digest(
        start=edges[0],
        end=edges[-1],
        overall=overall,
        wait_p95=wait_p95,
        buckets=tuple(
            Bucket(start, end, _outcomes(numbers))
            for start, end, numbers in zip(edges[:-1], edges[1:], counted, strict=True)
        ),
        tasks=by_task,
        failures=found,
    )


@contextmanager
def _limited(alias: str) -> Iterator[None]:
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    try:
        with transaction.atomic(using=alias):
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{TIME_LIMIT}s'")
            yield
    except OperationalError as error:
        cause = error.__cause__
        if _CANCELED_BY_DATABASE in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None)):
            raise TimeoutError(f"The database took more than {TIME_LIMIT} s.") from error
        raise


def _numbers(logs: QuerySet[TaskLog]) -> tuple[Numbers, float | None, dict[str, Numbers]]:
    connection = connections[logs.db]
    if connection.vendor != "postgresql":
        summed = statistics.summary(logs)
        by_task = {line["task_name"]: _numbers_of(line) for line in summed["by_task"]}
        return _numbers_of(summed), summed["wait_percentiles_ms"]["p95"], by_task
    base, params = logs.order_by().values(*_COLUMNS).query.get_compiler(logs.db).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRES.replace("{base}", base), [*params, *params])
        rows = cursor.fetchall()
    overall, wait_p95, found = Numbers(Outcomes()), None, {}
    for is_overall, name, *counts, run, wait in rows:
        numbers = Numbers(Outcomes(*counts), *(run or (None, None)))
        if is_overall:
            overall, wait_p95 = numbers, wait
        else:
            found[name] = numbers
    return overall, wait_p95, found


def _numbers_of(line: dict[str, Any]) -> Numbers:
    run = line["duration_percentiles_ms"]
    outcomes = Outcomes(
        line["successful"], line["failed"], line["canceled"] + line["expired"], line["in_progress"] + line["waiting"]
    )
    return Numbers(outcomes, run["p50"], run["p95"])


def _outcomes(by_status: dict[str, int]) -> Outcomes:
    ended = {
        "successful": by_status.get(JobStatus.success, 0),
        "failed": by_status.get(JobStatus.failed, 0),
        "dropped": sum(by_status.get(status, 0) for status in _ENDED_OTHERWISE),
    }
    return Outcomes(**ended, open=sum(by_status.values()) - sum(ended.values()))


def _failures(logs: QuerySet[TaskLog]) -> tuple[Failure, ...]:
    groups = list(
        logs.filter(status=JobStatus.failed.value)
        .order_by()
        .values("task_name", "error_class")
        .annotate(number=Count("pk"), last_seen=Max("finish_time"), newest=Max("pk"))
        .order_by("-number", "task_name", "error_class")
        .values_list("task_name", "error_class", "number", "last_seen", "newest")[:MOST_FAILURES]
    )
    rows = TaskLog.objects.using(logs.db).filter(pk__in=[newest for *_, newest in groups]).order_by()
    messages = dict(rows.values_list("pk", Left("error_message", MOST_MESSAGE))) if groups else {}
    return tuple(
        Failure(task_name, error_class, number, last_seen, messages.get(newest, ""))
        for task_name, error_class, number, last_seen, newest in groups
    )


def _case(*statuses: JobStatus) -> str:
    wanted = ", ".join(f"'{status.value}'" for status in statuses)
    return f"COUNT(*) FILTER (WHERE status IN ({wanted}))"


_COUNTS = ", ".join(
    _case(*statuses)
    for statuses in (
        (JobStatus.success,),
        (JobStatus.failed,),
        _ENDED_OTHERWISE,
        (JobStatus.deferred, JobStatus.queued, JobStatus.in_progress),
    )
)
_RUN = "percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms)"
# GREATEST passes over NULL.
_WAIT = (
    "percentile_cont(0.95) WITHIN GROUP (ORDER BY CASE WHEN job_retries = 0 AND start_time IS NOT NULL THEN "
    "GREATEST(0, date_part('epoch', start_time - enqueue_time) * 1000) END)"
)
# Each half reads the rows by itself, which several processes of the server then can do together.
_POSTGRES = (
    f"SELECT true, '', {_COUNTS}, {_RUN}, {_WAIT} FROM ({{base}}) AS overall UNION ALL "
    f"(SELECT false, task_name, {_COUNTS}, {_RUN}, NULL FROM ({{base}}) AS tasks "
    f"GROUP BY task_name ORDER BY COUNT(*) DESC, task_name LIMIT {MOST_TASKS})"
)
