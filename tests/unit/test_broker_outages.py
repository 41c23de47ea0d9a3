"""What a real Redis answers when it can't be used, told from what another try would not mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis import exceptions

from django_cfg_tasks.broker import Bell, BlockingReader, Broker, Entry, Settlement, is_missing_group, keys
from django_cfg_tasks.broker.connection import async_client, blocking_client
from django_cfg_tasks.broker.faults import is_outage
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError
from tests.redis_server import RedisServer
from tests.waiting import eventually

QUEUE, GROUP, CONSUMER = "default", "rearq", "one"
STREAM, DELAYED = keys.stream(QUEUE), keys.delay_shards(1)[0]
# What such a Redis still does, so that workers can make room in it.
SPARED = {"OOM": {"a blocking read", "fetch.lua", "settle.lua", "promote.lua", "renew.lua", "release.lua"}}


@pytest.fixture
def config(redis_server: RedisServer) -> RearqConfig:
    return RearqConfig(redis_url=redis_server.url)


@pytest.fixture
async def broker(config: RearqConfig) -> AsyncIterator[Broker]:
    """A broker with two jobs in the queue, a delayed one that is due, and a lease."""
    broker = Broker(config)
    await broker.create_groups([QUEUE], GROUP)
    await broker.ring([Bell(QUEUE, "first"), Bell(QUEUE, "second"), Bell(QUEUE, "due", due_ms=1)])
    await broker.hold_lease("lease", "token", 60)
    yield broker
    await broker.close()


@pytest.fixture
async def reader(config: RearqConfig) -> AsyncIterator[BlockingReader]:
    reader = BlockingReader(config)
    yield reader
    await reader.close()


def ways(broker: Broker, reader: BlockingReader) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return what to await for each way in which commands are sent. All of them write."""

    async def multi() -> None:
        await broker.client.pipeline(transaction=True).xack(STREAM, GROUP, "1-1").set("key", "1").execute()

    return {
        "a plain command": lambda: broker.mark("key", 1),
        "a pipeline": lambda: broker.ring([Bell(QUEUE, "LOADING")]),
        "a MULTI": lambda: broker._ask(multi()),
        "a blocking read": lambda: reader.wait([QUEUE], GROUP, CONSUMER),
        "fetch.lua": lambda: broker.fetch([QUEUE], GROUP, CONSUMER, 1),
        "settle.lua": lambda: broker.settle(Settlement([Entry(QUEUE, "1-1", "x")]), GROUP),
        "promote.lua": broker.promote,
        "renew.lua": lambda: broker.hold_lease("lease", "token", 60),
        "release.lua": lambda: broker.release_lease("lease", "token"),
    }


async def unavailable(calls: dict[str, Callable[[], Awaitable[Any]]]) -> set[str]:
    """Return in which ways, all tried at once, Redis was out of reach; what else goes wrong is passed on."""
    found = set()

    async def call(way: str) -> None:
        try:
            await calls[way]()
        except BrokerUnavailableError:
            found.add(way)

    await asyncio.gather(*map(call, calls))
    return found


@pytest.mark.parametrize("code", ["READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "OOM"])
async def test_a_redis_that_refuses_writes_is_an_outage_in_every_way(
    redis_server: RedisServer, broker: Broker, reader: BlockingReader, code: str
) -> None:
    calls = ways(broker, reader)
    with redis_server.refusing(code):
        assert await unavailable(calls) == calls.keys() - SPARED.get(code, set())
    assert await unavailable(calls) == set()


async def test_a_redis_that_loads_its_data_is_an_outage_in_every_way(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(appendonly=True)
    config = RearqConfig(redis_url=server.url)
    broker, reader = Broker(config), BlockingReader(config)
    await broker.create_groups([QUEUE], GROUP)
    server.restart_loading(3)
    calls = ways(broker, reader)
    try:
        assert await unavailable(calls) == calls.keys()
        await eventually(lambda: _works(broker), "the data is loaded")
    finally:
        await broker.close()
        await reader.close()


async def _works(broker: Broker) -> bool:
    try:
        await broker.ping()
        await broker.mark("key", 1)
    except BrokerUnavailableError:
        return False
    return True


async def test_a_stopped_redis_is_an_outage_in_every_way(
    redis_server: RedisServer, broker: Broker, reader: BlockingReader
) -> None:
    calls = ways(broker, reader)
    redis_server.kill()
    assert await unavailable(calls) == calls.keys()
    redis_server.start()
    await broker.create_groups([QUEUE], GROUP)
    assert await unavailable(calls) == set()


async def test_a_redis_that_does_not_answer_is_an_outage(redis_server: RedisServer, config: RearqConfig) -> None:
    client = async_client(config, answer=0.2)
    try:
        redis_server.pause()
        with pytest.raises(exceptions.RedisError) as plain:
            await client.ping()
        with pytest.raises(exceptions.RedisError) as script:
            await client.eval("return 1", 0)
    finally:
        redis_server.resume()
        await client.connection_pool.disconnect()
    assert is_outage(plain.value)
    assert is_outage(script.value)


async def test_a_redis_that_runs_a_long_script_is_an_outage(redis_server: RedisServer, broker: Broker) -> None:
    with redis_server.client() as client, redis_server.client() as other:
        client.config_set("lua-time-limit", 1)
        endless = asyncio.create_task(asyncio.to_thread(other.eval, "while true do end", 0))

        async def is_busy() -> bool:
            try:
                await broker.fetch([QUEUE], GROUP, CONSUMER, 0)
            except BrokerUnavailableError as error:
                return "BUSY" in str(error)
            return False

        await eventually(is_busy, "it is busy")
        client.script_kill()
        with pytest.raises(exceptions.ResponseError) as killed:
            await endless
        client.config_set("lua-time-limit", 5000)
    assert not is_outage(killed.value)


@pytest.mark.parametrize("fault", ["READONLY", "CUT"])
async def test_a_read_that_a_failover_ends_is_an_outage(
    redis_server: RedisServer, broker: Broker, reader: BlockingReader, fault: str
) -> None:
    await broker.fetch([QUEUE], GROUP, CONSUMER, 9)
    waiting = asyncio.create_task(reader.wait([QUEUE], GROUP, CONSUMER))
    with redis_server.client() as client:
        await eventually(lambda: client.info("clients")["blocked_clients"] == 1, "it waits")
    with redis_server.refusing(fault), pytest.raises(BrokerUnavailableError):
        await waiting
    with redis_server.client() as client:
        client.xadd(STREAM, {"job_id": "third"})
    assert [entry.job_id for entry in await reader.wait([QUEUE], GROUP, CONSUMER)] == ["third"]


def test_a_transaction_that_is_refused_at_its_end_is_an_outage(redis_server: RedisServer, config: RearqConfig) -> None:
    client = blocking_client(config).client()
    client.execute_command("MULTI")
    client.execute_command("SET", "key", "1")
    with redis_server.refusing("NOREPLICAS"), pytest.raises(exceptions.RedisError) as refused:
        client.execute_command("EXEC")
    client.connection_pool.disconnect()
    client.close()
    assert "because of" in str(refused.value)
    assert is_outage(refused.value)


@pytest.mark.parametrize("command", [("XGROUP", "DESTROY", STREAM, GROUP), ("DEL", STREAM), ("FLUSHALL",)])
async def test_a_group_that_is_gone_is_made_again_and_no_outage(
    redis_server: RedisServer, broker: Broker, reader: BlockingReader, command: tuple[str, ...]
) -> None:
    await broker.client.execute_command(*command)
    for call in (broker.fetch([QUEUE], GROUP, CONSUMER, 1), reader.wait([QUEUE], GROUP, CONSUMER)):
        with pytest.raises(exceptions.ResponseError) as gone:
            await call
        assert is_missing_group(gone.value)
        assert not is_outage(gone.value)


async def test_a_job_may_be_called_like_an_outage(broker: Broker) -> None:
    await broker.client.set(keys.stream("other"), "no stream")
    for job_id in ("OOM", "LOADING Redis", "NOGROUP"):
        with pytest.raises(exceptions.ResponseError, match="WRONGTYPE") as wrong:
            await broker.ring([Bell("other", job_id)])
        assert not is_outage(wrong.value)
        assert not is_missing_group(wrong.value)


async def test_a_login_or_a_permission_that_is_refused_is_no_outage(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(password="right")
    for url in (server.url.replace("right", "wrong"), server.url.replace(":right@", "")):
        broker = Broker(RearqConfig(redis_url=url))
        with pytest.raises(ConfigurationError, match="refuses access: AuthenticationError"):
            await broker.ping()
        await broker.close()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-xadd")
    broker = Broker(RearqConfig(redis_url=server.url))
    with pytest.raises(ConfigurationError, match="refuses access: NoPermissionError"):
        await broker.ring([Bell(QUEUE, "x")])
    await broker.close()


async def test_what_ends_is_settled_while_redis_is_out_of_memory(redis_server: RedisServer, broker: Broker) -> None:
    heard: list[list[str]] = []
    listening = asyncio.Event()
    listener = asyncio.create_task(broker.follow(keys.FINISHED_CHANNEL, heard.append, subscribed=listening.set))
    await listening.wait()
    first, second = await broker.fetch([QUEUE], GROUP, CONSUMER, 2)
    again = [Bell(QUEUE, "now"), Bell(QUEUE, "later", due_ms=1_900_000_000_123)]
    with redis_server.refusing("OOM"):
        await broker.settle(Settlement([first, second], again, finished=["first"]), GROUP)
        with pytest.raises(BrokerUnavailableError):
            await broker.ring([Bell(QUEUE, "new")])
    with redis_server.client() as client:
        assert client.xpending(STREAM, GROUP)["pending"] == 0
        assert [fields for _, fields in client.xrange(STREAM)] == [{"job_id": "now"}]
        assert client.zscore(DELAYED, keys.delayed_member(QUEUE, "later")) == 1_900_000_000_123
    await eventually(lambda: heard == [["first"]], "who waits is told")
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_a_settlement_of_any_size_is_one(redis_server: RedisServer, broker: Broker) -> None:
    await broker.ring([Bell(QUEUE, f"job-{number}") for number in range(2500)])
    entries = await broker.fetch([QUEUE], GROUP, CONSUMER, 3000)
    assert len(entries) == 2502
    await broker.settle(Settlement(entries), GROUP)
    await broker.settle(Settlement(entries), GROUP)  # may be repeated
    with redis_server.client() as client:
        assert client.xlen(STREAM) == 0
        assert client.xpending(STREAM, GROUP)["pending"] == 0


async def test_a_subscription_can_be_cancelled_at_any_moment(broker: Broker) -> None:
    for steps in range(40):
        following = asyncio.create_task(broker.follow(keys.CHANNEL, print))
        for _ in range(steps):
            await asyncio.sleep(0)
        following.cancel()
        _, pending = await asyncio.wait({following}, timeout=5)
        assert not pending, f"cancelled at step {steps}, and goes on"
