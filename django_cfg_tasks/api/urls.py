"""The API's addresses, below wherever the project mounts `django_cfg_tasks.urls`."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from django_cfg_tasks.api.live import HealthView, QueueViewSet, ScheduleViewSet, TaskViewSet, WorkerViewSet
from django_cfg_tasks.api.logs import TaskLogViewSet

router = SimpleRouter()
router.register("logs", TaskLogViewSet, basename="log")

_live = [
    path("workers/", WorkerViewSet.as_view({"get": "list"}), name="worker-list"),
    path("queues/", QueueViewSet.as_view({"get": "list"}), name="queue-list"),
    path("tasks/", TaskViewSet.as_view({"get": "list"}), name="task-list"),
    path("schedules/", ScheduleViewSet.as_view({"get": "list"}), name="schedule-list"),
    path("health/", HealthView.as_view({"get": "retrieve"}), name="health"),
]

urlpatterns = [*_live, *router.urls]
