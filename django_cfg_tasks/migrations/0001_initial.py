"""The task log."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="TaskLog",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("job_id", models.CharField(max_length=200, unique=True, verbose_name="job ID")),
                ("task_name", models.CharField(max_length=200, verbose_name="task")),
                ("queue_name", models.CharField(max_length=100, verbose_name="queue")),
                ("args", models.JSONField(blank=True, default=list, verbose_name="positional arguments")),
                ("kwargs", models.JSONField(blank=True, default=dict, verbose_name="keyword arguments")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("deferred", "Deferred"),
                            ("queued", "Queued"),
                            ("in_progress", "In progress"),
                            ("success", "Success"),
                            ("failed", "Failed"),
                            ("expired", "Expired"),
                            ("canceled", "Canceled"),
                        ],
                        default="queued",
                        max_length=20,
                        verbose_name="status",
                    ),
                ),
                (
                    "success",
                    models.BooleanField(
                        help_text="Unknown until the job has ended.", null=True, verbose_name="success"
                    ),
                ),
                ("worker_id", models.CharField(blank=True, default="", max_length=200, verbose_name="worker")),
                ("job_retry", models.IntegerField(default=0, verbose_name="retries allowed")),
                ("job_retries", models.IntegerField(default=0, verbose_name="retries used")),
                (
                    "job_retry_after",
                    models.IntegerField(default=0, help_text="Seconds.", verbose_name="pause before a retry"),
                ),
                (
                    "progress",
                    models.FloatField(blank=True, help_text="From 0 to 1.", null=True, verbose_name="progress"),
                ),
                ("progress_message", models.TextField(blank=True, default="", verbose_name="progress message")),
                ("result", models.JSONField(blank=True, null=True, verbose_name="result")),
                ("error_class", models.CharField(blank=True, default="", max_length=255, verbose_name="error class")),
                ("error_message", models.TextField(blank=True, default="", verbose_name="error message")),
                ("traceback", models.TextField(blank=True, default="", verbose_name="traceback")),
                (
                    "attempts",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Each run: worker, times, outcome, error.",
                        verbose_name="attempts",
                    ),
                ),
                ("enqueue_time", models.DateTimeField(verbose_name="enqueued")),
                ("expire_time", models.DateTimeField(blank=True, null=True, verbose_name="expires")),
                ("start_time", models.DateTimeField(blank=True, null=True, verbose_name="started")),
                ("finish_time", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                (
                    "duration_ms",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Milliseconds that the last attempt ran.",
                        null=True,
                        verbose_name="duration",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="row created")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="row updated")),
                ("revision", models.IntegerField(default=0, editable=False, verbose_name="revision")),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        help_text="For whom the job was enqueued.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="task_logs",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "task log",
                "verbose_name_plural": "task logs",
                "db_table": "django_cfg_task_log",
                "ordering": ["-enqueue_time", "-id"],
                "indexes": [
                    models.Index(fields=["task_name", "-enqueue_time"], name="cfg_task_log_task_enqueued"),
                    models.Index(fields=["status", "-enqueue_time"], name="cfg_task_log_status_enqueued"),
                    models.Index(fields=["queue_name", "status"], name="cfg_task_log_queue_status"),
                    models.Index(fields=["success", "-enqueue_time"], name="cfg_task_log_success_enqueued"),
                    models.Index(fields=["-created_at"], name="cfg_task_log_created"),
                    models.Index(fields=["-enqueue_time", "-id"], name="cfg_task_log_enqueued_id"),
                ],
            },
        ),
    ]
