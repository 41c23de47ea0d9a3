"""``manage.py tasks_retry``: run jobs again that have ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from django.core.management.base import CommandError, CommandParser
from django.db.models import Exists, OuterRef, QuerySet

from django_cfg_tasks.acts import jobs
from django_cfg_tasks.management.acting import ActingCommand
from django_cfg_tasks.management.moments import SINCE, parse_since
from django_cfg_tasks.models import TaskLog


class Command(ActingCommand):
    """Runs the jobs that are named again, or all that have failed and were not run again since."""

    help = "Run jobs again, as new jobs. Asks before it runs all that have failed."
    action, done = "retry", "run again"

    def add_filters(self, parser: CommandParser) -> None:
        """Declare what says that failed ones are meant, and since when."""
        parser.add_argument("--failed", action="store_true", help="All that have failed, and were not run again since.")
        parser.add_argument("--since", metavar=SINCE, help="Of those, the ones that ended since: 2h, 3d, or a time.")

    def chosen(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Return what finds failed jobs."""
        if not options["failed"]:
            if options["since"] or options["task"] or options["queue"]:
                raise CommandError("--failed is missing: all of a kind are run again only where they have failed.")
            return {}
        since = {"finished_after": parse_since(options["since"]).isoformat()} if options["since"] else {}
        return {"status": "failed", **since}

    def narrowed(self, rows: QuerySet[TaskLog]) -> QuerySet[TaskLog]:
        """Leave out those that have been run again, so that this may be repeated."""
        again = TaskLog.objects.filter(retry_of__gt="", retry_of=OuterRef("job_id"))
        return rows.filter(~Exists(again))

    def act(self, ids: Sequence[str]) -> tuple[jobs.Outcome, Callable[[str], str]]:
        """Run them again."""
        new = {job_id: uuid4().hex for job_id in ids}
        return jobs.retry_many(new), lambda job_id: f"run again as {new[job_id]}"
