"""Permissions of those who act on jobs and tasks through the API."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0003_unique_progress_tasks"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="tasklog",
            options={
                "ordering": ["-enqueue_time", "-id"],
                "permissions": [
                    ("retry_tasklog", "Can run jobs again"),
                    ("cancel_tasklog", "Can cancel jobs"),
                    ("run_tasklog", "Can enqueue jobs"),
                    ("manage_tasklog", "Can switch tasks and schedules off and on"),
                ],
                "verbose_name": "task log",
                "verbose_name_plural": "task logs",
            },
        ),
    ]
