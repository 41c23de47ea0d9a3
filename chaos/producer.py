"""A producer: enqueues its part of the plan at the planned times, and notes each id that it was given.

Killed and started again it goes on with what it has not noted. Run by `fleet.py` in the project's folder:
``python -m chaos.producer NUMBER SEED JOBS SECONDS PRODUCERS WORKERS``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

from chaos.ledger import FOLDER, PRODUCERS, note, read
from chaos.plan import ROLLED_BACK, Job, Step, draw

START = "CHAOS_START"
"""When the run started, in seconds since the epoch."""
RETRY_SECONDS = 0.2


class RegrettedError(Exception):
    """Raised to roll a transaction back."""


def gap_file(folder: Path, producer: int) -> Path:
    """Return the file whose presence tells a producer to die between storing a job and ringing for it."""
    return folder / f"gap-{producer}"


def main() -> None:
    """Enqueue until all is accepted."""
    number, seed, jobs, seconds, producers, workers = (float(word) for word in sys.argv[1:])
    plan = draw(int(seed), jobs=int(jobs), seconds=seconds, producers=int(producers), workers=int(workers))
    folder, me = Path(os.environ[FOLDER]), int(number)
    done = {
        int(step) for _, verb, producer, step, *_ in read(folder, PRODUCERS) if verb != "asks" and int(producer) == me
    }
    django.setup()
    print(f"Producer {me} goes on after {len(done)} steps.", flush=True)  # noqa: T201  (its log)
    for step in plan.steps[me]:
        if step.number in done:
            continue
        time.sleep(max(0.0, float(os.environ[START]) + step.at - time.time()))
        if gap_file(folder, me).exists():
            gap_file(folder, me).unlink()
            die_before_ringing()
        enqueue_until_accepted(me, step)
    print("All accepted.", flush=True)  # noqa: T201


def enqueue_until_accepted(me: int, step: Step) -> None:
    """Try a step again, with the same ids, while SQL is away."""
    from django.db import DatabaseError, InterfaceError, close_old_connections

    from django_cfg_tasks.exceptions import EnqueueError

    note(PRODUCERS, ("asks", me, step.number))
    ids: list[str] = []
    while not ids:
        try:
            ids = CALLS[step.way](step.jobs)
        except (EnqueueError, DatabaseError, InterfaceError) as error:
            print(f"Step {step.number} is tried again: {type(error).__name__}: {error}", flush=True)  # noqa: T201
            time.sleep(RETRY_SECONDS)
            close_old_connections()
    verb = "rolled-back" if step.way == ROLLED_BACK else "accepted"
    note(
        PRODUCERS,
        *((verb, me, step.number, job_id, job.kind) for job_id, job in zip(ids, step.jobs, strict=True)),
    )


def task_of(job: Job, *, known_id: bool = True) -> Any:
    """Return the job's task, ready to be enqueued under its id."""
    from chaos import tasks

    options: dict[str, Any] = {"countdown": job.seconds} if job.kind == "late" else {}
    if known_id:
        options["job_id"] = job.job_id
    return getattr(tasks, job.kind).using(**options)


def one_by_one(jobs: tuple[Job, ...]) -> list[str]:
    """Enqueue each."""
    return [task_of(job).enqueue(job.seconds).job_id for job in jobs]


def many(jobs: tuple[Job, ...]) -> list[str]:
    """Enqueue all in one statement, under ids that nobody knows before."""
    enqueued = task_of(jobs[0], known_id=False).enqueue_many([[job.seconds] for job in jobs])
    return [job.job_id for job in enqueued]


def in_transaction(jobs: tuple[Job, ...]) -> list[str]:
    """Enqueue each in one transaction, which ends well."""
    from django.db import transaction

    with transaction.atomic():
        return one_by_one(jobs)


def rolled_back(jobs: tuple[Job, ...]) -> list[str]:
    """Enqueue each in a transaction that is rolled back."""
    from django.db import transaction

    try:
        with transaction.atomic():
            one_by_one(jobs)
            raise RegrettedError
    except RegrettedError:
        return [job.job_id for job in jobs]


def side_by_side(jobs: tuple[Job, ...]) -> list[str]:
    """Enqueue all at once from an event loop."""

    async def enqueue() -> list[Any]:
        return await asyncio.gather(*(task_of(job).delay(job.seconds) for job in jobs))

    return [job.job_id for job in asyncio.run(enqueue())]


CALLS: dict[str, Callable[[tuple[Job, ...]], list[str]]] = {
    "one": one_by_one,
    "many": many,
    "transaction": in_transaction,
    "async": side_by_side,
    ROLLED_BACK: rolled_back,
}


def die_before_ringing() -> None:
    """Let this process be killed the next time that it has stored a job and is about to ring for it."""
    from django_cfg_tasks import get_rearq_client

    async def die(_bells: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(get_rearq_client().broker, "ring", die)  # noqa: B010  (a method, on this one object)


if __name__ == "__main__":
    main()
