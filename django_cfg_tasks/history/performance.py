"""How long a task's jobs usually run and wait, to hold one of them against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from django_cfg_tasks.history.rows import first_start
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog

RECENT = 1_000
"""Of a task that has run more often, only its newest jobs tell what is usual."""
LEAST = 5
"""Of fewer jobs than that nothing can be said."""
_RUN, _WAIT = ("duration_ms",), ("enqueue_time", "start_time")


@dataclass(frozen=True, slots=True)
class Usual:
    """The median and the 95th percentile of some jobs, in milliseconds; interpolated."""

    jobs: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Performance:
    """How a task's newest jobs did; None where too few of them say so."""

    run: Usual | None
    """Of those that ended well: a failure at once says nothing of how long the work takes."""
    wait: Usual | None
    """Of those that are at their first run or ended with it: after a retry a row no longer says when it began."""


def usual(log: TaskLog) -> Performance:
    """Return how the newest `RECENT` other jobs of the same task did, in one query by an index."""
    same = TaskLog.objects.filter(task_name=log.task_name).order_by("-enqueue_time")
    rows = [
        row for row in same.values_list("pk", "status", "job_retries", *_RUN, *_WAIT)[: RECENT + 1] if row[0] != log.pk
    ][:RECENT]
    runs = [ran for _, status, _, ran, _, _ in rows if status == JobStatus.success and ran is not None]
    waits = [
        max(0.0, (started - enqueued).total_seconds() * 1000)
        for _, _, retries, _, enqueued, started in rows
        if not retries and started is not None
    ]
    return Performance(_usual(runs), _usual(waits))


def waited(log: TaskLog) -> float | None:
    """Return for how many milliseconds a job waited for its first start; None if it has not started."""
    started = first_start(log)
    return None if started is None else max(0.0, (started - log.enqueue_time).total_seconds() * 1000)


def _usual(values: Sequence[float]) -> Usual | None:
    if len(values) < LEAST:
        return None
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return Usual(len(values), cuts[9], cuts[18])
