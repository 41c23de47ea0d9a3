"""A stretch of time at a glance: its jobs by outcome over time, by task and by failure.

For pages that ask again and again: a few queries that each read the rows once. `statistics` can say more, and takes
longer. On PostgreSQL no query runs for more than `TIME_LIMIT` seconds, however many jobs there were; counts are exact,
percentiles of very many jobs are those of some of them.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from django.db import OperationalError, connections, transaction
from django.db.models import Count, Max, Q, QuerySet
from django.db.models.functions import Left

from django_cfg_tasks.history import statistics
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog

TIME_LIMIT = 5
"""Seconds, of one query."""
MOST_TASKS = statistics.MOST_TASKS
SAMPLE = 20_000
"""Jobs, about, from which the percentiles of more than twice as many are taken on PostgreSQL."""
SAMPLE_OF_TASK = 1_000
"""The same of one task."""
MOST_FAILURES = 25
"""Kinds of failures that are told: those that came most often."""
MOST_MESSAGE = 300
"""Characters of an error's message."""

_CANCELED_BY_DATABASE = "57014"
_COLUMNS = ("id", "task_name", "job_retries", "duration_ms", "enqueue_time", "start_time")
_ENDS = {
    "successful": (JobStatus.success,),
    "failed": (JobStatus.failed,),
    "dropped": (JobStatus.canceled, JobStatus.expired),
    "open": (JobStatus.deferred, JobStatus.queued, JobStatus.in_progress),
}


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
        overall = _outcomes(sum(map(Counter, counted), Counter()))
        by_task = _by_task(logs)
        times = _times(logs, overall, by_task)
        found = _failures(logs)
    return Digest(
        start=edges[0],
        end=edges[-1],
        overall=Numbers(overall, *times.run[None]),
        wait_p95=times.wait_p95,
        buckets=tuple(
            Bucket(start, end, _outcomes(numbers))
            for start, end, numbers in zip(edges[:-1], edges[1:], counted, strict=True)
        ),
        tasks={name: Numbers(outcomes, *times.run[name]) for name, outcomes in by_task.items()},
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


def _by_task(logs: QuerySet[TaskLog]) -> dict[str, Outcomes]:
    counts = {name: Count("pk", filter=Q(status__in=statuses)) for name, statuses in _ENDS.items()}
    rows = logs.order_by().values("task_name").annotate(number=Count("pk"), **counts).order_by("-number", "task_name")
    return {name: Outcomes(*ends) for name, *ends in rows.values_list("task_name", *counts)[:MOST_TASKS]}


class _Times(NamedTuple):
    run: Mapping[str | None, tuple[float | None, float | None]]
    """By task; None stands for all of them."""
    wait_p95: float | None


def _times(logs: QuerySet[TaskLog], overall: Outcomes, by_task: Mapping[str, Outcomes]) -> _Times:
    run: dict[str | None, tuple[float | None, float | None]] = defaultdict(lambda: (None, None))
    if not by_task:
        return _Times(run, None)
    connection = connections[logs.db]
    if connection.vendor != "postgresql":
        summed = statistics.summary(logs)
        for line in (summed | {"task_name": None}, *summed["by_task"]):
            run[line["task_name"]] = (line["duration_percentiles_ms"]["p50"], line["duration_percentiles_ms"]["p95"])
        return _Times(run, summed["wait_percentiles_ms"]["p95"])
    base, params = logs.order_by().values(*_COLUMNS).query.get_compiler(logs.db).as_sql()
    shares = [share for name, ends in by_task.items() for share in (name, max(1, ends.total // SAMPLE_OF_TASK))]
    statement = _PERCENTILES.format(base=base, shares=", ".join(["(%s::text, %s::int)"] * len(by_task)))
    with connection.cursor() as cursor:
        cursor.execute(statement, [*params, max(1, overall.total // SAMPLE), *params, *shares])
        rows = cursor.fetchall()
    wait_p95 = None
    for name, times, wait in rows:
        run[name] = tuple(times or (None, None))
        wait_p95 = wait if name is None else wait_p95
    return _Times(run, wait_p95)


def _outcomes(by_status: Mapping[str, int]) -> Outcomes:
    return Outcomes(**{name: sum(by_status.get(status, 0) for status in ends) for name, ends in _ENDS.items()})


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


_RUN = "percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms)"
# GREATEST passes over NULL.
_WAIT = (
    "percentile_cont(0.95) WITHIN GROUP (ORDER BY CASE WHEN job_retries = 0 AND start_time IS NOT NULL THEN "
    "GREATEST(0, date_part('epoch', start_time - enqueue_time) * 1000) END)"
)
# To sort all of them would take most of the time.
_PERCENTILES = (
    f"SELECT NULL, {_RUN}, {_WAIT} FROM ({{base}}) AS logs WHERE hashint8(id) %% %s = 0 UNION ALL "
    f"SELECT task_name, {_RUN}, NULL FROM ({{base}}) AS logs JOIN (VALUES {{shares}}) AS shares(name, one_in) "
    "ON name = task_name WHERE hashint8(id) %% one_in = 0 GROUP BY task_name"
)
