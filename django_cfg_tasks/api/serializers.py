"""How TaskLog rows look as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from django_cfg_tasks.history.export import EXPORTED
from django_cfg_tasks.history.rows import SHORT, first_start, masked
from django_cfg_tasks.models import TaskLog


class TaskLogListSerializer(serializers.ModelSerializer[TaskLog]):
    """A row of the list: what fits a table, none of the columns that may be large."""

    status_display = serializers.CharField(source="get_status_display", read_only=True)

    class Meta:
        model = TaskLog
        fields: tuple[str, ...] = (*SHORT[:5], "status_display", *SHORT[5:])
        read_only_fields = fields


class ExportRowSerializer(serializers.ModelSerializer[TaskLog]):
    """A row of an export."""

    class Meta:
        model = TaskLog
        fields = EXPORTED
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
        shown["args"], shown["kwargs"], shown["result"] = masked(instance)
        return shown


class RelatedSerializer(serializers.Serializer[Any]):
    """Other jobs that were asked for the same."""

    results = TaskLogListSerializer(many=True)
