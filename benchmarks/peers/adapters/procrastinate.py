"""Procrastinate on PostgreSQL, which notifies its worker. It keeps a job's state and no result: the task rings."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from procrastinate import App, PsycopgConnector

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ring, wait_for_bell

# 20 connections: its own default of 4 would have 100 callers wait for each other.
app = App(connector=PsycopgConnector(conninfo=os.environ["PEER_POSTGRES"], min_size=4, max_size=20))


@app.task(name="noop")
async def noop() -> None:
    stamp()


@app.task(name="ring_back")
async def ring_back() -> None:
    ring()


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    async with app.open_async():
        yield


async def prepare() -> None:
    await app.schema_manager.apply_schema_async()


async def enqueue() -> int:
    return await noop.defer_async()


async def enqueue_many(count: int) -> None:
    await noop.batch_defer_async(*[{}] * count)


async def ask() -> int:
    return await ring_back.defer_async()


async def settled() -> bool:
    found = await app.connector.execute_query_one_async(
        "SELECT count(*) AS left FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    )
    return not found["left"]


async def result(_job_id: int) -> None:
    wait_for_bell()
