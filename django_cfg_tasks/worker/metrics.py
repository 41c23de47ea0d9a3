"""What one worker or timer process does, as metrics on a port of its own. Off unless a port is given.

It is put around the parts of a running process, as `profile` is, so that these know nothing of it, and cost nothing
without it. Jobs matter more than metrics: where the port is taken, the process works, and tries for it again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import ConfigurationError
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord
from django_cfg_tasks.recorder import recorder
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import Outcome

if TYPE_CHECKING:
    from django_cfg_tasks.worker.ledger import Ledger
    from django_cfg_tasks.worker.runner import Runner
    from django_cfg_tasks.worker.slots import Slots
    from django_cfg_tasks.worker.sweeper import Sweeper
    from django_cfg_tasks.worker.watch import LoopWatch

logger = logging.getLogger("django_cfg_tasks.worker")

PREFIX = "django_cfg_tasks_worker_"
UNKNOWN = "(unknown)"
"""The name of all tasks that this process does not know: there may be any number."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
"""Seconds: from the shortest jobs to those of an hour."""
AGAIN_SECONDS = 5.0
"""Until a port that is taken is tried again: the process before may still finish its jobs."""


def prepared(client: ReArqClient, port: int | None, number: int) -> Metrics | None:
    """Return the metrics of process ``number``, from 1, of several; None where the configuration wants none.

    ``port`` stands before the configuration's. ConfigurationError where prometheus-client is not installed.
    """
    first = port or client.rearq_config.metrics_port
    if first is None:
        return None
    if find_spec("prometheus_client") is None:
        raise ConfigurationError(
            f"Metrics at port {first} need prometheus-client: pip install 'django-cfg-tasks[metrics]'"
        )
    return Metrics(client, client.rearq_config.metrics_host, first + number - 1)


class Metrics:
    """The metrics of one process; made and used on its loop, read from the threads of its server."""

    def __init__(self, client: ReArqClient, host: str, port: int) -> None:
        import prometheus_client as prometheus

        self._host, self._port = host, port
        self._server: Any = None
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        by_task = ["task", "queue"]
        self._started = self._counter("jobs_started", "Runs that began.", by_task)
        self._runs = self._counter("runs", "Runs whose outcome this process has recorded.", [*by_task, "outcome"])
        self._takeovers = self._counter("takeovers", "Runs of dead workers that this one has taken over.")
        self._rings = self._counter("sweeper_rings", "Jobs that Redis knew nothing of, and that were rung for again.")
        self._seconds = self._histogram("job_duration_seconds", "How long runs took.", by_task)
        self._waits = self._histogram("job_wait_seconds", "How long jobs waited, from when they were due.", ["queue"])
        self._gauge("history_pending", "Jobs that wait to be written to the task log.", lambda: recorder.pending)
        self._gauge("history_dropped", "1 while changes were dropped and not read back.", lambda: recorder.has_dropped)
        self._follow_outcomes(client)

    def follow_worker(self, runner: Runner, slots: Slots, ledger: Ledger, watch: LoopWatch, most: int) -> None:
        """Show what a worker is at, and count the runs that it begins."""
        self._gauge("slots", "Jobs that it runs at once.", lambda: most)
        self._gauge("slots_busy", "Jobs that it runs.", lambda: slots.running)
        self._gauge("unrecorded", "Outcomes that wait to be recorded in SQL.", lambda: ledger.unrecorded)
        self._gauge(
            "loop_blocked_seconds", "For how long its event loop has not turned.", lambda: watch.blocked_seconds
        )
        original = runner.run

        async def run(record: JobRecord, *, not_before: dt.datetime | None = None) -> Any:
            self._note_start(record)
            return await original(record, not_before=not_before)

        runner.run = run  # type: ignore[method-assign]

    def follow_sweeper(self, sweeper: Sweeper) -> None:
        """Count what a sweeper rings for."""
        original = sweeper.sweep

        async def sweep() -> int:
            rung = await original()
            self._rings.inc(rung)
            return rung

        sweeper.sweep = sweep  # type: ignore[method-assign]

    async def serve(self) -> NoReturn:
        """Serve until cancelled."""
        from prometheus_client import start_http_server

        told = False
        while self._server is None:
            try:
                self._server, _ = start_http_server(self._port, self._host, self.registry)
            except OSError as error:
                if not told:
                    logger.warning(
                        "Metrics can't be served at %s:%d yet; trying again and again. %s",
                        self._host,
                        self._port,
                        error,
                    )
                told = True
                await asyncio.sleep(AGAIN_SECONDS)
        logger.info("Metrics are served at http://%s:%d/metrics.", self._host, self._port)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    def close(self) -> None:
        """Serve no longer. Blocks for half a second at most."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _follow_outcomes(self, client: ReArqClient) -> None:
        original = client.store.record

        async def record(outcomes: Sequence[Outcome]) -> set[int]:
            taken = await original(outcomes)
            for outcome in outcomes:
                if outcome.record.id in taken and outcome.attempt is not None:
                    self._note_outcome(outcome.record, outcome.attempt)
            return taken

        client.store.record = record  # type: ignore[method-assign]

    def _note_start(self, record: JobRecord) -> None:
        self._started.labels(_name(record), record.queue).inc()
        # Of a job that was put back only its first moment in the queue is known.
        if record.attempt == 1 or record.due_time is not None:
            since = max(record.enqueue_time, record.due_time or record.enqueue_time)
            self._waits.labels(record.queue).observe(max(0.0, time.time() - since.timestamp()))

    def _note_outcome(self, record: JobRecord, attempt: Attempt) -> None:
        name = _name(record)
        self._runs.labels(name, record.queue, attempt.outcome.value).inc()
        if attempt.outcome is AttemptOutcome.orphaned:
            self._takeovers.inc()
        elif attempt.duration is not None:
            self._seconds.labels(name, record.queue).observe(attempt.duration)

    def _counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Any:
        from prometheus_client import Counter

        return Counter(PREFIX + name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, labels: Sequence[str]) -> Any:
        from prometheus_client import Histogram

        return Histogram(PREFIX + name, about, labels, registry=self.registry, buckets=BUCKETS)

    def _gauge(self, name: str, about: str, value: Any) -> None:
        from prometheus_client import Gauge

        Gauge(PREFIX + name, about, registry=self.registry).set_function(lambda: float(value()))


def _name(record: JobRecord) -> str:
    return record.task if tasks.get(record.task) is not None else UNKNOWN
