"""Delayed jobs become due: moved from all delayed sets by one script, which also tells when the next one is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import pytest

from django_cfg_tasks.broker import Bell, Broker, keys
from django_cfg_tasks.config import RearqConfig
from tests.redis_server import RedisServer

MakeBroker = Callable[[int], Broker]


@pytest.fixture
async def make_broker(redis_server: RedisServer) -> AsyncIterator[MakeBroker]:
    made: list[Broker] = []

    def make(shards: int) -> Broker:
        made.append(Broker(RearqConfig(redis_url=redis_server.url, delay_queue_num=shards)))
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


def in_ms(seconds: float) -> int:
    return round((time.time() + seconds) * 1000)


async def moved_ids(broker: Broker, queue: str) -> list[str]:
    return [fields["job_id"] for _, fields in await broker.client.xrange(keys.stream(queue))]


@pytest.mark.parametrize("shards", [1, 8])
async def test_what_is_due_moves_and_what_is_not_stays(make_broker: MakeBroker, shards: int) -> None:
    broker = make_broker(shards)
    due = [Bell("mail", f"due:{number}", in_ms(-number - 1)) for number in range(40)]
    later = [Bell("mail", f"later:{number}", in_ms(3600 + number)) for number in range(40)]
    await broker.ring(due + later)
    promotion = await broker.promote()
    assert promotion.moved == 40
    assert promotion.next_ms == later[0].due_ms
    assert 3590 < promotion.seconds <= 3600
    assert sorted(await moved_ids(broker, "mail")) == sorted(bell.job_id for bell in due)
    assert (await broker.promote()).moved == 0


@pytest.mark.parametrize("shards", [1, 8])
async def test_many_are_moved_in_parts_from_all_sets(make_broker: MakeBroker, shards: int) -> None:
    broker = make_broker(shards)
    await broker.ring([Bell("mail", str(number), in_ms(-1)) for number in range(1000)])
    first = await broker.promote(most=80)
    assert 0 < first.moved <= 80
    assert first.seconds < 0  # there is more to do at once
    while (await broker.promote(most=80)).next_ms is not None:
        pass
    assert sorted(await moved_ids(broker, "mail"), key=int) == [str(number) for number in range(1000)]


async def test_nothing_is_delayed(make_broker: MakeBroker) -> None:
    promotion = await make_broker(8).promote()
    assert (promotion.moved, promotion.next_ms) == (0, None)
