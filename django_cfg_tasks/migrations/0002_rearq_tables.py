"""ReArq's tables with our columns, in Django's database: where jobs live unless ``db_url`` says otherwise."""

from typing import Any

from django.db import migrations

from django_cfg_tasks.store import schema
from django_cfg_tasks.store.steps import drive_cursor

VENDORS = ("postgresql", "sqlite", "mysql")


def make(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor in VENDORS:
        with connection.cursor() as cursor:
            drive_cursor(cursor, schema.ensure(connection.vendor))


def remove(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor in VENDORS:
        with connection.cursor() as cursor:
            for statement in schema.drop_statements(connection.vendor):
                cursor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("tasks", "0001_initial")]

    operations = [migrations.RunPython(make, remove, elidable=False)]
