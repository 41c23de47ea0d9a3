"""ReArq, with the tables that it makes. Its worker and its `Job.result` as they are."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from loguru import logger
from rearq import ReArq
from rearq.server.models import Job, JobResult
from redis.asyncio import Redis
from tortoise import Tortoise

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis

logger.remove()  # else two lines for each job
GROUP, STREAM = "peers", "rearq:queue:default"
DATABASE = (
    os.environ["PEER_POSTGRES"]
    if os.environ["PEER_VARIANT"] == "postgres"
    else f"sqlite://{os.environ['PEER_FOLDER']}/rearq.sqlite3"
)

rearq = ReArq(
    redis_url=os.environ["PEER_REDIS"], max_jobs=int(os.environ["PEER_CONCURRENCY"]), job_retry=3, logs_dir=None
)


@rearq.on_startup
async def connect() -> None:
    await Tortoise.init(db_url=DATABASE, modules={"rearq": ["rearq.server.models"]})


@rearq.task()
async def noop() -> None:
    stamp()


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    await connect()
    yield
    await Tortoise.close_connections()


async def prepare() -> None:
    await Tortoise.generate_schemas()
    # Its worker would make the group at the stream's end and see nothing of what was enqueued before.
    async with Redis.from_url(os.environ["PEER_REDIS"]) as client:
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)


async def enqueue() -> Any:
    return await noop.delay()


async def settled() -> bool:
    return redis("XPENDING", STREAM, GROUP)[0] == 0 and await Job.all().count() == await JobResult.all().count()


async def result(job: Any) -> None:
    await job.result(timeout=30)
