"""Django's tasks on the database backend: a worker runs one job at a time, and looks for the next one each second."""

import time
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django_tasks import task  # noqa: E402
from django_tasks_db.models import DBTaskResult  # noqa: E402

from benchmarks.peers.stamps import stamp  # noqa: E402


@task()
def noop() -> None:
    stamp()


def prepare() -> None:
    call_command("migrate", verbosity=0)


def enqueue() -> Any:
    return noop.enqueue()


def leave_thread() -> None:
    connections.close_all()


def settled() -> bool:
    return not DBTaskResult.objects.filter(status__in=["READY", "RUNNING"]).exists()


def result(handle: Any) -> None:
    deadline = time.monotonic() + 30
    while not handle.is_finished:
        if time.monotonic() > deadline:
            raise TimeoutError("no result within 30 s")
        time.sleep(0.01)
        handle.refresh()
