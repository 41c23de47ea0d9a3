"""The API's addresses, below wherever the project mounts `django_cfg_tasks.urls`."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from django_cfg_tasks.api import schema
from django_cfg_tasks.api.acts import (
    BulkViewSet,
    CancelViewSet,
    EnqueueViewSet,
    RetryViewSet,
    RunScheduleViewSet,
    SwitchScheduleViewSet,
    SwitchTaskViewSet,
)
from django_cfg_tasks.api.aggregates import OverviewView, StatsView, TimelineView
from django_cfg_tasks.api.description import SchemaView
from django_cfg_tasks.api.export import ExportView
from django_cfg_tasks.api.live import HealthView, QueueViewSet, ScheduleViewSet, TaskViewSet, WorkerViewSet
from django_cfg_tasks.api.logs import TaskLogViewSet

router = SimpleRouter()
router.register("logs", TaskLogViewSet, basename="log")

_aggregates = [
    path("logs/stats/", StatsView.as_view(), name="log-stats"),
    path("logs/timeline/", TimelineView.as_view(), name="log-timeline"),
    path("logs/export/", ExportView.as_view(), name="log-export"),
    path("logs/overview/", OverviewView.as_view(), name="log-overview"),
]
_live = [
    path("workers/", WorkerViewSet.as_view({"get": "list"}), name="worker-list"),
    path("queues/", QueueViewSet.as_view({"get": "list"}), name="queue-list"),
    path("tasks/", TaskViewSet.as_view({"get": "list"}), name="task-list"),
    path("schedules/", ScheduleViewSet.as_view({"get": "list"}), name="schedule-list"),
    path("health/", HealthView.as_view({"get": "retrieve"}), name="health"),
]

# Names of tasks may hold a slash.
_acts = [
    path("logs/bulk/", BulkViewSet.as_view({"post": "bulk"}), name="log-bulk"),
    path("logs/<str:key>/retry/", RetryViewSet.as_view({"post": "retry"}), name="log-retry"),
    path("logs/<str:key>/cancel/", CancelViewSet.as_view({"post": "cancel"}), name="log-cancel"),
    path("tasks/<path:name>/enable/", SwitchTaskViewSet.as_view({"post": "enable"}), name="task-enable"),
    path("tasks/<path:name>/disable/", SwitchTaskViewSet.as_view({"post": "disable"}), name="task-disable"),
    path("tasks/<path:name>/enqueue/", EnqueueViewSet.as_view({"post": "enqueue"}), name="task-enqueue"),
    path("schedules/<path:name>/run/", RunScheduleViewSet.as_view({"post": "run"}), name="schedule-run"),
    path("schedules/<path:name>/pause/", SwitchScheduleViewSet.as_view({"post": "pause"}), name="schedule-pause"),
    path("schedules/<path:name>/resume/", SwitchScheduleViewSet.as_view({"post": "resume"}), name="schedule-resume"),
]
_schema = [path("schema/", SchemaView.as_view(), name="schema")] if schema.INSTALLED else []

# The log's own first: a job may have any id.
urlpatterns = [*_aggregates, *_live, *_acts, *_schema, *router.urls]
