"""``manage.py tasks_sync``: rebuild or repair the task log."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.sync import SyncReport, sync

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,9})\s*([smhdw])", re.IGNORECASE)


def parse_since(text: str) -> dt.datetime:
    """Read an age (``2h``, ``3d``) or a moment (ISO 8601; Django's time zone where it names none), as UTC."""
    try:
        if match := _AGE.fullmatch(text.strip()):
            return dt.datetime.now(dt.UTC) - dt.timedelta(**{_UNITS[match[2].lower()]: int(match[1])})
        moment = parse_datetime(text.strip())
        if moment is not None:
            if timezone.is_naive(moment):
                moment = timezone.make_aware(moment, timezone.get_default_timezone())
            return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    raise CommandError(f"--since {text!r} is neither an age such as 2h or 3d nor a time such as 2025-10-30T12:00.")


class Command(BaseCommand):
    """Reads the jobs' own tables and brings TaskLog up to them; safe beside running workers."""

    help = "Rebuild or repair the task log from the jobs' own tables."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            metavar="2h|3d|TIME",
            help="Only jobs enqueued since then: an age (30m, 2h, 3d, 1w) or a time in ISO 8601. Default: all.",
        )

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
        which = f"enqueued since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "in all"
        self.stdout.write(
            self.style.SUCCESS(f"{report.read:,} jobs read ({which}), {report.written:,} rows up to date.")
        )
        if report.written < report.read:
            self.stdout.write(
                self.style.WARNING(f"{report.read - report.written:,} were refused by the database; the log says why.")
            )
