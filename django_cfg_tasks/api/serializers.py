"""How TaskLog rows look as JSON."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from django_cfg_tasks.masking import mask, mask_arguments
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks


class TaskLogListSerializer(serializers.ModelSerializer[TaskLog]):
    """A row of the list: what fits a table, none of the columns that may be large."""

    status_display = serializers.CharField(source="get_status_display", read_only=True)

    class Meta:
        model = TaskLog
        fields: tuple[str, ...] = (
            "id",
            "job_id",
            "task_name",
            "queue_name",
            "status",
            "status_display",
            "success",
            "job_retries",
            "duration_ms",
            "enqueue_time",
            "start_time",
            "finish_time",
            "worker_id",
            "user",
        )
        read_only_fields = fields


class ExportRowSerializer(serializers.ModelSerializer[TaskLog]):
    """A row of an export."""

    class Meta:
        model = TaskLog
        fields = (
            *(name for name in TaskLogListSerializer.Meta.fields if name != "status_display"),
            "error_class",
            "error_message",
        )
        read_only_fields = fields


class TaskLogSerializer(TaskLogListSerializer):
    """One job with everything that is known of it. What its task hides is hidden here as well."""

    duration_seconds = serializers.SerializerMethodField(help_text="How long the last attempt ran.")
    wait_ms = serializers.SerializerMethodField(help_text="From when it was enqueued until it first started.")
    user_display = serializers.SerializerMethodField(help_text="The user's name.")

    class Meta(TaskLogListSerializer.Meta):
        fields = (
            *TaskLogListSerializer.Meta.fields,
            "user_display",
            "args",
            "kwargs",
            "result",
            "error_class",
            "error_message",
            "traceback",
            "attempts",
            "progress",
            "progress_message",
            "retry_of",
            "job_retry",
            "job_retry_after",
            "expire_time",
            "duration_seconds",
            "wait_ms",
            "created_at",
            "updated_at",
            "is_completed",
            "is_successful",
            "is_failed",
        )
        read_only_fields = fields

    def get_duration_seconds(self, log: TaskLog) -> float | None:
        return None if log.duration_ms is None else log.duration_ms / 1000

    def get_wait_ms(self, log: TaskLog) -> int | None:
        started = first_start(log)
        return None if started is None else max(0, round((started - log.enqueue_time).total_seconds() * 1000))

    def get_user_display(self, log: TaskLog) -> str | None:
        return None if log.user is None else str(log.user)

    def to_representation(self, instance: TaskLog) -> dict[str, Any]:
        """Hide secrets a second time: rows may be older than what their task says of them now."""
        shown: dict[str, Any] = super().to_representation(instance)
        task = tasks.get(instance.task_name)
        if task is not None and not task.options.log_args:
            return shown | {"args": [], "kwargs": {}, "result": None}
        parameters, extra_keys = (task.parameters, task.options.mask) if task is not None else ((), ())
        args = instance.args if isinstance(instance.args, list) else []
        kwargs = instance.kwargs if isinstance(instance.kwargs, dict) else {}
        shown["args"], shown["kwargs"] = mask_arguments(args, kwargs, parameters, extra_keys)
        shown["result"] = mask(instance.result, extra_keys)
        return shown


class RelatedSerializer(serializers.Serializer[Any]):
    """Other jobs that were asked for the same."""

    results = TaskLogListSerializer(many=True)


def first_start(log: TaskLog) -> dt.datetime | None:
    """Return when a job started for the first time; attempts that another process wrote are read with care."""
    attempts = log.attempts if isinstance(log.attempts, list) else []
    for attempt in attempts:
        text = attempt.get("start_time") if isinstance(attempt, dict) else None
        if isinstance(text, str):
            try:
                started = dt.datetime.fromisoformat(text)
            except ValueError:
                continue
            return started if timezone.is_aware(log.enqueue_time) == timezone.is_aware(started) else log.start_time
    return log.start_time
