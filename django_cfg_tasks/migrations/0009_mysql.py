"""On MySQL: the jobs' tables, for databases whose 0002 passed them over, and names in the task log that are exact.

There the collation of a database decides whether "A" is "a". Names of jobs, tasks and queues are not, anywhere else.
Messages, which people search for words, are compared as text. Both hold any character, also in an old database.
"""

from importlib import import_module
from typing import Any

from django.db import migrations

make = import_module("django_cfg_tasks.migrations.0002_rearq_tables").make
NAMES = {
    "job_id": 200,
    "task_name": 200,
    "queue_name": 100,
    "status": 20,
    "worker_id": 200,
    "retry_of": 200,
    "error_class": 255,
}
TEXTS = ("error_message", "traceback", "progress_message")


def make_exact(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor == "mysql":
        make(apps, schema_editor)
        changes = [
            f"MODIFY `{name}` VARCHAR({width}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
            for name, width in NAMES.items()
        ]
        changes += [f"MODIFY `{name}` LONGTEXT CHARACTER SET utf8mb4 NOT NULL" for name in TEXTS]
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE `django_cfg_task_log` {', '.join(changes)}")


class Migration(migrations.Migration):
    dependencies = [("tasks", "0008_dashboard")]

    operations = [migrations.RunPython(make_exact, migrations.RunPython.noop, elidable=False)]
