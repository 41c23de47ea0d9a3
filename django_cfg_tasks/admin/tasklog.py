"""The task log in the admin: to find jobs and to see how they went. Nothing can be changed here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.admin.base import ReadOnlyAdmin
from django_cfg_tasks.admin.display import NOTHING, attempts_table, badge, duration, moment, preformatted, pretty_json
from django_cfg_tasks.models import TaskLog

_LARGE = ("args", "kwargs", "result", "attempts", "traceback", "error_message")

_OPTIONAL: dict[str, tuple[str, ...]] = {
    "progress_shown": ("progress", "progress_message"),
    "retry_of": ("retry_of",),
    "expires": ("expire_time",),
    "error_shown": ("error_class", "error_message"),
    "traceback_shown": ("traceback",),
}


@admin.register(TaskLog)
class TaskLogAdmin(ReadOnlyAdmin):
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

    fieldsets = (
        (
            None,
            {
                "fields": (
                    "task_name",
                    "job_id",
                    "queue_name",
                    "status_badge",
                    "progress_shown",
                    "user",
                    "worker_id",
                    "retry_of",
                )
            },
        ),
        (_("Times"), {"fields": ("enqueued_exactly", "started_exactly", "finished_exactly", "duration", "expires")}),
        (_("Call"), {"fields": ("args_shown", "kwargs_shown")}),
        (_("Outcome"), {"fields": ("result_shown", "error_shown", "traceback_shown")}),
        (_("Attempts"), {"fields": ("retries", "retry_after", "attempts_shown")}),
        (_("Row"), {"fields": ("created_at", "updated_at"), "classes": ("collapse",)}),
    )
    readonly_fields = (
        "status_badge",
        "progress_shown",
        "enqueued_exactly",
        "started_exactly",
        "finished_exactly",
        "duration",
        "expires",
        "args_shown",
        "kwargs_shown",
        "result_shown",
        "error_shown",
        "traceback_shown",
        "retries",
        "retry_after",
        "attempts_shown",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskLog]:
        """Leave the large columns to the page that shows them."""
        queryset = super().get_queryset(request)
        match = request.resolver_match
        if match is not None and match.url_name == "tasks_tasklog_changelist":
            return queryset.defer(*_LARGE)
        return queryset.select_related("user")

    def get_fieldsets(self, request: HttpRequest, obj: TaskLog | None = None) -> Any:
        """Leave out what says nothing about this job."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        absent = {
            name for name, columns in _OPTIONAL.items() if all(getattr(obj, column) in (None, "") for column in columns)
        }
        return [
            (title, options | {"fields": [name for name in options["fields"] if name not in absent]})
            for title, options in fieldsets
        ]

    @admin.display(description=_("status"), ordering="status")
    def status_badge(self, log: TaskLog) -> SafeString:
        """The status in its colour, and how far a running job has come."""
        state = badge(log.status, log.get_status_display())
        if log.is_completed or log.progress is None:
            return state
        return format_html('{} <span class="dct-quiet">{}</span>', state, f"{log.progress:.0%}")

    @admin.display(description=_("progress"))
    def progress_shown(self, log: TaskLog) -> SafeString | str:
        """A bar, the number and the task's own words."""
        if log.progress is None:
            return log.progress_message or NOTHING
        return format_html(
            '<progress class="dct-progress" max="1" value="{}"></progress> {} {}',
            f"{log.progress:.3f}",
            f"{log.progress:.0%}",
            log.progress_message,
        )

    @admin.display(description=_("enqueued"), ordering="enqueue_time")
    def enqueued(self, log: TaskLog) -> SafeString | str:
        return moment(log.enqueue_time)

    @admin.display(description=_("finished"), ordering="finish_time")
    def finished(self, log: TaskLog) -> SafeString | str:
        return moment(log.finish_time, after=log.enqueue_time)

    @admin.display(description=_("enqueued"))
    def enqueued_exactly(self, log: TaskLog) -> SafeString | str:
        return moment(log.enqueue_time, "milliseconds")

    @admin.display(description=_("started"))
    def started_exactly(self, log: TaskLog) -> SafeString | str:
        return moment(log.start_time, "milliseconds")

    @admin.display(description=_("finished"))
    def finished_exactly(self, log: TaskLog) -> SafeString | str:
        return moment(log.finish_time, "milliseconds")

    @admin.display(description=_("expires"))
    def expires(self, log: TaskLog) -> SafeString | str:
        return moment(log.expire_time)

    @admin.display(description=_("duration"), ordering="duration_ms")
    def duration(self, log: TaskLog) -> SafeString:
        """How long the last attempt ran."""
        return format_html('<span class="dct-nowrap">{}</span>', duration(log.duration_ms))

    @admin.display(description=_("pause before a retry"))
    def retry_after(self, log: TaskLog) -> str:
        return duration(log.job_retry_after * 1000)

    @admin.display(description=_("retries"), ordering="job_retries")
    def retries(self, log: TaskLog) -> str:
        """Used and allowed."""
        return _("%(used)d of %(allowed)d") % {"used": log.job_retries, "allowed": log.job_retry}

    @admin.display(description=_("positional arguments"))
    def args_shown(self, log: TaskLog) -> SafeString | str:
        return pretty_json(log.args) if log.args else NOTHING

    @admin.display(description=_("keyword arguments"))
    def kwargs_shown(self, log: TaskLog) -> SafeString | str:
        return pretty_json(log.kwargs) if log.kwargs else NOTHING

    @admin.display(description=_("result"))
    def result_shown(self, log: TaskLog) -> SafeString | str:
        return pretty_json(log.result) if log.result is not None else NOTHING

    @admin.display(description=_("error"))
    def error_shown(self, log: TaskLog) -> SafeString | str:
        """The error's class and message."""
        return preformatted(": ".join(part for part in (log.error_class, log.error_message) if part), "error")

    @admin.display(description=_("traceback"))
    def traceback_shown(self, log: TaskLog) -> SafeString | str:
        return preformatted(log.traceback, "traceback")

    @admin.display(description=_("attempts"))
    def attempts_shown(self, log: TaskLog) -> SafeString | str:
        return attempts_table(_attempts(log.attempts))


def _attempts(attempts: Any) -> list[dict[str, Any]]:
    return [attempt for attempt in attempts if isinstance(attempt, dict)] if isinstance(attempts, list) else []
