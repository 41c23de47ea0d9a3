"""``manage.py tasks_health``: do jobs get done? Exit code 0 if so, else 1."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.health import HealthReport, check_health


class Command(BaseCommand):
    """Asks Redis, SQL, timer and workers how they are; answers within seconds whatever is down."""

    help = "Tell whether Redis, SQL, a timer and a worker for each queue are at work. Exit code 1 if one is not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queue",
            action="append",
            default=[],
            metavar="NAME",
            help="A further queue that must have a worker; may be repeated. Those that tasks name are known.",
        )
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = check_health(options["queue"])
        except TasksError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._show(report)
        if not report.healthy:
            sick = ", ".join(check.name for check in report.checks if not check.healthy)
            raise CommandError(f"Not healthy: {sick}.", returncode=1)

    def _show(self, report: HealthReport) -> None:
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            word = self.style.SUCCESS("ok  ") if check.healthy else self.style.ERROR("FAIL")
            took = f" ({check.ms:g} ms)" if check.ms is not None else ""
            self.stdout.write(f"{word}  {check.name:<{width}}  {check.detail}{took}")
