"""This project, in the folder of a `tests.project.TaskProject`. Async throughout, as the others that can be."""

from typing import Any

import django
from asgiref.sync import sync_to_async
from django.core.management import call_command

from benchmarks.peers.wire import ask as redis

django.setup()

from django.db import connection  # noqa: E402
from shop.tasks import noop  # noqa: E402

# Nothing waits or runs; each outcome is in the history.
UNSETTLED = (
    "SELECT count(*) FROM rearq_job WHERE status IN ('queued', 'deferred', 'in_progress')",
    "SELECT (SELECT count(*) FROM rearq_job) - (SELECT count(*) FROM django_cfg_task_log WHERE status = 'success')",
)


@sync_to_async
def prepare() -> None:
    call_command("migrate", verbosity=0)


async def enqueue() -> Any:
    return await noop.delay()


async def enqueue_many(count: int) -> None:
    await noop.delay_many([()] * count)


@sync_to_async
def settled() -> bool:
    if redis("XLEN", "rearq:queue:default"):  # an entry is deleted when it is acknowledged
        return False
    with connection.cursor() as cursor:
        for query in UNSETTLED:
            cursor.execute(query)
            if cursor.fetchone() != (0,):
                return False
    return True


async def result(job: Any) -> None:
    outcome = await job.result(timeout=30)
    if not (outcome and outcome.success):
        raise RuntimeError(f"{job} ended as {outcome}")
