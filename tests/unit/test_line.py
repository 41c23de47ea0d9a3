"""The connection on which bells are rung: it outlives what Redis goes through, and mixes nobody's answers up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis import exceptions

from django_cfg_tasks.broker import Bell, Broker, keys, script
from django_cfg_tasks.broker.connection import async_client
from django_cfg_tasks.broker.line import Line
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import BrokerUnavailableError
from tests.redis_server import RedisServer
from tests.waiting import wait_until

STREAM = keys.stream("default")


@pytest.fixture
async def broker(redis_server: RedisServer) -> AsyncIterator[Broker]:
    broker = Broker(RearqConfig(redis_url=redis_server.url))
    yield broker
    await broker.close()


@pytest.fixture
async def line(redis_server: RedisServer) -> AsyncIterator[Line]:
    client = async_client(RearqConfig(redis_url=redis_server.url))
    line = Line(lambda: client)
    yield line
    await line.close()
    await client.connection_pool.disconnect()


def rung(server: RedisServer, stream: str = STREAM) -> list[str]:
    """The ids of the jobs in a stream, in its order."""
    with server.client() as client:
        return [fields["job_id"] for _, fields in client.xrange(stream)]


def connections(server: RedisServer) -> int:
    """How many connections there are beside the one that asks."""
    with server.client() as client:
        return len(client.client_list()) - 1


async def test_bells_are_rung_in_their_order_each_in_its_stream(broker: Broker, redis_server: RedisServer) -> None:
    bells = [Bell("mail" if number % 3 else "default", f"job-{number:04}") for number in range(1234)]
    await broker.ring(bells)
    await broker.ring([Bell("default", "last")])
    assert rung(redis_server) == [bell.job_id for bell in bells if bell.queue == "default"] + ["last"]
    assert rung(redis_server, keys.stream("mail")) == [bell.job_id for bell in bells if bell.queue == "mail"]


async def test_odd_ids_arrive_as_they_are(broker: Broker, redis_server: RedisServer) -> None:
    ids = ['"quoted"', "back\\slash", "naïve 日本 🎉", "cron:beat:2026-01-01T00:00:00+00:00", "1e999", "a" * 200]
    await broker.ring([Bell("default", job_id) for job_id in ids])
    for job_id in ids:
        await broker.ring([Bell("default", job_id)])
    await broker.ring([Bell("default", job_id, due_ms=2**41 + 1) for job_id in ids])
    assert rung(redis_server) == ids * 2
    with redis_server.client() as client:
        delayed = client.zrange(keys.delay_shards(1)[0], 0, -1, withscores=True)
    assert sorted(delayed) == sorted((keys.delayed_member("default", job_id), 2**41 + 1) for job_id in ids)


async def test_no_bells_nothing_said(broker: Broker, redis_server: RedisServer) -> None:
    await broker.ring([])
    with redis_server.client() as client:
        assert client.dbsize() == 0


async def test_after_a_restart_the_next_bells_are_rung_as_if_nothing_was(
    broker: Broker, redis_server: RedisServer
) -> None:
    for kill in (False, True):
        await broker.ring([Bell("default", "one")])
        await broker.ring([Bell("default", "two"), Bell("default", "three")])
        redis_server.restart(kill=kill)  # it has forgotten the script as well
        await broker.ring([Bell("default", "four"), Bell("default", "five")])
        redis_server.restart(kill=kill)
        await broker.ring([Bell("default", "six")])
        assert rung(redis_server) == ["six"]


async def test_while_redis_is_away_each_bell_fails_and_the_first_afterwards_does_not(
    broker: Broker, redis_server: RedisServer
) -> None:
    await broker.ring([Bell("default", "before")])
    redis_server.kill()
    for _ in range(3):
        with pytest.raises(BrokerUnavailableError):
            await broker.ring([Bell("default", "lost")])
    redis_server.start()
    await broker.ring([Bell("default", "after")])
    assert rung(redis_server) == ["after"]


async def test_many_callers_share_one_connection(broker: Broker, redis_server: RedisServer) -> None:
    await asyncio.gather(*(broker.ring([Bell("default", f"job-{number}")]) for number in range(200)))
    assert sorted(rung(redis_server)) == sorted(f"job-{number}" for number in range(200))
    assert connections(redis_server) == 1


async def test_a_frozen_redis_is_given_up_and_its_late_answers_are_nobody_s(
    line: Line, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await line.say([("XADD", STREAM, "*", "job_id", "first")])
    monkeypatch.setattr("django_cfg_tasks.broker.line.ANSWER_SECONDS", 0.3)
    redis_server.pause()
    with pytest.raises(TimeoutError):
        await line.say([("XADD", STREAM, "*", "job_id", "second")])
    redis_server.resume()
    with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
        await line.say([("LPUSH", STREAM, "x")])
    await line.say([("XADD", STREAM, "*", "job_id", "third")])
    assert rung(redis_server) == ["first", "second", "third"]


async def test_who_is_canceled_leaves_no_answer_to_the_next(line: Line, redis_server: RedisServer) -> None:
    await line.say([("PING",)])
    redis_server.pause()
    canceled = asyncio.create_task(line.say([("LPUSH", STREAM, "x"), ("XADD", STREAM, "*", "job_id", "x")]))
    await asyncio.sleep(0)
    canceled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await canceled
    redis_server.resume()
    await line.say([("SET", "key", "1")])
    with redis_server.client() as client:
        assert client.get("key") == "1"


async def test_one_refusal_among_many_is_told_and_the_next_caller_gets_its_own_answers(
    line: Line, redis_server: RedisServer
) -> None:
    for _ in range(3):
        with pytest.raises(exceptions.ResponseError, match="unknown command"):
            await line.say([("SET", "a", "1"), ("NONSENSE",), ("SET", "b", "1")])
        await line.say([("XADD", STREAM, "*", "job_id", "fine")])
    assert rung(redis_server) == ["fine"] * 3
    with pytest.raises(exceptions.ResponseError):
        await line.run(script("ring"), ["no JSON"])


async def test_with_a_password(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(password="secret")
    broker = Broker(RearqConfig(redis_url=server.url))
    try:
        await broker.ring([Bell("default", "one")])
        server.restart()
        await broker.ring([Bell("default", "two"), Bell("default", "three")])
        assert rung(server) == ["two", "three"]
    finally:
        await broker.close()


async def test_closed_it_leaves_no_connection_and_can_be_used_again(broker: Broker, redis_server: RedisServer) -> None:
    for number in range(2):
        await broker.ring([Bell("default", str(number))])
        assert connections(redis_server) == 1
        await broker.close()
        await asyncio.to_thread(wait_until, lambda: connections(redis_server) == 0, "no connection is left")


async def test_closing_cuts_off_what_waits_for_an_answer(line: Line, redis_server: RedisServer) -> None:
    await line.say([("PING",)])
    redis_server.pause()
    waiting = asyncio.create_task(line.say([("SET", "key", "1")]))
    await asyncio.sleep(0.05)
    await line.close()
    with pytest.raises(exceptions.ConnectionError):
        await waiting
    redis_server.resume()
    await line.say([("SET", "other", "1")])
    assert connections(redis_server) == 1
