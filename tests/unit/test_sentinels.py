"""Redis behind Sentinels: every kind of connection finds the master, and what is wrong is told with the way out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.exceptions import RedisError

from django_cfg_tasks.broker import Bell, BlockingReader, Broker, keys
from django_cfg_tasks.broker.connection import blocking_client
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError
from tests.conftest import start_or_skip
from tests.redis_server import RedisServer
from tests.sentinels import PASSWORD, SENTINEL_PASSWORD, Sentinels
from tests.waiting import eventually

QUEUE, GROUP = "default", "rearq"


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with start_or_skip(Sentinels) as sentinels:
        yield sentinels


@pytest.fixture
async def broker(sentinels: Sentinels) -> AsyncIterator[Broker]:
    broker = Broker(RearqConfig(**sentinels.rearq))
    await broker.create_groups([QUEUE], GROUP)
    yield broker
    await broker.close()


def rung(sentinels: Sentinels, server: RedisServer) -> list[str]:
    with sentinels.client(server) as client:
        return [fields["job_id"] for _, fields in client.xrange(keys.stream(QUEUE))]


class Held:
    """One connection of each kind that is held for long, as a worker holds them."""

    def __init__(self, sentinels: Sentinels, broker: Broker) -> None:
        config = RearqConfig(**sentinels.rearq)
        self.sentinels = sentinels
        self.broker = broker
        self.reader = BlockingReader(config, block=0.2)
        self.lease = blocking_client(config)
        self.heard: list[Any] = []
        self.following = asyncio.create_task(broker.follow(keys.CHANNEL, self.heard.append))
        self.number = 0

    async def use(self, server: RedisServer) -> None:
        """Use each; BrokerUnavailableError or AssertionError where one of them does not lead to ``server``."""
        self.number += 1
        name = f"job-{self.number}"
        await self.broker.ring([Bell(QUEUE, name)])
        await self.broker.ring([Bell(QUEUE, name), Bell(QUEUE, name)])  # by a script
        assert rung(self.sentinels, server)[-3:] == [name] * 3, "the line of bells"
        await self.broker.mark(name, 60)
        await asyncio.to_thread(self.lease.set, f"lease-{name}", "1")
        with self.sentinels.client(server) as client:
            assert client.exists(name, f"lease-{name}") == 2, "the pool, the lease"
            while not (entries := await self.reader.wait([QUEUE], GROUP, "one")):
                assert (
                    client.xinfo_groups(keys.stream(QUEUE))[0]["last-delivered-id"]
                    < client.xinfo_stream(keys.stream(QUEUE))["last-generated-id"]
                ), "the reader"
            assert entries[0].queue == QUEUE
            client.publish(keys.CHANNEL, f'"{name}"')
        await eventually(lambda: name in self.heard, "the subscription", timeout=1)

    async def work_at(self, server: RedisServer, seconds: float) -> None:
        """Return when all of them lead to ``server``, which takes up to so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return await self.use(server)
            except (BrokerUnavailableError, RedisError, AssertionError) as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"not yet after {seconds} s: {error!r}") from error
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)
        await self.reader.close()
        self.lease.connection_pool.disconnect()


async def test_every_connection_moves_with_the_master(
    sentinels: Sentinels, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_cfg_tasks.broker.LISTEN_SECONDS", 3)
    for room in ("broker", "broker.line", "broker.connection"):
        monkeypatch.setattr(f"django_cfg_tasks.{room}.ANSWER_SECONDS", 3)
    held = Held(sentinels, broker)
    first = sentinels.master()
    await held.work_at(first, 5)

    # In an orderly failover the old master goes on for ten seconds, and takes what it will lose.
    await asyncio.to_thread(sentinels.fail_over)
    await asyncio.to_thread(sentinels.wait_for_other_than, first)
    second = sentinels.master()
    began = time.monotonic()
    while time.monotonic() - began < 3:
        await broker.ring([Bell(QUEUE, "never refused")])
        await asyncio.sleep(0.05)
    await broker.ring([Bell(QUEUE, "here")])
    assert rung(sentinels, second)[-1] == "here"
    await held.work_at(second, 20)
    assert broker.master == f"127.0.0.1:{second.port}"
    with first.client() as client:
        await eventually(lambda: client.info("replication")["role"] == "slave", "it is told", 20)
        assert client.pubsub_numsub(keys.CHANNEL)[0][1] == 0

    # A host that is gone without a word: nothing is closed, nothing is answered.
    second.pause()
    try:
        await asyncio.to_thread(sentinels.wait_for_other_than, second)
        await held.work_at(first, 40)
    finally:
        second.resume()
        await held.close()


async def test_a_sentinel_that_hangs_is_passed_over(sentinels: Sentinels) -> None:
    sentinels.freeze_sentinel(0)
    broker = Broker(RearqConfig(**sentinels.rearq))
    started = time.monotonic()
    await broker.ping()
    assert time.monotonic() - started < 8
    started = time.monotonic()
    for _ in range(5):
        await broker.close()
        await broker.ping()
    assert time.monotonic() - started < 2, "who has answered is asked first"
    for port in sentinels.ports[1:]:
        rights = ("resetchannels", "-@all", "+sentinel|get-master-addr-by-name")
        sentinels.ask(port, "ACL", "SETUSER", "tasks", "on", ">few-rights", *rights)
    login = {"sentinel_username": "tasks", "sentinel_password": "few-rights"}
    client = blocking_client(RearqConfig(**{**sentinels.rearq, **login}))
    assert client.ping()
    client.connection_pool.disconnect()
    await broker.close()


async def refusal(kind: type[Exception], **rearq: Any) -> str:
    config = RearqConfig(**rearq)
    broker, client = Broker(config), blocking_client(config)
    with pytest.raises(kind) as refused:
        await broker.ping()
    with pytest.raises(Exception, match=r".") as blocking:
        client.ping()
    await broker.close()
    client.connection_pool.disconnect()
    assert not any(
        password in f"{refused.value}{blocking.value}" for password in (PASSWORD, SENTINEL_PASSWORD, "wrong")
    )
    return str(refused.value)


async def test_what_is_wrong_is_told_with_the_way_out(sentinels: Sentinels) -> None:
    rearq, addresses = sentinels.rearq, ", ".join(sentinels.rearq["sentinels"])
    for password in (None, "wrong-one"):
        text = await refusal(ConfigurationError, **{**rearq, "sentinel_password": password})
        assert text.startswith(f"Redis (mymaster of {addresses}) refuses access: ")
        assert "Check sentinel_username and sentinel_password" in text
    text = await refusal(ConfigurationError, **{**rearq, "redis_url": "redis://:wrong-one@localhost/3"})
    assert "Check the user, the password and the rights in redis_url." in text
    text = await refusal(BrokerUnavailableError, **{**rearq, "sentinel_master": "other"})
    assert "it knows no master 'other'; sentinel_master names it" in text

    # One that refuses us while another is away: that one may let us in.
    text = await refusal(
        BrokerUnavailableError,
        **{**rearq, "sentinels": [rearq["sentinels"][0], "127.0.0.1:1"], "sentinel_password": None},
    )
    assert f"no Sentinel tells where the master is ({rearq['sentinels'][0]}: " in text
    assert "; 127.0.0.1:1: " in text

    # A Sentinel may point at a replica: whom it has not looked at yet, or who was the master a moment ago.
    replica = sentinels.other(sentinels.master())
    sentinels.ask(sentinels.ports[0], "SENTINEL", "MONITOR", "replica", "127.0.0.1", replica.port, 2)
    text = await refusal(
        BrokerUnavailableError, **{**rearq, "sentinels": rearq["sentinels"][:1], "sentinel_master": "replica"}
    )
    assert f"127.0.0.1:{replica.port} is no master now, but a slave" in text
