"""``manage.py tasks_list``: which tasks there are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_cfg_tasks import live
from django_cfg_tasks.management.asking import in_plain_words
from django_cfg_tasks.management.tables import as_json, table
from django_cfg_tasks.options import TaskOptions

_PLAIN = TaskOptions().as_dict()


class Command(BaseCommand):
    """Shows the tasks that this project declares, as the admin and the REST API know them."""

    help = "List the tasks that there are: queue, schedule, options that differ from the defaults, jobs not yet done."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", metavar="NAME", help="Only those of this queue.")
        parser.add_argument("--json", action="store_true", help="Print all that is known of them as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        with in_plain_words():
            tasks, schedules = live.ask(live.declared_tasks), live.ask(live.schedules)
        if options["queue"]:
            tasks = [task for task in tasks if task.queue == options["queue"]]
        by_name = {schedule.task: schedule for schedule in schedules}
        if options["json"]:
            listed = [
                {
                    "name": task.name, "path": task.path, "signature": task.signature, "queue": task.queue,
                    "enabled": task.enabled, "options": task.options, "queued": task.queued,
                    "deferred": task.deferred, "running": task.running, "schedule": by_name.get(task.name),
                }
                for task in tasks
            ]  # fmt: skip
            self.stdout.write(as_json(listed))
            return
        rows = [
            (task.name, task.queue, _schedule(by_name.get(task.name)), task.queued + task.deferred, task.running,
             _options(task))
            for task in tasks
        ]  # fmt: skip
        for line in table(
            ("task", "queue", "schedule", "waiting", "running", "options"), rows, self.style.MIGRATE_HEADING
        ):
            self.stdout.write(line)


def _schedule(schedule: live.ScheduleInfo | None) -> str:
    if schedule is None:
        return "-"
    return f"{schedule.expression}{' (paused)' if schedule.paused else ''}"


def _options(task: live.TaskInfo) -> str:
    chosen = [f"{name}={value}" for name, value in task.options.items() if name != "queue" and value != _PLAIN[name]]
    return ", ".join([*([] if task.enabled else ["disabled"]), *chosen]) or "-"
