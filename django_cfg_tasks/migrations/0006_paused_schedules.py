"""The column that says since when a schedule is paused, for databases that have 0003."""

from importlib import import_module

from django.db import migrations

make = import_module("django_cfg_tasks.migrations.0002_rearq_tables").make


class Migration(migrations.Migration):
    dependencies = [("tasks", "0005_tasklog_indexes")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop, elidable=False)]
