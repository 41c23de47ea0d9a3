"""How things stand, as metrics that Prometheus reads. It asks nobody: it is given what is known.

What could not be asked is left out, and ``store_up`` says so: a number that is made up would be believed.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from django_cfg_tasks.history.lifetime import Lifetime
from django_cfg_tasks.jobs import FINAL
from django_cfg_tasks.live import QueueState, Standing, WorkerState

PREFIX = "django_cfg_tasks_"


def exposed(standing: Standing, jobs: Lifetime | None, accept: str) -> tuple[bytes, str]:
    """Return the text in the form that ``accept`` asks for, and its content type. ``jobs`` is None if not known."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given([*_metrics(standing, jobs)]))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Given(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _metrics(standing: Standing, jobs: Lifetime | None) -> Iterator[Metric]:
    yield _gauge("healthy", "1 if jobs get done: Redis, SQL, a timer and each queue are well.", standing.health.healthy)
    up = GaugeMetricFamily(f"{PREFIX}store_up", "1 if it answers: redis, sql (the jobs), task_log.", labels=["store"])
    for check in standing.health.checks:
        if check.name in ("redis", "sql"):
            up.add_metric([check.name], check.healthy)
    up.add_metric(["task_log"], jobs is not None)
    yield up
    if standing.queues is not None:
        yield from _queues(standing.queues)
    if standing.workers is not None:
        yield from _workers(standing.workers)
    if jobs is not None:
        yield from _jobs(jobs)


def _queues(queues: list[QueueState]) -> Iterator[Metric]:
    depth = GaugeMetricFamily(
        f"{PREFIX}queue_jobs",
        "Jobs that are not final, by state: ready, at_gates, deferred, running.",
        labels=["queue", "state"],
    )
    oldest = GaugeMetricFamily(
        f"{PREFIX}queue_oldest_seconds",
        "For how long the oldest ready job has waited; 0 if none does.",
        labels=["queue"],
    )
    workers = GaugeMetricFamily(f"{PREFIX}queue_workers", "Workers that consume it.", labels=["queue"])
    for queue in queues:
        states = {
            "ready": queue.ready,
            "at_gates": queue.waiting_at_gates,
            "deferred": queue.deferred,
            "running": queue.running,
        }
        for state, number in states.items():
            depth.add_metric([queue.name, state], number)
        oldest.add_metric([queue.name], queue.oldest_ready_seconds or 0.0)
        workers.add_metric([queue.name], queue.workers)
    yield from (depth, oldest, workers)


def _workers(workers: list[WorkerState]) -> Iterator[Metric]:
    alive = [worker for worker in workers if worker.alive]
    consuming = [worker for worker in alive if worker.kind == "worker"]
    processes = GaugeMetricFamily(
        f"{PREFIX}processes", "Processes that are alive, by kind: worker, timer.", labels=["kind"]
    )
    for kind in ("worker", "timer"):
        processes.add_metric([kind], sum(worker.kind == kind for worker in alive))
    yield processes
    leads = any(worker.kind == "timer" and worker.state == "leads" for worker in alive)
    yield _gauge("timer_leads", "1 if a timer leads.", leads)
    yield _gauge("slots", "Jobs that the workers can run at once.", sum(worker.slots for worker in consuming))
    yield _gauge("slots_busy", "Jobs that the workers run.", sum(worker.running for worker in consuming))


def _jobs(jobs: Lifetime) -> Iterator[Metric]:
    enqueued = CounterMetricFamily(f"{PREFIX}jobs_enqueued", "Jobs that were accepted, ever.", labels=["queue"])
    ended = CounterMetricFamily(
        f"{PREFIX}jobs_finished", "Jobs that came to their end, ever, by outcome.", labels=["queue", "outcome"]
    )
    for queue in sorted({queue for queue, _ in jobs}):
        enqueued.add_metric([queue], sum(number for (name, _), number in jobs.items() if name == queue))
        for status in sorted(FINAL):
            ended.add_metric([queue, status.value], jobs[queue, status.value])
    yield from (enqueued, ended)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, about, value=float(value))
