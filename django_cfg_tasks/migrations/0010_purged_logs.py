"""How many rows retention has deleted: what metrics count must not fall. On MySQL, queues are told apart exactly."""

from typing import Any

from django.db import migrations, models


def make_exact(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "mysql":
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE `django_cfg_task_purged` "
                "MODIFY `queue_name` VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
            )


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0009_mysql"),
    ]

    operations = [
        migrations.CreateModel(
            name="PurgedLogs",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("queue_name", models.CharField(max_length=100)),
                ("status", models.CharField(max_length=20)),
                ("number", models.BigIntegerField(default=0)),
            ],
            options={
                "db_table": "django_cfg_task_purged",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("queue_name", "status"), name="cfg_task_purged_unique"),
                ],
            },
        ),
        migrations.RunPython(make_exact, migrations.RunPython.noop),
    ]
