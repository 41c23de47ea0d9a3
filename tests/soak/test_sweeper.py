"""A hundred thousand jobs that wait: the sweeper looks at each, rings for what is lost, and stays small."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from django_cfg_tasks import ReArqClient, RearqConfig, TaskConfig
from django_cfg_tasks.broker import bell_of
from django_cfg_tasks.worker.sweeper import Sweeper
from tests.records import queued
from tests.redis_server import RedisServer

JOBS = 100_000
MOST_MEGABYTES = 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_backlog_of_100_000(
    request: pytest.FixtureRequest, database: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path / 'jobs.db'}"
    if database == "postgres":
        server: Any = request.getfixturevalue("postgres_server")
        url = server.url(request.getfixturevalue("postgres_database"))
    client = ReArqClient(TaskConfig(rearq=RearqConfig(redis_url=redis_server.url, db_url=url)))

    async def act() -> None:
        client.home.adopt(asyncio.get_running_loop())
        for start in range(0, JOBS, 5000):
            records = [queued(f"job-{number}") for number in range(start, start + 5000)]
            await client.store.insert(records)
            await client.broker.ring([bell_of(record) for record in records])
        await client.broker.create_groups(["default"], "rearq")
        sweeper = Sweeper(client)
        tracemalloc.start()
        assert await sweeper.sweep() == 0, "all are known"
        redis_server.wipe()
        assert await sweeper.sweep() == JOBS, "all are lost"
        assert await sweeper.sweep() == 0, "all are known again"
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert await client.broker.depths(["default"]) == {"default": JOBS}
        assert peak < MOST_MEGABYTES * 1_000_000, f"{peak / 1e6:.1f} MB"
        print(f"{peak / 1e6:.1f} MB")
        await client.aclose()

    asyncio.run(act())
