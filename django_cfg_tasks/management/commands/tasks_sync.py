"""``manage.py tasks_sync``: rebuild or repair the task log."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.management.moments import SINCE, parse_since
from django_cfg_tasks.management.tables import as_json
from django_cfg_tasks.sync import SyncReport, sync


class Command(BaseCommand):
    """Reads the jobs' own tables and brings TaskLog up to them; safe beside running workers."""

    help = "Rebuild or repair the task log from the jobs' own tables."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            metavar=SINCE,
            help="Only jobs enqueued since then: an age (30m, 2h, 3d, 1w) or a time in ISO 8601. Default: all.",
        )
        parser.add_argument("--json", action="store_true", help="Print what was done as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        since: dt.datetime | str | None = options["since"]
        if isinstance(since, str):
            since = parse_since(since)
        talks = options["verbosity"] > 1

        def progress(report: SyncReport) -> None:
            if talks:
                self.stdout.write(f"… {report.read:,} jobs read")

        try:
            report = sync(since=since, progress=progress)
        except TasksError as error:
            raise CommandError(f"The jobs can't be read: {error}") from error
        except DatabaseError as error:
            raise CommandError(
                f"The task log can't be written: {error} Is the database up, and was 'manage.py migrate' run?"
            ) from error
        if options["json"]:
            self.stdout.write(as_json(report))
            return
        which = f"enqueued since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "in all"
        self.stdout.write(
            self.style.SUCCESS(f"{report.read:,} jobs read ({which}), {report.written:,} rows up to date.")
        )
        if report.written < report.read:
            self.stdout.write(
                self.style.WARNING(f"{report.read - report.written:,} were refused by the database; the log says why.")
            )
