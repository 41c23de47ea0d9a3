"""``manage.py tasks_cancel``: cancel jobs that have not ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandParser

from django_cfg_tasks.acts import jobs
from django_cfg_tasks.jobs import FINAL, JobStatus
from django_cfg_tasks.management.acting import ActingCommand

OPEN = [status.value for status in JobStatus if status not in FINAL]


class Command(ActingCommand):
    """Cancels the jobs that are named, or all that have not ended of a task, a queue or a status."""

    help = "Cancel jobs that have not ended; those that run are told to stop. Asks before it cancels all of a kind."
    action, done = "cancel", "canceled"

    def add_filters(self, parser: CommandParser) -> None:
        """Declare the statuses of jobs that have not ended."""
        parser.add_argument("--status", choices=OPEN, help="All of this status.")

    def chosen(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Return the status."""
        return {"status": options["status"]} if options["status"] else {}

    def needed(self) -> dict[str, str]:
        """Mean those that have not ended."""
        return {"status": ",".join(OPEN)}

    def act(self, ids: Sequence[str]) -> tuple[jobs.Outcome, Callable[[str], str]]:
        """Cancel."""
        return jobs.cancel_many(ids), lambda job_id: "canceled"
