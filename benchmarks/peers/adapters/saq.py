"""SAQ on Redis, as it is; a job's result is pushed to who waits."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from saq import Queue

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis


async def noop(_context: Any) -> None:
    stamp()


queue = Queue.from_url(os.environ["PEER_REDIS"])
settings = {"queue": queue, "functions": [noop], "concurrency": int(os.environ["PEER_CONCURRENCY"])}


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    await queue.connect()
    yield
    await queue.disconnect()


async def enqueue() -> Any:
    return await queue.enqueue("noop")


async def settled() -> bool:
    return redis("ZCARD", "saq:default:incomplete") == 0


async def result(job: Any) -> None:
    for _ in range(30):
        with suppress(TimeoutError):  # an end between its look at the job and its listening goes unheard
            await job.refresh(until_complete=1)
        if job.completed:
            break
    if job.status != "complete":
        raise RuntimeError(f"the job is {job.status}")
