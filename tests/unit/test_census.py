"""Which jobs Redis knows of, who is alive, and who takes what over: Redis's side of recovery, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from django_cfg_tasks import RearqConfig
from django_cfg_tasks.broker import Bell, Broker, keys, script
from tests.redis_server import RedisServer

GROUP = "rearq"
Act = Callable[[Broker], Awaitable[Any]]


@pytest.fixture
def on_broker(redis_server: RedisServer) -> Callable[[Act], Any]:
    """Run a coroutine function with a broker whose queue ``a`` has its group."""

    async def run(act: Act) -> Any:
        broker = Broker(RearqConfig(redis_url=redis_server.url, delay_queue_num=3))
        try:
            await broker.create_groups(["a"], GROUP)
            return await act(broker)
        finally:
            await broker.close()

    return lambda act: asyncio.run(run(act))


async def ring(broker: Broker, *ids: str, queue: str = "a") -> None:
    await broker.ring([Bell(queue, job_id) for job_id in ids])


async def give_sign(broker: Broker, name: str, lease_ms: int = 60_000) -> bool:
    return bool(
        await broker.client.eval(
            script("heartbeat"), 4, keys.ALIVE_PREFIX + name, keys.WORKERS, keys.PULSE, keys.GRACE, lease_ms, name, "{}"
        )
    )


async def all_may_be_judged(broker: Broker) -> None:
    await give_sign(broker, "somebody")
    await broker.client.delete(keys.GRACE)


def test_what_waits_is_delayed_or_is_run_is_known(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        await ring(broker, "runs", "waits")
        await broker.fetch(["a"], GROUP, "one", 1)
        await broker.ring([Bell("a", f"later:{number}", 2**41) for number in range(10)])
        await ring(broker, *(f"many-{number}" for number in range(2500)), queue="b")
        census = await broker.take_census(["a", "b"], [GROUP])
        known = {"runs", "waits", *(f"later:{n}" for n in range(10)), *(f"many-{n}" for n in range(2500))}
        assert len(census) == len(known)
        assert all(job_id in census for job_id in known)
        assert "unheard-of" not in census
        assert census.left_over == {}
        assert list(census.pending["a", GROUP].values()) == ["runs"]

    on_broker(act)


def test_an_entry_whose_consumer_was_deleted_is_left_over(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        await ring(broker, "forgotten", "waits")
        (entry,) = await broker.fetch(["a"], GROUP, "one", 1)
        await broker.client.xgroup_delconsumer(keys.stream("a"), GROUP, "one")
        census = await broker.take_census(["a"], [GROUP])
        assert census.left_over == {"a": [entry.msg_id]}
        assert "forgotten" not in census
        assert "waits" in census
        await broker.discard("a", [entry.msg_id])
        assert await broker.depths(["a"]) == {"a": 1}

    on_broker(act)


def test_another_groups_entries_count_where_it_is_asked_for(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        await ring(broker, "x")
        (entry,) = await broker.fetch(["a"], GROUP, "one", 1)
        await broker.client.xack(keys.stream("a"), GROUP, entry.msg_id)
        await broker.create_groups(["a"], "blue")
        assert "x" not in await broker.take_census(["a"], [GROUP])
        assert "x" in await broker.take_census(["a"], [GROUP, "blue"])

    on_broker(act)


def test_nobody_is_dead_until_all_could_give_a_sign(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        assert await broker.dead(["x"]) is None, "no pulse: Redis was away, or nobody ran"
        assert await give_sign(broker, "y") is False
        assert await broker.dead(["x"]) is None, "grace: x may be about to give a sign"
        await broker.client.delete(keys.GRACE)
        assert await broker.dead(["x", "y"]) == {"x"}
        assert await give_sign(broker, "y") is True
        assert await broker.client.exists(keys.GRACE) == 0, "the pulse never stopped"

    on_broker(act)


def test_the_dead_lose_their_entries_and_the_living_keep_theirs(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        await ring(broker, *(f"job-{number}" for number in range(6)))
        for consumer in ("dead", "alive"):
            await broker.fetch(["a"], GROUP, consumer, 3)
        await give_sign(broker, f"{GROUP}-alive")
        await give_sign(broker, f"{GROUP}-me")
        assert await broker.take_over(["a"], GROUP, "me", 10) == [], "in grace nobody is robbed"
        await broker.client.delete(keys.GRACE)
        assert [e.job_id for e in await broker.take_over(["a"], GROUP, "me", 2)] == ["job-0", "job-1"]
        assert [e.job_id for e in await broker.take_over(["a", "none"], GROUP, "me", 10)] == ["job-2"]
        assert await broker.take_over(["a"], GROUP, "me", 10) == []
        assert [e.job_id for e in await broker.own(["a"], GROUP, "me")] == ["job-0", "job-1", "job-2"]
        assert {c["name"] for c in await broker.client.xinfo_consumers(keys.stream("a"), GROUP)} == {"alive", "me"}

    on_broker(act)


def test_an_entry_that_was_deleted_is_not_taken_over(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        await ring(broker, "x")
        (entry,) = await broker.fetch(["a"], GROUP, "dead", 1)
        await broker.client.xdel(keys.stream("a"), entry.msg_id)
        await all_may_be_judged(broker)
        assert await broker.take_over(["a"], GROUP, "me", 10) == []
        assert (await broker.client.xpending(keys.stream("a"), GROUP))["pending"] == 0

    on_broker(act)


def test_the_list_of_workers_tells_the_living_from_the_dead(on_broker: Callable[[Act], Any]) -> None:
    async def act(broker: Broker) -> None:
        await give_sign(broker, "alive")
        await broker.client.hset(keys.WORKERS, "dead", '{"pid": 7}')
        await broker.client.hset(keys.WORKERS, "odd", "no JSON")
        assert [(p.name, p.alive, p.line) for p in await broker.workers()] == [
            ("alive", True, {}),
            ("dead", False, {"pid": 7}),
            ("odd", False, {}),
        ]
        assert await broker.forget_workers(["dead", "dead"]) == 1

    on_broker(act)
