"""Two indexes less of the task log, which Django made unasked and nothing reads: each was written twice for every job.

The jobs of a user are found by the index of users and times. The beginnings of job ids are looked for as a range, by
the index that keeps them unique, and not with LIKE.
"""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# As Django has named them, wherever it made them.
OF_USERS = models.Index(fields=["user"], name="django_cfg_task_log_user_id_ea518e17")
FOR_LIKE = models.Index(
    fields=["job_id"], name="django_cfg_task_log_job_id_129f2706_like", opclasses=["varchar_pattern_ops"]
)


def indexes(schema_editor: Any) -> list[models.Index]:
    return [OF_USERS, FOR_LIKE] if schema_editor.connection.vendor == "postgresql" else [OF_USERS]


def drop(apps: Any, schema_editor: Any) -> None:
    for index in indexes(schema_editor):
        schema_editor.remove_index(apps.get_model("tasks", "TaskLog"), index)


def make(apps: Any, schema_editor: Any) -> None:
    for index in indexes(schema_editor):
        schema_editor.add_index(apps.get_model("tasks", "TaskLog"), index)


class Migration(migrations.Migration):
    dependencies = [("tasks", "0010_purged_logs"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.SeparateDatabaseAndState(
            # By itself, SQLite would copy the whole table for it.
            database_operations=[migrations.RunPython(drop, make)],
            state_operations=[
                migrations.AlterField(
                    "tasklog",
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        help_text="For whom the job was enqueued.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="task_logs",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                )
            ],
        )
    ]
