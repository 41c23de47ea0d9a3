"""How live state looks as JSON: the fields of `live`'s and `health`'s values, of which it shows all."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class RunningJobSerializer(serializers.Serializer[Any]):
    """A job that a worker runs."""

    job_id = serializers.CharField()
    task_name = serializers.CharField()
    start_time = serializers.DateTimeField(allow_null=True)


class WorkerSerializer(serializers.Serializer[Any]):
    """A worker or timer process, by what it last said of itself."""

    name = serializers.CharField()
    kind = serializers.ChoiceField(["worker", "timer"])
    alive = serializers.BooleanField(help_text="Whether its lease stands.")
    state = serializers.CharField(
        help_text="consuming, busy, waiting, blocked or stopping; of a timer leads or stands by; else dead."
    )
    host = serializers.CharField(allow_blank=True)
    pid = serializers.IntegerField(allow_null=True)
    queues = serializers.ListField(child=serializers.CharField())
    running = serializers.IntegerField()
    slots = serializers.IntegerField()
    done = serializers.IntegerField(help_text="Jobs that it has run.")
    heartbeat_age = serializers.FloatField(allow_null=True, help_text="Seconds since it last gave a sign of life.")
    version = serializers.CharField(allow_blank=True)
    python = serializers.CharField(allow_blank=True)
    jobs = RunningJobSerializer(many=True, help_text="What it runs, as far as the task log knows.")


class QueueSerializer(serializers.Serializer[Any]):
    """What waits in a queue and who takes from it."""

    name = serializers.CharField()
    ready = serializers.IntegerField(help_text="Jobs that a free worker would start now.")
    oldest_ready_seconds = serializers.FloatField(allow_null=True)
    delivered = serializers.IntegerField(help_text="Jobs that workers have taken: they run, or are about to.")
    queued = serializers.IntegerField(help_text="Jobs that are ready, or wait at gates.")
    deferred = serializers.IntegerField()
    running = serializers.IntegerField()
    waiting_at_gates = serializers.IntegerField(
        help_text="Jobs that wait for a lock, for a limit, or for their task to be enabled."
    )
    workers = serializers.IntegerField(help_text="Workers that consume it.")


class TaskSerializer(serializers.Serializer[Any]):
    """A declared task, and how many of its jobs are not final."""

    name = serializers.CharField()
    path = serializers.CharField()
    queue = serializers.CharField()
    is_async = serializers.BooleanField()
    signature = serializers.CharField()
    options = serializers.DictField(help_text="As declared; null: as configured.")
    cron = serializers.CharField(allow_null=True)
    enabled = serializers.BooleanField()
    queued = serializers.IntegerField()
    deferred = serializers.IntegerField()
    running = serializers.IntegerField()


class LastRunSerializer(serializers.Serializer[Any]):
    """The last job that a timer enqueued for a due time; all but its id is null where it was deleted since."""

    job_id = serializers.CharField()
    status = serializers.CharField(allow_null=True)
    success = serializers.BooleanField(allow_null=True)
    enqueue_time = serializers.DateTimeField(allow_null=True)
    start_time = serializers.DateTimeField(allow_null=True)
    finish_time = serializers.DateTimeField(allow_null=True)
    error_class = serializers.CharField(allow_null=True)


class ScheduleSerializer(serializers.Serializer[Any]):
    """When a cron task runs by itself."""

    task = serializers.CharField()
    expression = serializers.CharField()
    description = serializers.CharField(help_text="The expression in words.")
    timezone = serializers.CharField()
    catch_up = serializers.CharField()
    overlap = serializers.CharField()
    misfire_grace = serializers.FloatField(help_text="Seconds.")
    paused = serializers.BooleanField()
    enabled = serializers.BooleanField()
    next_run = serializers.DateTimeField(allow_null=True, help_text="Null while it is paused or disabled.")
    last_run = LastRunSerializer(allow_null=True)


class CheckSerializer(serializers.Serializer[Any]):
    """One thing that has to work."""

    name = serializers.CharField(help_text="redis, sql, timer or queue:<name>.")
    healthy = serializers.BooleanField()
    detail = serializers.CharField()
    ms = serializers.FloatField(allow_null=True)


class WorkerHealthSerializer(serializers.Serializer[Any]):
    """A worker whose lease stands."""

    name = serializers.CharField()
    healthy = serializers.BooleanField()
    state = serializers.CharField()
    queues = serializers.ListField(child=serializers.CharField())
    running = serializers.IntegerField()
    slots = serializers.IntegerField()


class HealthSerializer(serializers.Serializer[Any]):
    """Whether jobs get done. Who may not view the task log is told ``healthy`` alone, if anything."""

    healthy = serializers.BooleanField()
    checks = CheckSerializer(many=True, required=False)
    workers = WorkerHealthSerializer(many=True, required=False)
    queues = serializers.DictField(
        child=serializers.IntegerField(), required=False, allow_null=True, help_text="Jobs that wait or run, by queue."
    )
