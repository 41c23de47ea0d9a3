"""``manage.py tasks_purge``: delete what ended long ago."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.management.asking import add_no_input, confirm
from django_cfg_tasks.management.tables import as_json
from django_cfg_tasks.retention import PurgeReport, purge

MOST_DAYS = 36_500


class Command(BaseCommand):
    """Deletes final jobs, their attempts and their rows of TaskLog; safe beside running workers."""

    help = "Delete jobs that ended more than so many days ago, and their history. Jobs that are not final stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            metavar="N",
            help="How many days ago a job must have ended. Default: RearqConfig.keep_job_days.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count what would be deleted, and delete nothing.")
        parser.add_argument("--json", action="store_true", help="Print what was done as JSON.")
        add_no_input(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run, talks = options["dry_run"], options["verbosity"] > 1

        def progress(report: PurgeReport) -> None:
            if talks:
                self.stdout.write(f"… {_sums(report)}")

        try:
            client = get_rearq_client()
            days = _days(options["days"], client.rearq_config.keep_job_days)
            cutoff = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
            # Where nobody is there to be asked (cron, CI), it was always done at once.
            if options["interactive"] and not dry_run and sys.stdin.isatty():
                self.stderr.write(f"{_sums(purge(client, cutoff, dry_run=True))} would be deleted.")
                confirm("Are you sure?")
            report = purge(client, cutoff, dry_run=dry_run, progress=progress)
        except TasksError as error:
            raise CommandError(f"The jobs can't be reached: {error}") from error
        except DatabaseError as error:
            raise CommandError(
                f"The task log can't be reached: {error} Is the database up, and was 'manage.py migrate' run?"
            ) from error
        if options["json"]:
            self.stdout.write(as_json({**asdict(report), "dry_run": dry_run, "ended_before": cutoff}))
            return
        verb = "would be deleted" if dry_run else "deleted"
        text = f"{_sums(report)} {verb} (ended before {cutoff:%Y-%m-%d %H:%M:%S} UTC)."
        self.stdout.write(text if dry_run else self.style.SUCCESS(text))


def _days(asked: int | None, configured: int | None) -> int:
    if asked is not None and not 1 <= asked <= MOST_DAYS:
        raise CommandError(f"--days {asked}: give a number of days from 1 to {MOST_DAYS}.")
    days = asked if asked is not None else configured
    if days is None:
        raise CommandError(
            "RearqConfig.keep_job_days is None, which keeps all jobs. Say how old they must be: --days 30."
        )
    return days


def _sums(report: PurgeReport) -> str:
    return f"{report.jobs:,} jobs, {report.attempts:,} attempts and {report.logs:,} rows of the task log"
