"""Indexes for the filters and orders of the API, and on PostgreSQL one for the words of error messages."""

from typing import Any

from django.db import migrations, models
from django.db.models import Q

WORDS = "cfg_task_log_error_words"


def index_words(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"CREATE INDEX IF NOT EXISTS {WORDS} ON django_cfg_task_log "
            "USING gin (to_tsvector('simple', left(error_message, 10000))) WHERE error_class > ''"
        )


def drop_index_of_words(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP INDEX IF EXISTS {WORDS}")


def add(name: str, *fields: str, condition: Q | None = None) -> migrations.AddIndex:
    return migrations.AddIndex("tasklog", models.Index(fields=fields, name=name, condition=condition))


class Migration(migrations.Migration):
    dependencies = [("tasks", "0004_tasklog_permissions")]

    operations = [
        add("cfg_task_log_enqueued", "enqueue_time"),
        add("cfg_task_log_queue_enqueued", "queue_name", "-enqueue_time"),
        add("cfg_task_log_worker_enqueued", "worker_id", "-enqueue_time"),
        add("cfg_task_log_finished_id", "finish_time", "id"),
        add("cfg_task_log_duration_id", "duration_ms", "id"),
        add("cfg_task_log_user_enqueued", "user", "-enqueue_time", condition=Q(user__isnull=False)),
        add("cfg_task_log_retries_enqueued", "job_retries", "-enqueue_time", condition=Q(job_retries__gt=0)),
        add("cfg_task_log_error_enqueued", "error_class", "-enqueue_time", condition=Q(error_class__gt="")),
        add("cfg_task_log_errors", "-enqueue_time", "-id", condition=Q(error_class__gt="")),
        migrations.RunPython(index_words, drop_index_of_words, elidable=False),
    ]
