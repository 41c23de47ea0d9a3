"""How TaskLog rows look as JSON."""

from __future__ import annotations

from rest_framework import serializers

from django_cfg_tasks.models import TaskLog


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


class TaskLogSerializer(TaskLogListSerializer):
    """One job with everything that is known of it."""

    class Meta(TaskLogListSerializer.Meta):
        fields = (
            *TaskLogListSerializer.Meta.fields,
            "args",
            "kwargs",
            "result",
            "error_class",
            "error_message",
            "traceback",
            "attempts",
            "progress",
            "progress_message",
            "job_retry",
            "job_retry_after",
            "expire_time",
            "created_at",
            "updated_at",
            "is_completed",
            "is_successful",
            "is_failed",
        )
        read_only_fields = fields
