"""The tasks of a run: one for each kind of job. They note when they start and how they end, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.ledger import RUNS, note
from chaos.plan import RETRIES
from django_cfg_tasks import JobContext, task


class ExpectedError(Exception):
    """What `flaky` and `failing` raise."""


@contextmanager
def noted(ctx: JobContext) -> Iterator[None]:
    """Note the start of a run and its end."""
    run = (ctx.job_id, ctx.attempt, os.getpid())
    note(RUNS, ("start", *run))
    how = "stopped"
    try:
        yield
        how = "end"
    except ExpectedError:
        how = "raise"
        raise
    finally:
        note(RUNS, (how, *run))


# None of the kinds that should succeed is retried: what they raise can't hide behind a second try.


@task(bind=True, job_retry=0)
async def quick(ctx: JobContext, seconds: float) -> str:
    with noted(ctx):
        return ctx.job_id


@task(bind=True, job_retry=0)
async def nap(ctx: JobContext, seconds: float) -> None:
    with noted(ctx):
        await asyncio.sleep(seconds)


@task(bind=True, job_retry=0)
def thread(ctx: JobContext, seconds: float) -> None:
    with noted(ctx):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:  # in slices: an interrupt takes effect between two of them
            time.sleep(0.02)


@task(bind=True, job_retry=0)
async def late(ctx: JobContext, seconds: float) -> None:
    """``seconds`` was its countdown."""
    with noted(ctx):
        await asyncio.sleep(0)


@task(bind=True, job_retry=RETRIES, job_retry_after=1)
async def flaky(ctx: JobContext, seconds: float) -> None:
    with noted(ctx):
        if ctx.job_retries == 0:
            raise ExpectedError("at the first try")


@task(bind=True, job_retry=RETRIES, job_retry_after=1)
def failing(ctx: JobContext, seconds: float) -> None:
    with noted(ctx):
        raise ExpectedError("each time")


@task(bind=True, job_retry=0)
async def blocking(ctx: JobContext, seconds: float) -> None:
    with noted(ctx):
        time.sleep(seconds)  # noqa: ASYNC251  (that is the point)


@task(bind=True, job_retry=0)
async def poison(ctx: JobContext, seconds: float) -> None:
    with noted(ctx):
        os.kill(os.getpid(), signal.SIGKILL)
