"""Django Q2 on Redis, which keeps what was done in PostgreSQL. Its workers are processes."""

import os
from pathlib import Path
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django_q.models import Success  # noqa: E402
from django_q.tasks import async_task  # noqa: E402
from django_q.tasks import result as fetch_result  # noqa: E402

from benchmarks.peers.stamps import Stamps, stamp  # noqa: E402


def noop() -> None:
    stamp()


def answer() -> int:  # a result of None would look like one that is not there yet
    return 1


def prepare() -> None:
    call_command("migrate", verbosity=0)


def enqueue() -> Any:
    return async_task(noop)


def ask() -> Any:
    return async_task(answer)


def leave_thread() -> None:
    connections.close_all()


def settled() -> bool:
    runs = Stamps(Path(os.environ["PEER_STAMPS"])).read()[0]
    return Success.objects.filter(func=f"{__name__}.noop").count() >= runs


def result(task_id: Any) -> None:
    if fetch_result(task_id, wait=30_000) is None:
        raise TimeoutError("no result within 30 s")
