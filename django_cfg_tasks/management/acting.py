"""Commands that do something to jobs: to those that are named, or to all of a kind, once that was confirmed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count, Max, QuerySet

from django_cfg_tasks.acts import audit, bulk
from django_cfg_tasks.acts.jobs import Outcome
from django_cfg_tasks.history.filters import filtered_by
from django_cfg_tasks.management import names
from django_cfg_tasks.management.asking import actor, add_no_input, add_user, confirm, in_plain_words
from django_cfg_tasks.management.tables import as_json
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
from django_cfg_tasks.registry import tasks

SECONDS_FOR_HISTORY = 3.0
MOST_NAMES = 8
"""Tasks whose jobs are counted one by one in what is asked."""
_NO_JOB = "No job has this id."


class ActingCommand(BaseCommand):
    """Finds the jobs, shows how many, asks, acts, says what came of it, and keeps it as people's acts are kept."""

    requires_system_checks = []
    action: str
    """``retry`` or ``cancel``."""
    done: str
    """``canceled`` and the like."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", metavar="JOB_ID", help="These jobs.")
        parser.add_argument(
            "--task", action="append", default=[], metavar="NAME", help="All of this task; may be repeated."
        )
        parser.add_argument("--queue", metavar="NAME", help="All of this queue.")
        self.add_filters(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")
        parser.add_argument("--json", action="store_true", help="Print what was done as JSON.")
        add_no_input(parser)
        add_user(parser)

    def add_filters(self, parser: CommandParser) -> None:
        """Declare what else jobs are found by."""
        raise NotImplementedError

    def chosen(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Return the filters, by the names of the REST API, that were asked for; none if none was."""
        raise NotImplementedError

    def needed(self) -> dict[str, str]:
        """Return the filters that are meant where nothing else is said."""
        return {}

    def narrowed(self, rows: QuerySet[TaskLog]) -> QuerySet[TaskLog]:
        """Leave out what is never meant."""
        return rows

    def act(self, ids: Sequence[str]) -> tuple[Outcome, Callable[[str], str]]:
        """Do it; return what came of it, and what to say of a job it was done to."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        query = self.chosen(options)
        if options["task"]:
            query["task_name"] = ",".join(options["task"])
        if options["queue"]:
            query["queue_name"] = options["queue"]
        if bool(options["ids"]) == bool(query):
            raise CommandError("Say which jobs: either their ids, or options by which all of a kind are found.")
        user = actor(options["user"])
        with in_plain_words():
            if options["ids"]:
                self._act_on_ids(list(dict.fromkeys(options["ids"])), user, options)
            else:
                self._act_on_all({**self.needed(), **query}, user, options)

    def _await_history(self) -> None:
        """Wait a moment until the history knows of what was done, so that the next command sees it."""
        recorder.flush(SECONDS_FOR_HISTORY)

    # Those that are named

    def _act_on_ids(self, ids: list[str], user: Any, options: Mapping[str, Any]) -> None:
        logs = {log.job_id: log for log in TaskLog.objects.filter(job_id__in=ids)}
        if options["dry_run"]:
            self._say({"met": len(logs), "dry_run": True}, f"{len(logs)} job(s) of these are known.", options)
            return
        outcome, words = self.act(ids)
        self._await_history()
        refused = {
            job_id: why if job_id in logs or "deleted" not in why else _NO_JOB
            for job_id, why in outcome.refused.items()
        }
        for job_id in ids:
            if job_id in outcome.done:
                audit.record(user, words(job_id), f"Job {job_id}", logs.get(job_id))
        if options["json"]:
            acted = {job_id: words(job_id) for job_id in ids if job_id in outcome.done}
            self.stdout.write(as_json({"acted_on": acted, "refused": refused}))
        else:
            for job_id in ids:
                text = self.style.SUCCESS(words(job_id)) if job_id in outcome.done else refused[job_id]
                self.stdout.write(f"{job_id}: {text}")
        if refused:
            raise CommandError(f"{len(refused)} of {len(ids)} job(s) could not be {self.done}.", returncode=1)

    # All of a kind

    def _act_on_all(self, query: dict[str, str], user: Any, options: Mapping[str, Any]) -> None:
        rows = self.narrowed(filtered_by(query, TaskLog.objects.all()))
        last = rows.aggregate(last=Max("pk"))["last"] or 0
        counts = Counter(dict(rows.filter(pk__lte=last).order_by().values_list("task_name").annotate(Count("pk"))))
        found = counts.total()
        if not found:
            for name in options["task"]:
                if name not in tasks:
                    raise names.unknown(name)
        text = f"{found:,} job(s) would be {self.done}{_by_task(counts)}."
        if options["dry_run"] or not found:
            self._say({"met": found, "by_task": counts, "dry_run": options["dry_run"]}, text, options)
            return
        if options["interactive"]:
            self.stderr.write(text)
            confirm("Are you sure?")
        report = bulk.act_on_rows(self.action, rows, last, key=uuid4().hex, progress=self._progress(options))
        self._await_history()
        audit.record(user, f"{self.action}: {report['acted_on']} of {report['met']}", f"All jobs with {query}")
        said = [self.style.SUCCESS(f"{report['acted_on']:,} job(s) {self.done}.")]
        said += [f"{count:,} not: {why}" for why, count in report["refused"].items()]
        self._say({**report, "by_task": counts}, "\n".join(said), options)

    def _progress(self, options: Mapping[str, Any]) -> Callable[[float, str], None]:
        def tell(_: float, message: str) -> None:
            if options["verbosity"] > 1:
                self.stderr.write(f"… {message}")

        return tell

    def _say(self, data: Mapping[str, Any], text: str, options: Mapping[str, Any]) -> None:
        self.stdout.write(as_json(data) if options["json"] else text)


def _by_task(counts: Counter[str]) -> str:
    if not counts:
        return ""
    parts = [f"{name} {count:,}" for name, count in counts.most_common(MOST_NAMES)]
    if rest := counts.total() - sum(count for _, count in counts.most_common(MOST_NAMES)):
        parts.append(f"others {rest:,}")
    return f" ({', '.join(parts)})"
