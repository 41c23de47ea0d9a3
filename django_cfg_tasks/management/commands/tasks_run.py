"""``manage.py tasks_run``: enqueue a job of a task, and wait for it."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_cfg_tasks import live
from django_cfg_tasks.acts import audit
from django_cfg_tasks.acts.tasks import enqueue
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.job import JobResult
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.management import names
from django_cfg_tasks.management.asking import actor, add_user, in_plain_words
from django_cfg_tasks.management.tables import as_json
from django_cfg_tasks.registry import tasks

LOOK_SECONDS = 0.5
LONELY_SECONDS = 3.0
"""A job that has not started by then may have no worker."""
NOT_DONE, INTERRUPTED = 3, 130
"""Exit codes: it has not ended in time; Ctrl-C. One that ended badly is 1."""


class Command(BaseCommand):
    """Runs a task as any caller would: through the queue, by a worker."""

    help = "Enqueue a job of a task and wait for it. Exit code 0 if it succeeds, 1 if not, 3 if it takes too long."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="The task's name, as tasks_list shows it.")
        parser.add_argument("--kwargs", metavar="JSON", default="{}", help='Keyword arguments: \'{"to": "ada"}\'.')
        parser.add_argument("--args", metavar="JSON", dest="arguments", default="[]", help="Positional ones: '[1, 2]'.")
        parser.add_argument("--queue", metavar="NAME", help="Another queue than the task's own.")
        parser.add_argument("--countdown", type=float, metavar="SECONDS", help="Run it so much later.")
        waiting = parser.add_mutually_exclusive_group()
        waiting.add_argument("--wait", action="store_true", default=True, help="Wait until it has ended (the default).")
        waiting.add_argument("--no-wait", action="store_false", dest="wait", help="Only enqueue it, and print its id.")
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="Wait no longer than this.")
        parser.add_argument("--json", action="store_true", help="Print the job as JSON, and no progress.")
        add_user(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        if name not in tasks:
            raise names.unknown(name)
        arguments = _read(options["arguments"], "--args", list)
        keywords = _read(options["kwargs"], "--kwargs", dict)
        user = actor(options["user"])
        with in_plain_words():
            task = tasks[name].using(
                queue=options["queue"], countdown=options["countdown"], user=getattr(user, "pk", None)
            )
            record, _ = enqueue(task, arguments, keywords)
            audit.record(user, "enqueued", f"Job {record.job_id} of {name}")
            if options["wait"]:
                self._wait(record, options["timeout"], wants_json=options["json"])
            elif options["json"]:
                self.stdout.write(as_json(_shown(record)))
            else:
                self.stdout.write(record.job_id)

    def _wait(self, record: JobRecord, timeout: float | None, *, wants_json: bool) -> None:
        if not wants_json:
            self.stdout.write(f"Job {record.job_id} of {record.task}, in the queue {record.queue}.")
        try:
            ended = self._follow(record, timeout, quiet=wants_json)
        except KeyboardInterrupt:
            raise CommandError(
                f"The job goes on. To stop it: manage.py tasks_cancel {record.job_id}", returncode=INTERRUPTED
            ) from None
        if ended is None:
            raise CommandError(
                f"The job has not ended in {timeout:g} s, and goes on. To stop it: "
                f"manage.py tasks_cancel {record.job_id}",
                returncode=NOT_DONE,
            )
        result: JobResult[Any] = JobResult(ended)
        if wants_json:
            self.stdout.write(as_json(_shown(ended)))
        elif result.success:
            took = f" in {ended.duration_ms:,} ms" if ended.duration_ms is not None else ""
            self.stdout.write(self.style.SUCCESS(f"success{took}"))
            self.stdout.write(as_json(ended.result))
        if not result.success:
            raise CommandError(f"The job is {ended.status}. {result.error}", returncode=1)

    def _follow(self, record: JobRecord, timeout: float | None, *, quiet: bool) -> JobRecord | None:
        """Return the job once it is final; None after ``timeout`` seconds. Show how far it is meanwhile."""
        client = get_rearq_client()
        deadline = None if timeout is None else time.monotonic() + timeout
        lonely_at = time.monotonic() + LONELY_SECONDS
        shown = ""
        while deadline is None or time.monotonic() < deadline:
            left = LOOK_SECONDS if deadline is None else min(LOOK_SECONDS, max(0.0, deadline - time.monotonic()))
            ended = client.wait_final(record.job_id, left)
            if ended is not None or quiet:
                if ended is not None:
                    return ended
                continue
            now = client.load([record.job_id]).get(record.job_id, record)
            if (line := _standing(now)) != shown:
                shown = line
                self.stdout.write(line)
                self.stdout.flush()
            if now.status is JobStatus.queued and lonely_at <= time.monotonic():
                lonely_at = float("inf")
                self._warn_if_nobody_takes(now.queue)
        return None

    def _warn_if_nobody_takes(self, queue: str) -> None:
        try:
            serving = {state.name: state.workers for state in live.ask(live.queues)}
        except TasksError:
            return  # an answer that is only a help
        if not serving.get(queue):
            self.stderr.write(
                self.style.WARNING(f"No worker takes from the queue {queue}. Start one: manage.py rearq worker")
            )


def _read(text: str, option: str, kind: type[list[Any] | dict[str, Any]]) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{option} {text!r} is not JSON: {error}.") from None
    if not isinstance(value, kind):
        example = '{"to": "ada@example.com"}' if kind is dict else '["ada@example.com", 3]'
        raise CommandError(f"{option} {text!r}: it takes a JSON {'object' if kind is dict else 'array'}, as {example}.")
    return value


def _standing(record: JobRecord) -> str:
    if record.status is JobStatus.deferred and record.due_time is not None:
        return f"waits until {record.due_time:%Y-%m-%d %H:%M:%S} UTC"
    if record.status is not JobStatus.in_progress:
        return "waits"
    far = f"{record.progress:4.0%}" if record.progress is not None else ""
    return " ".join(part for part in ("runs", far, record.progress_message) if part)


def _shown(record: JobRecord) -> dict[str, Any]:
    return {
        "job_id": record.job_id, "task": record.task, "queue": record.queue, "status": record.status.value,
        "success": record.success, "result": record.result, "error_class": record.error_class,
        "error_message": record.error_message, "attempts": len(record.attempts), "duration_ms": record.duration_ms,
        "enqueue_time": record.enqueue_time, "start_time": record.start_time, "finish_time": record.finish_time,
    }  # fmt: skip
