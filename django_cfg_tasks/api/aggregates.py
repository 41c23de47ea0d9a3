"""The task log in numbers over HTTP: statistics, time line, overview."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import router
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from django_cfg_tasks import live
from django_cfg_tasks.api.aggregate_serializers import OverviewSerializer, StatsSerializer, TimelineSerializer
from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.engine import Unavailable, ask
from django_cfg_tasks.api.query import filter_parameters, filtered, read
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.history import statistics, totals
from django_cfg_tasks.history.fields import ChoiceParameter, MomentParameter, NumberParameter
from django_cfg_tasks.history.filters import FILTERS
from django_cfg_tasks.models import TaskLog

DAY = 24
PERIOD = NumberParameter(1, 366 * DAY)
INTERVAL = ChoiceParameter(
    {"minute": "minute", "hourly": "hour", "hour": "hour", "daily": "day", "day": "day"},
)
_PERIOD_TEXT = "Hours until now. Left out: 24, or from start_time on."
_PERIOD_PARAMETER = {"period_hours": (_PERIOD_TEXT, PERIOD.schema | {"default": DAY})}


class StatsView(TasksView):
    """The numbers of a period."""

    throttle_scope = "tasks-stats"
    known_parameters = (*FILTERS, "period_hours")

    @described(parameters=_PERIOD_PARAMETER | filter_parameters(), responses=StatsSerializer)
    def get(self, request: Request) -> Response:
        """Sum up the jobs that were enqueued in a period, over all and by task. All filters of the list hold."""
        start, end = _period(request)
        logs = filtered(request, TaskLog.objects.filter(enqueue_time__gte=start))
        numbers = statistics.summary(logs) | {"period_hours": _hours(start, end)}
        return Response(StatsSerializer(numbers).data)


class TimelineView(TasksView):
    """The course of a period."""

    throttle_scope = "tasks-timeline"
    known_parameters = (*FILTERS, "period_hours", "interval")

    @described(
        parameters={
            **_PERIOD_PARAMETER,
            "interval": ("How long a bucket is: by the clock of Django's time zone.", INTERVAL.schema),
            **filter_parameters(),
        },
        responses=TimelineSerializer,
    )
    def get(self, request: Request) -> Response:
        """Count the jobs that were enqueued in each minute, hour or day of a period. All filters of the list hold.

        The first bucket begins at or before the period, so that it is whole.
        """
        start, end = _period(request)
        interval = read(request.query_params, "interval", INTERVAL, "hour")
        logs = filtered(request, TaskLog.objects.all())
        edges = statistics.bucket_edges(start, end, interval)
        if edges is None:
            most = statistics.MOST_BUCKETS
            raise exceptions.ValidationError({"interval": [f"More than {most} buckets: take longer ones."]})
        buckets = statistics.timeline(logs, edges) if len(edges) > 1 else []
        # As `TimelineSerializer` says, which would take longer over a thousand buckets than the database.
        return Response({"period_hours": _hours(start, end), "interval": interval, "buckets": buckets})


class OverviewView(TasksView):
    """The whole log, and how things stand now."""

    throttle_scope = "tasks-overview"
    known_parameters = ("period_hours",)

    @described(
        parameters={"period_hours": ("Hours of which failures are counted.", PERIOD.schema | {"default": DAY})},
        responses=OverviewSerializer,
    )
    def get(self, request: Request) -> Response:
        """Tell how many jobs there are by queue and status, how many failed lately, and what waits and runs now.

        Numbers above 10,000 may be estimates, and say so. Where Redis or SQL can't be asked, the rest is answered.
        """
        start, end = _period(request)
        found = totals.totals(router.db_for_read(TaskLog), start)
        now, fault = _live()
        answer = {
            "total_tasks": found.all.count,
            "total_is_estimate": found.all.is_estimate,
            "active_queues": list(found.by_queue),
            "period_hours": _hours(start, end),
            "recent_failures": found.recent_failures,
            "tasks_by_queue": [
                {"queue_name": name, "count": total.count, "is_estimate": total.is_estimate}
                for name, total in found.by_queue.items()
            ],
            "tasks_by_status": [
                {"status": name, "count": total.count, "is_estimate": total.is_estimate}
                for name, total in found.by_status.items()
            ],
            "live": now,
            "live_error": fault,
        }
        return Response(OverviewSerializer(answer).data)


def _period(request: Request) -> tuple[dt.datetime, dt.datetime]:
    """Return from when to when jobs are wanted."""
    now = timezone.now()
    hours = read(request.query_params, "period_hours", PERIOD, None)
    start = read(request.query_params, "start_time", MomentParameter(), None)
    end = read(request.query_params, "end_time", MomentParameter(), None) or now
    if hours is not None or start is None:
        period_start = now - dt.timedelta(hours=hours or DAY)
        start = period_start if start is None else max(start, period_start)
    return start, end


def _hours(start: dt.datetime, end: dt.datetime) -> float:
    return round(max(dt.timedelta(0), end - start) / dt.timedelta(hours=1), 2)


def _live() -> tuple[dict[str, Any] | None, str | None]:
    try:
        queues, workers = ask(_queues_and_workers)
    except Unavailable as error:
        return None, str(error.detail)
    leader = next((worker.name for worker in workers if worker.alive and worker.state == "leads"), None)
    return {
        "queues": queues,
        "deferred": sum(queue.deferred for queue in queues),
        "running": sum(queue.running for queue in queues),
        "workers_online": sum(worker.alive and worker.kind == "worker" for worker in workers),
        "timer_leader": leader,
    }, None


async def _queues_and_workers(client: ReArqClient) -> tuple[list[live.QueueState], list[live.WorkerState]]:
    workers = await live.workers(client)  # of Redis alone: where it is away, SQL is not asked in vain
    return await live.queues(client), workers
