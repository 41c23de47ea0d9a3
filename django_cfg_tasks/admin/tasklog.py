"""The task log in the admin: to find jobs and to see how they went. Nothing can be changed here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.admin.display import NOTHING, badge, duration, moment
from django_cfg_tasks.admin.job import JobPage
from django_cfg_tasks.models import TaskLog

_LARGE = ("args", "kwargs", "result", "attempts", "traceback", "error_message")


@admin.register(TaskLog)
class TaskLogAdmin(JobPage):
    """Lists and shows jobs to those who may view task logs."""

    list_display = (
        "task_name",
        "queue_name",
        "status_badge",
        "user",
        "duration",
        "retries",
        "enqueued",
        "finished",
    )
    list_filter = ("status", "task_name", "queue_name", "success", "enqueue_time")
    list_select_related = ("user",)
    list_per_page = 50
    search_fields = ("job_id", "task_name", "worker_id", "error_message")
    search_help_text = _("Job ID, task, worker or error message")
    date_hierarchy = "enqueue_time"
    show_full_result_count = False
    ordering = ("-enqueue_time", "-id")
    actions = None

    empty_value_display = NOTHING

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskLog]:
        """Leave the large columns to the page that shows them."""
        queryset = super().get_queryset(request)
        match = request.resolver_match
        if match is not None and match.url_name == "tasks_tasklog_changelist":
            return queryset.defer(*_LARGE)
        return queryset

    @admin.display(description=_("status"), ordering="status")
    def status_badge(self, log: TaskLog) -> SafeString:
        """The status in its colour, and how far a running job has come."""
        state = badge(log.status, log.get_status_display())
        if log.is_completed or log.progress is None:
            return state
        return format_html('{} <span class="dct-quiet">{}</span>', state, f"{log.progress:.0%}")

    @admin.display(description=_("enqueued"), ordering="enqueue_time")
    def enqueued(self, log: TaskLog) -> SafeString | str:
        return moment(log.enqueue_time)

    @admin.display(description=_("finished"), ordering="finish_time")
    def finished(self, log: TaskLog) -> SafeString | str:
        return moment(log.finish_time, after=log.enqueue_time)

    @admin.display(description=_("duration"), ordering="duration_ms")
    def duration(self, log: TaskLog) -> SafeString:
        """How long the last attempt ran."""
        return format_html('<span class="dct-nowrap">{}</span>', duration(log.duration_ms))

    @admin.display(description=_("retries"), ordering="job_retries")
    def retries(self, log: TaskLog) -> str:
        """Used and allowed."""
        return _("%(used)d of %(allowed)d") % {"used": log.job_retries, "allowed": log.job_retry}
