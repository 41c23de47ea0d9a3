"""streaQ, as it is but for the lines that it prints for each job."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis

worker: Any = Worker(redis_url=os.environ["PEER_REDIS"], concurrency=int(os.environ["PEER_CONCURRENCY"]))


@worker.task(silent=True)
async def noop() -> None:
    stamp()


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    async with worker:
        yield


async def enqueue() -> Any:
    return await noop.enqueue()


async def enqueue_many(count: int) -> None:
    await worker.enqueue_many([noop.enqueue() for _ in range(count)])


async def settled() -> bool:
    return redis("XLEN", f"{worker.stream_key}normal") == 0


async def result(task: Any) -> None:
    await task.result(timeout=30)
