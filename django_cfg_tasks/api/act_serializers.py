"""What acts are told and what they answer. A field that nothing looks at is an error, like a parameter."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from django_cfg_tasks.models import STATUS_LABELS

ACTIONS = ("retry", "cancel")


class Body(serializers.Serializer[Any]):
    """A body whose unknown fields are named; by itself it has none."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse fields that nothing would look at."""
        known = ", ".join(self.fields) or "none"
        unknown = sorted(set(self.initial_data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError({name: [f"Unknown field. Known: {known}."] for name in unknown})
        return attrs


class JobSerializer(serializers.Serializer[Any]):
    """A job, as it was when it was enqueued or canceled."""

    job_id = serializers.CharField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField()
    status = serializers.ChoiceField([(status.value, label) for status, label in STATUS_LABELS.items()])
    retry_of = serializers.CharField(allow_null=True, help_text="The job that it runs again.")


class BulkSerializer(Body):
    """What to do to all jobs that a filter lets through. The filter's names are the parameters of ``logs/``."""

    action = serializers.ChoiceField(ACTIONS)
    filter = serializers.DictField(
        child=serializers.JSONField(), allow_empty=False, help_text='As in {"status": "failed", "task_name": "send"}.'
    )


class BulkAnswerSerializer(serializers.Serializer[Any]):
    """The job that sees to it. Its result says how many it met and how many it acted on."""

    job_id = serializers.CharField()
    action = serializers.ChoiceField(ACTIONS)


class EnqueueSerializer(Body):
    """A call of a task."""

    args = serializers.ListField(child=serializers.JSONField(allow_null=True), required=False)
    kwargs = serializers.DictField(child=serializers.JSONField(allow_null=True), required=False)
    countdown = serializers.FloatField(required=False, min_value=0, max_value=315_360_000, help_text="Seconds.")
    eta = serializers.DateTimeField(required=False, help_text="Not before then.")


class SwitchedTaskSerializer(serializers.Serializer[Any]):
    """A task, and whether its jobs may start."""

    name = serializers.CharField()
    enabled = serializers.BooleanField()


class SwitchedScheduleSerializer(serializers.Serializer[Any]):
    """A schedule, and whether timers leave it out."""

    task = serializers.CharField()
    paused = serializers.BooleanField()
