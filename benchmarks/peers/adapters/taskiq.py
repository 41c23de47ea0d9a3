"""taskiq on a Redis stream, the broker of its that acknowledges, with results in Redis for an hour."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis

broker = RedisStreamBroker(url=os.environ["PEER_REDIS"]).with_result_backend(
    RedisAsyncResultBackend(redis_url=os.environ["PEER_REDIS"], result_ex_time=3600)
)


@broker.task
async def noop() -> None:
    stamp()


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


async def enqueue() -> Any:
    return await noop.kiq()


async def settled() -> bool:
    return redis("XPENDING", "taskiq", "taskiq")[0] == 0


async def result(task: Any) -> None:
    await task.wait_result(check_interval=0.01, timeout=30)
