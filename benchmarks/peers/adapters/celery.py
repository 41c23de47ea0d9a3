"""Celery on Redis, with two processes: its pool's own way. Its variant: the Django apps, or none and no results."""

import os
from typing import Any

from celery import Celery

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis
from benchmarks.peers.wire import ring, wait_for_bell

RESULTS = bool(os.environ["PEER_VARIANT"])
if RESULTS:
    import django

    django.setup()

app = Celery("peers", broker=os.environ["PEER_REDIS"])
app.conf.update(
    # "If you have a lot of short tasks": its page on optimizing names 50 to 150 in place of 4.
    worker_prefetch_multiplier=100,
    task_ignore_result=not RESULTS,
    broker_connection_retry_on_startup=True,
)
if RESULTS:
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf["CELERY_DB_REUSE_MAX"] = 1000  # tasks before a process connects anew; else each one does


@app.task
def noop() -> None:
    stamp()


@app.task
def ring_back() -> None:
    ring()


def prepare() -> None:
    if RESULTS:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)


def enqueue() -> Any:
    return noop.delay()


def ask() -> Any:
    return noop.delay() if RESULTS else ring_back.delay()


def settled() -> bool:
    if redis("LLEN", "celery") or redis("HLEN", "unacked"):
        return False
    if RESULTS:
        from django_celery_results.models import TaskResult

        # A row is written when the task is done; the producer writes none.
        return TaskResult.objects.filter(status="SUCCESS").count() >= _runs()
    return True


def _runs() -> int:
    from pathlib import Path

    from benchmarks.peers.stamps import Stamps

    return Stamps(Path(os.environ["PEER_STAMPS"])).read()[0]


def result(handle: Any) -> None:
    if RESULTS:
        handle.get(timeout=30, interval=0.01)
    else:
        wait_for_bell()
