"""ReArq's tables with our columns, in Django's database: where jobs live unless ``db_url`` says otherwise."""

from typing import Any

from django.db import migrations

from django_cfg_tasks.store import schema

VENDORS = ("postgresql", "sqlite")


def make(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor not in VENDORS:
        return
    steps = schema.ensure(connection.vendor)
    rows = []
    with connection.cursor() as cursor:
        try:
            query = next(steps)
            while True:
                cursor.execute(query.sql)
                if query.returns:
                    names = [column[0] for column in cursor.description]
                    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                query = steps.send(rows)
        except StopIteration:
            return


def remove(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor in VENDORS:
        for statement in schema.drop_statements():
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("tasks", "0001_initial")]

    operations = [migrations.RunPython(make, remove, elidable=False)]
