"""The API's addresses, below wherever the project mounts `django_cfg_tasks.urls`."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from django_cfg_tasks.api.aggregates import OverviewView, StatsView, TimelineView
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

# The log's own first: a job may have any id.
urlpatterns = [*_aggregates, *_live, *router.urls]
