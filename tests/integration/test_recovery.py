"""The jobs' tables under take-over: only the attempt that owns a job can end it, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from django_cfg_tasks import RearqConfig
from django_cfg_tasks.broker import Broker, Entry, keys, script
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.store import Outcome, Store, target_of_url
from django_cfg_tasks.worker.recovery import Recovery
from tests.records import queued
from tests.redis_server import RedisServer

Act = Callable[[Store], Awaitable[Any]]


@pytest.fixture(params=["sqlite", "postgres"])
def on_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Act], Any]:
    """Run a coroutine function with a store on an empty database."""
    url = f"sqlite://{tmp_path / 'jobs.db'}"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = server.url(request.getfixturevalue("postgres_database"))

    async def run(act: Act) -> Any:
        store = Store(target_of_url(url))
        try:
            return await act(store)
        finally:
            await store.close()

    return lambda act: asyncio.run(run(act))


def ended(record: JobRecord, status: JobStatus, outcome: AttemptOutcome, worker: str) -> Outcome:
    copy = record.snapshot()
    copy.status = status
    now = dt.datetime.now(dt.UTC)
    return Outcome(copy, Attempt(record.attempt, worker, record.start_time, now, outcome), f"1-0#{record.attempt}")


def test_a_stale_attempt_can_not_end_a_job(on_store: Callable[[Act], Any]) -> None:
    async def act(store: Store) -> None:
        await store.insert([queued("a")])
        stale = (await store.claim(["a"], "one"))["a"]
        orphaned = ended(stale, JobStatus.queued, AttemptOutcome.orphaned, "one")
        orphaned.record.deliveries = 1
        assert await store.record([orphaned]) == {stale.id}
        assert await store.record([ended(stale, JobStatus.failed, AttemptOutcome.failed, "one")]) == set()
        current = (await store.claim(["a"], "two"))["a"]
        assert (current.attempt, current.deliveries, current.owner) == (2, 1, "two")
        assert [attempt.outcome for attempt in current.attempts] == ["orphaned"]
        assert await store.record([ended(stale, JobStatus.failed, AttemptOutcome.failed, "one")]) == set()
        assert await store.record([ended(current, JobStatus.success, AttemptOutcome.success, "two")]) == {current.id}
        final = (await store.load(["a"], attempts=True))["a"]
        assert final.status is JobStatus.success
        assert [(attempt.worker, attempt.outcome) for attempt in final.attempts] == [
            ("one", "orphaned"),
            ("two", "success"),
        ]

    on_store(act)


def test_suspects_are_left_alone_by_those_who_take_many(on_store: Callable[[Act], Any]) -> None:
    async def act(store: Store) -> None:
        await store.insert([queued("innocent"), queued("suspect")])
        claimed = await store.claim(["suspect"], "one")
        orphaned = ended(claimed["suspect"], JobStatus.queued, AttemptOutcome.orphaned, "one")
        orphaned.record.deliveries = 2
        await store.record([orphaned])
        assert set(await store.claim(["innocent", "suspect"], "two", 2)) == {"innocent"}
        assert set(await store.claim(["innocent", "suspect"], "two", 3)) == {"suspect"}

    on_store(act)


def test_open_jobs_come_in_pages(on_store: Callable[[Act], Any]) -> None:
    async def act(store: Store) -> None:
        due = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
        await store.insert([queued("a"), queued("b", status=JobStatus.deferred, due_time=due), queued("c")])
        (claimed,) = (await store.claim(["c"], "one")).values()
        await store.cancel(["a"])
        (first,) = await store.open_page(after_id=0, limit=1)
        (second,) = await store.open_page(after_id=first.id, limit=10)
        assert (first.job_id, first.status, first.due_time, first.queue) == ("b", "deferred", due, "default")
        assert (second.job_id, second.status, second.owner) == ("c", "in_progress", "one")
        assert second.id == claimed.id
        assert await store.open_among(["a", "b", "c", "unheard-of", ""]) == {"b", "c"}

    on_store(act)


def test_what_becomes_of_entries_that_can_not_be_claimed(
    on_store: Callable[[Act], Any], redis_server: RedisServer
) -> None:
    config = RearqConfig(redis_url=redis_server.url, max_deliveries=2)

    async def act(store: Store) -> None:
        broker = Broker(config)
        names = ["ended", "running", "orphan", "poison", "vanilla"]
        await store.insert([queued(name) for name in names])
        await store.cancel(["ended"])
        await store.claim(["running"], "alive")
        await store.claim(["orphan", "poison"], "dead")
        await store.connection.execute("UPDATE rearq_job SET deliveries = 1 WHERE job_id = 'poison'")
        await store.connection.execute("UPDATE rearq_job SET status = 'in_progress' WHERE job_id = 'vanilla'")
        beat = (keys.ALIVE_PREFIX + "alive", keys.WORKERS, keys.PULSE, keys.GRACE, 60_000, "alive", "{}")
        await broker.client.eval(script("heartbeat"), 4, *beat)
        entries = [Entry("default", f"{number}-0", name) for number, name in enumerate([*names, "unknown"])]
        recovery = Recovery(config, store, broker, SignalDispatcher())
        in_grace = await recovery.look_into(entries)
        assert {entry.job_id for entry in in_grace.drop} == {*names, "unknown"}
        await broker.client.delete(keys.GRACE)
        found = await recovery.look_into(entries)
        await broker.close()
        assert {entry.job_id for entry in found.drop} == {"ended", "running", "vanilla", "unknown"}
        assert [entry.job_id for entry in found.alone] == ["orphan"]
        assert [entry.job_id for entry in found.ended] == ["poison"]
        failed = (await store.load(["poison"], attempts=True))["poison"]
        assert (failed.status, failed.deliveries, failed.error_class) == ("failed", 2, "PoisonedJobError")

    on_store(act)
