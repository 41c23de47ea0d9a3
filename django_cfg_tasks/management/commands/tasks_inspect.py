"""``manage.py tasks_inspect``: how things stand now, in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from django_cfg_tasks import live
from django_cfg_tasks.management.asking import in_plain_words
from django_cfg_tasks.management.moments import age
from django_cfg_tasks.management.tables import as_json, table

WATCH_SECONDS = 2.0
_CLEAR = "\033[H\033[2J"


class Command(BaseCommand):
    """Shows queues, workers and timers, from the same questions as the admin's dashboard."""

    help = "Show queues, workers and timers as they stand now."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print it as JSON; with --watch, one line each time.")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=float,
            const=WATCH_SECONDS,
            metavar="SECONDS",
            help=f"Show it again and again, every {WATCH_SECONDS:g} seconds or so many, until Ctrl-C.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        pause: float | None = options["watch"]
        if pause is not None and not 0.1 <= pause <= 3_600:
            raise CommandError(f"--watch {pause:g}: give a number of seconds from 0.1 to 3600.")
        try:
            while True:
                known = self._show(options["json"], pause)
                if pause is None:
                    break
                time.sleep(pause)
        except KeyboardInterrupt:
            if pause is None:
                raise
            return
        if not known:
            raise CommandError("Redis or SQL can't be asked.")

    def _show(self, wants_json: bool, pause: float | None) -> bool:
        """Show it once; return whether all could be asked."""
        with in_plain_words():
            standing = live.ask_all()
        if wants_json:
            shown = {
                "healthy": standing.health.healthy, "checks": standing.health.checks, "queues": standing.queues,
                "workers": standing.workers, "open": standing.open,
            }  # fmt: skip
            self.stdout.write(as_json(shown, indent=2 if pause is None else None))
        else:
            text = "\n".join(self._lines(standing))
            if pause is not None:
                clear = _CLEAR if self.stdout.isatty() else ""
                text = f"{clear}{timezone.localtime():%H:%M:%S}, every {pause:g} s; Ctrl-C ends\n\n{text}\n"
            self.stdout.write(text)
        self.stdout.flush()
        return standing.queues is not None and standing.workers is not None

    def _lines(self, standing: live.Standing) -> Iterator[str]:
        heading = self.style.MIGRATE_HEADING
        for check in standing.health.checks:
            if not check.healthy:
                yield self.style.ERROR(f"{check.name}: {check.detail}")
        if not standing.health.healthy:
            yield ""
        if standing.queues is not None:
            yield from table(
                ("queue", "waiting", "oldest", "running", "delayed", "at gates", "workers"),
                [
                    (queue.name, queue.ready, age(queue.oldest_ready_seconds), queue.running, queue.deferred,
                     queue.waiting_at_gates, queue.workers)
                    for queue in standing.queues
                ],
                heading,
            )  # fmt: skip
        if standing.queues is None and standing.open is not None:
            numbers = ", ".join(f"{count:,} {status}" for status, count in sorted(standing.open.items()))
            yield f"By SQL: {numbers or 'no job is open'}."
        for kind, headings, row in (("worker", _WORKER, _worker), ("timer", _TIMER, _timer)):
            peers = [peer for peer in standing.workers or () if peer.kind == kind]
            if peers:
                yield ""
                yield from table(headings, [row(peer) for peer in peers], heading)


_WORKER = ("worker", "state", "slots", "queues", "done", "last sign", "version")
_TIMER = ("timer", "state", "last sign", "version")


def _worker(peer: live.WorkerState) -> tuple[object, ...]:
    slots = f"{peer.running}/{peer.slots}"
    return (peer.name, peer.state, slots, ", ".join(peer.queues), peer.done, age(peer.heartbeat_age), peer.version)


def _timer(peer: live.WorkerState) -> tuple[object, ...]:
    return (peer.name, peer.state, age(peer.heartbeat_age), peer.version)
