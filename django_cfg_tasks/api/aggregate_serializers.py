"""How sums, time lines and the overview look as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class PercentilesSerializer(serializers.Serializer[Any]):
    """Milliseconds; null where nothing is known."""

    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class NumbersSerializer(serializers.Serializer[Any]):
    """How many jobs there were and how they went."""

    total = serializers.IntegerField()
    successful = serializers.IntegerField()
    failed = serializers.IntegerField()
    in_progress = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="Queued or deferred.")
    canceled = serializers.IntegerField()
    expired = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True, help_text="Percent of those that have ended.")
    avg_duration_ms = serializers.FloatField(allow_null=True)
    avg_duration_seconds = serializers.FloatField(allow_null=True)
    duration_percentiles_ms = PercentilesSerializer(help_text="How long the last attempts ran.")
    wait_percentiles_ms = PercentilesSerializer(
        help_text="From when jobs were enqueued until they started, of those without a retry."
    )


class TaskNumbersSerializer(NumbersSerializer):
    """The numbers of one task."""

    task_name = serializers.CharField()


class StatsSerializer(NumbersSerializer):
    """The numbers of all jobs that were enqueued in a period, and of the tasks with the most."""

    period_hours = serializers.FloatField()
    by_task = TaskNumbersSerializer(many=True)


class BucketSerializer(serializers.Serializer[Any]):
    """The jobs that were enqueued from one moment to the next bucket's."""

    timestamp = serializers.DateTimeField(help_text="When it begins, in Django's time zone.")
    total = serializers.IntegerField()
    successful = serializers.IntegerField()
    failed = serializers.IntegerField()
    avg_duration_ms = serializers.FloatField(allow_null=True)


class TimelineSerializer(serializers.Serializer[Any]):
    """Buckets of a period, without a gap."""

    period_hours = serializers.FloatField()
    interval = serializers.ChoiceField(["minute", "hour", "day"])
    buckets = BucketSerializer(many=True)


class QueueTotalSerializer(serializers.Serializer[Any]):
    """How many jobs of a queue the log has."""

    queue_name = serializers.CharField()
    count = serializers.IntegerField()
    is_estimate = serializers.BooleanField()


class StatusTotalSerializer(serializers.Serializer[Any]):
    """How many jobs of a status the log has."""

    status = serializers.CharField()
    count = serializers.IntegerField()
    is_estimate = serializers.BooleanField()


class LiveQueueSerializer(serializers.Serializer[Any]):
    """What waits in a queue now."""

    name = serializers.CharField()
    ready = serializers.IntegerField()
    oldest_ready_seconds = serializers.FloatField(allow_null=True)
    deferred = serializers.IntegerField()
    running = serializers.IntegerField()


class LiveSerializer(serializers.Serializer[Any]):
    """How things stand now."""

    queues = LiveQueueSerializer(many=True)
    deferred = serializers.IntegerField()
    running = serializers.IntegerField()
    workers_online = serializers.IntegerField()
    timer_leader = serializers.CharField(allow_null=True)


class OverviewSerializer(serializers.Serializer[Any]):
    """The whole log in a few numbers, and how things stand now."""

    total_tasks = serializers.IntegerField()
    total_is_estimate = serializers.BooleanField()
    active_queues = serializers.ListField(child=serializers.CharField(), help_text="Queues that the log has jobs of.")
    period_hours = serializers.FloatField()
    recent_failures = serializers.IntegerField(help_text="Jobs enqueued in the period that have failed.")
    tasks_by_queue = QueueTotalSerializer(many=True)
    tasks_by_status = StatusTotalSerializer(many=True)
    live = LiveSerializer(allow_null=True, help_text="Null where Redis or SQL can't be asked.")
    live_error = serializers.CharField(allow_null=True)
