"""Columns for unique jobs and progress, and the table of what is known of tasks, for databases that have 0002."""

from importlib import import_module

from django.db import migrations

make = import_module("django_cfg_tasks.migrations.0002_rearq_tables").make


class Migration(migrations.Migration):
    dependencies = [("tasks", "0002_rearq_tables")]

    # 0002's reverse drops the tables with all that is in them; a table too wide harms nobody meanwhile.
    operations = [migrations.RunPython(make, migrations.RunPython.noop, elidable=False)]
