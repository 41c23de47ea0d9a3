"""The API's addresses, below wherever the project mounts `django_cfg_tasks.urls`."""

from __future__ import annotations

from importlib.util import find_spec

from django.urls import path

from django_cfg_tasks.api.deferred import DeferredView as View

_aggregates = [
    path("logs/stats/", View("aggregates.StatsView"), name="log-stats"),
    path("logs/timeline/", View("aggregates.TimelineView"), name="log-timeline"),
    path("logs/export/", View("export.ExportView"), name="log-export"),
    path("logs/overview/", View("aggregates.OverviewView"), name="log-overview"),
]
_live = [
    path("workers/", View("live.WorkerViewSet", {"get": "list"}), name="worker-list"),
    path("queues/", View("live.QueueViewSet", {"get": "list"}), name="queue-list"),
    path("tasks/", View("live.TaskViewSet", {"get": "list"}), name="task-list"),
    path("schedules/", View("live.ScheduleViewSet", {"get": "list"}), name="schedule-list"),
    path("health/", View("live.HealthView", {"get": "retrieve"}), name="health"),
    path("metrics", View("metrics.MetricsView"), name="metrics"),
]

# Names of tasks may hold a slash.
_acts = [
    path("logs/bulk/", View("acts.BulkViewSet", {"post": "bulk"}), name="log-bulk"),
    path("logs/<str:key>/retry/", View("acts.RetryViewSet", {"post": "retry"}), name="log-retry"),
    path("logs/<str:key>/cancel/", View("acts.CancelViewSet", {"post": "cancel"}), name="log-cancel"),
    path("tasks/<path:name>/enable/", View("acts.SwitchTaskViewSet", {"post": "enable"}), name="task-enable"),
    path("tasks/<path:name>/disable/", View("acts.SwitchTaskViewSet", {"post": "disable"}), name="task-disable"),
    path("tasks/<path:name>/enqueue/", View("acts.EnqueueViewSet", {"post": "enqueue"}), name="task-enqueue"),
    path("schedules/<path:name>/run/", View("acts.RunScheduleViewSet", {"post": "run"}), name="schedule-run"),
    path("schedules/<path:name>/pause/", View("acts.SwitchScheduleViewSet", {"post": "pause"}), name="schedule-pause"),
    path(
        "schedules/<path:name>/resume/", View("acts.SwitchScheduleViewSet", {"post": "resume"}), name="schedule-resume"
    ),
]
_schema = [path("schema/", View("description.SchemaView"), name="schema")] if find_spec("drf_spectacular") else []
_logs = [
    path("logs/", View("logs.TaskLogViewSet", {"get": "list"}), name="log-list"),
    path("logs/<str:pk>/", View("logs.TaskLogViewSet", {"get": "retrieve"}), name="log-detail"),
    path("logs/<str:pk>/related/", View("logs.TaskLogViewSet", {"get": "related"}), name="log-related"),
]

# The log's own first: a job may have any id.
urlpatterns = [*_aggregates, *_live, *_acts, *_schema, *_logs]
