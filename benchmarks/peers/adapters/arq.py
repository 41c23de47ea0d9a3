"""arq. Its variant is the pause between two looks at the queue: its own default, or 10 ms."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis

POLL = float(os.environ["PEER_VARIANT"])

pool: ArqRedis
quiet: dict[str, Any] = {"version": 1, "disable_existing_loggers": False}  # its own prints two lines for each job


async def noop(_context: dict[str, Any]) -> None:
    stamp()


class WorkerSettings:
    functions = [noop]
    redis_settings = RedisSettings.from_dsn(os.environ["PEER_REDIS"])
    max_jobs = int(os.environ["PEER_CONCURRENCY"])
    poll_delay = POLL


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    global pool
    pool = await create_pool(WorkerSettings.redis_settings)
    yield
    await pool.aclose()


async def enqueue() -> Any:
    return await pool.enqueue_job("noop")


async def settled() -> bool:
    return redis("ZCARD", "arq:queue") == 0


async def result(job: Any) -> None:
    await job.result(timeout=30, poll_delay=POLL)
