"""Gates, asked through the Gatekeeper on a real Redis: who passes, who waits, who is called next, what is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from django_cfg_tasks import RearqConfig
from django_cfg_tasks.broker import Admission, Applicant, Bell, Broker, Entry, Gate, Place, keys, script
from django_cfg_tasks.broker.gates import holders
from tests.redis_server import RedisServer
from tests.waiting import eventually

GROUP = "rearq"
LOCK = Gate("lock:key:a", capacity=1, lease=60)
OTHER_LOCK = Gate("lock:key:b", capacity=1, lease=60)
THREE = Gate("most:three", capacity=3, lease=60)
passed, waits, elsewhere = Admission.passed, Admission.waits, Admission.passed_elsewhere


class House:
    """A broker with the queue ``a``, and what workers do with it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.redis: Any = broker.client
        self._called: list[Entry] = []

    async def fetch(self) -> list[Entry]:
        return await self.broker.fetch(["a"], GROUP, "one", 5000)

    async def admit(
        self, entries: Sequence[Entry], *gates: Gate, owner: str = "one", place: Place = Place.own
    ) -> list[Admission]:
        """Let entries apply; a job's ticket is the number in its id."""
        applicants = [Applicant(entry, int(entry.job_id[1:]), gates, place) for entry in entries]
        return await self.broker.gates.admit(applicants, owner, GROUP)

    async def come(
        self, *numbers: int, gates: Sequence[Gate] = (LOCK,), owner: str = "one", place: Place = Place.own
    ) -> list[Admission]:
        """Ring for jobs ``j1``, ``j2``, ..., fetch them and let them apply, all at once."""
        await self.broker.ring([Bell("a", f"j{number}") for number in numbers])
        entries = await self.fetch()
        self._called += [entry for entry in entries if entry.queue != "a"]
        return await self.admit([entry for entry in entries if entry.queue == "a"], *gates, owner=owner, place=place)

    async def come_again(self, *gates: Gate, owner: str = "one") -> dict[str, Admission]:
        """Let those who were called apply; return what became of them."""
        called, self._called = self._called + await self.fetch(), []
        assert {entry.queue for entry in called} <= {"a:next"}
        answers = await self.admit(called, *(gates or (LOCK,)), owner=owner)
        return {entry.job_id: answer for entry, answer in zip(called, answers, strict=True)}

    async def leave(self, *numbers: int, gates: Sequence[Gate] = (LOCK,), owner: str = "one") -> None:
        await self.broker.gates.leave({f"j{number}": gates for number in numbers}, owner)

    async def hold(self, *numbers: int, gate: Gate = LOCK, owner: str = "one") -> list[str]:
        """Renew, as a worker's lease does; return the gates where that is too late."""
        what = {"owner": owner, "force": False, "jobs": holders({f"j{number}": [gate] for number in numbers})}
        return list(await self.redis.eval(script("gates"), 0, "hold", json.dumps(what)))

    async def waiting(self) -> list[str]:
        return [keys.job_of(member) async for member in self.broker.gates.waiting()]

    async def held(self, gate: Gate = LOCK) -> dict[str, str]:
        return dict(await self.redis.hgetall(keys.gate(gate.name, "owners")))

    async def let_lapse(self, part: str, job: str, gate: Gate = LOCK) -> None:
        """Make it that a job's hold (or call) lapsed just now, while others wait."""
        assert await self.redis.zadd(keys.gate(gate.name, part), {job: 1}, xx=True, ch=True)
        assert await self.redis.zadd(keys.GATES, {gate.name: 1}, xx=True, ch=True)

    async def starts(self, gate: Gate) -> list[float]:
        """When those of the last window passed, in ms."""
        return [ms for _, ms in await self.redis.zrange(keys.gate(gate.name, "starts"), 0, -1, withscores=True)]

    async def keys(self) -> list[str]:
        return sorted(await self.redis.keys("rearq:gate*"))


@pytest_asyncio.fixture
async def house(redis_server: RedisServer) -> AsyncIterator[House]:
    broker = Broker(RearqConfig(redis_url=redis_server.url))
    await broker.create_groups(["a"], GROUP)
    yield House(broker)
    await broker.close()


async def test_one_passes_and_the_others_wait_acknowledged(house: House) -> None:
    assert await house.come(1, 2, 3) == [passed, waits, waits]
    assert await house.waiting() == ["j2", "j3"]
    assert await house.broker.gates.names() == [LOCK.name]
    assert await house.redis.xlen("rearq:queue:a") == 1
    assert (await house.redis.xpending("rearq:queue:a", GROUP))["pending"] == 1
    assert await house.fetch() == []


async def test_who_leaves_calls_the_next_by_ticket(house: House) -> None:
    assert await house.come(5, 9, 7, 8) == [passed, waits, waits, waits]
    assert await house.come(6) == [waits]
    order = []
    last = 5
    for _ in range(4):
        await house.leave(last)
        ((job, answer),) = (await house.come_again()).items()
        assert answer is passed
        order.append(job)
        last = int(job[1:])
    assert order == ["j6", "j7", "j8", "j9"]


async def test_a_newcomer_does_not_overtake_who_waits(house: House) -> None:
    await house.come(1, 2)
    await house.leave(1)  # j2 is called, and on its way
    assert await house.come(3) == [waits]
    assert await house.come_again() == {"j2": passed}
    assert await house.waiting() == ["j3"]


async def test_an_older_job_that_comes_late_goes_before_those_who_wait(house: House) -> None:
    await house.come(2, 3)
    assert await house.come(1) == [waits]
    await house.leave(2)
    assert await house.come_again() == {"j1": passed}


async def test_as_many_as_the_capacity_are_behind_a_gate(house: House) -> None:
    assert await house.come(*range(1, 7), gates=[THREE]) == [passed] * 3 + [waits] * 3
    await house.leave(1, 3, gates=[THREE])
    assert await house.come_again(THREE) == {"j4": passed, "j5": passed}
    assert sorted(await house.held(THREE)) == ["j2", "j4", "j5"]


async def test_the_called_go_to_their_own_queues_and_ids_may_hold_colons(house: House) -> None:
    await house.broker.create_groups(["b"], GROUP)
    await house.broker.ring([Bell("a", "x"), Bell("b", "cron:beat:12:00")])
    entries = await house.broker.fetch(["a", "b"], GROUP, "one", 2)
    applicants = [Applicant(entry, number, [LOCK]) for number, entry in enumerate(entries)]
    assert await house.broker.gates.admit(applicants, "one", GROUP) == [passed, waits]
    assert await house.waiting() == ["cron:beat:12:00"]
    await house.broker.gates.leave({"x": [LOCK]}, "one")
    (entry,) = await house.broker.fetch(["a", "b"], GROUP, "one", 2)
    assert (entry.queue, entry.job_id) == ("b:next", "cron:beat:12:00")


async def test_a_place_that_the_called_does_not_take_goes_to_the_next(house: House) -> None:
    await house.come(1, 2, 3, 4)
    await house.leave(1)
    await house.let_lapse("called", "j2")
    assert await house.broker.gates.turn() == pytest.approx(30, abs=5)  # when j3's call lapses
    assert await house.come_again() == {"j2": waits, "j3": passed}
    await house.leave(3)
    assert await house.come_again() == {"j2": passed}


async def test_a_hold_that_lapses_lets_the_next_in(house: House) -> None:
    short = Gate("lock:key:a", capacity=1, lease=0.05)
    assert await house.come(1, 2, gates=[short]) == [passed, waits]

    async def called() -> Any:
        await house.broker.gates.turn()
        return await house.redis.xlen("rearq:queue:a:next")

    await eventually(called, "the hold lapses")
    assert await house.come_again(short, owner="two") == {"j2": passed}
    assert await house.held() == {"j2": "two"}


async def test_the_hold_of_who_was_called_is_looked_at_when_it_lapses(house: House) -> None:
    short = Gate("lock:key:a", capacity=1, lease=2)
    await house.come(1, 2, 3, gates=[short])
    await house.leave(1)
    assert await house.come_again(short) == {"j2": passed}
    assert await house.broker.gates.turn() == pytest.approx(2, abs=1)


async def test_a_job_passes_all_of_its_gates_or_none(house: House) -> None:
    assert await house.come(1, gates=[OTHER_LOCK]) == [passed]
    assert await house.come(2, gates=[LOCK, OTHER_LOCK]) == [waits]
    assert await house.held(LOCK) == {}
    assert await house.come(3, gates=[LOCK]) == [waits]
    assert await house.come_again(LOCK) == {"j3": passed}, "it was held up by one that waits for something else"
    await house.leave(1, gates=[OTHER_LOCK])
    assert await house.come_again() == {}, "one gate called it, and the other does not let it pass"
    await house.leave(3, gates=[LOCK])
    assert await house.come_again(LOCK, OTHER_LOCK) == {"j2": passed}
    assert (await house.held(LOCK), await house.held(OTHER_LOCK)) == ({"j2": "one"}, {"j2": "one"})


async def test_who_is_called_has_a_place_at_each_of_the_gates(house: House) -> None:
    await house.come(1, 2, gates=[LOCK, OTHER_LOCK])
    await house.leave(1, gates=[LOCK, OTHER_LOCK])
    for gate in (LOCK, OTHER_LOCK):
        assert await house.come(9, gates=[gate]) == [waits]
    assert await house.come_again(LOCK, OTHER_LOCK) == {"j2": passed}


async def test_nobody_is_called_in_vain(house: House) -> None:
    gates = [LOCK, THREE, Gate("rate:x", starts=2, window=0.03)]
    await house.come(*range(1, 41), gates=gates)
    order = [1]
    while len(order) < 40:
        await house.leave(order[-1], gates=gates)
        await house.broker.gates.turn()
        for job, answer in (await house.come_again(*gates)).items():
            assert answer is passed
            order.append(int(job[1:]))
        await asyncio.sleep(0.001)
    assert order == list(range(1, 41))


async def test_lines_of_different_gates_take_turns_by_ticket(house: House) -> None:
    await house.come(1, 2, 3, gates=[THREE])
    for number, lock in ((4, LOCK), (5, OTHER_LOCK), (6, LOCK), (7, OTHER_LOCK)):
        assert await house.come(number, gates=[lock, THREE]) == [waits]
    await house.leave(1, 2, 3, gates=[THREE])
    called = await house.fetch()
    assert [entry.job_id for entry in called] == ["j4", "j5"]  # of each lock one, though there is room for a third
    assert await house.admit([called[0]], LOCK, THREE) == [passed]
    assert await house.admit([called[1]], OTHER_LOCK, THREE) == [passed]
    await house.leave(5, gates=[OTHER_LOCK, THREE])
    assert await house.come_again(OTHER_LOCK, THREE) == {"j7": passed}


async def test_a_called_job_that_ended_meanwhile_leaves_its_place(house: House) -> None:
    await house.come(1, 2, 3)
    await house.leave(1)
    await house.leave(2)  # as the worker does that finds it canceled
    assert [entry.job_id for entry in await house.fetch()] == ["j2", "j3"]
    assert await house.waiting() == []


async def test_a_job_that_is_behind_its_gates_already_passes_with_the_place_it_may_use(house: House) -> None:
    assert await house.come(1, owner="one") == [passed]
    assert await house.come(1, owner="one") == [passed]
    assert await house.come(1, owner="two", place=Place.any) == [elsewhere]
    assert await house.held() == {"j1": "one"}


@pytest.mark.parametrize("gate", [LOCK, THREE])
@pytest.mark.parametrize(("owner", "place"), [("two", Place.own), ("one", Place.none)])
async def test_a_job_waits_for_its_own_earlier_run_to_end(house: House, gate: Gate, owner: str, place: Place) -> None:
    assert await house.come(1, gates=[gate], owner="one") == [passed]
    assert await house.come(1, gates=[gate], owner=owner, place=place) == [waits]
    await house.broker.gates.turn()
    assert await house.come_again(gate) == {}, "it was called though its earlier run has not ended"
    if gate is THREE:
        assert await house.come(2, gates=[gate]) == [waits]
        assert await house.come_again(gate) == {"j2": passed}, "it holds up those behind it"
    await house.leave(1, gates=[gate], owner="one")
    assert await house.come_again(gate, owner=owner) == {"j1": passed}


async def test_who_has_one_place_waits_for_the_other_only(house: House) -> None:
    await house.come(1, owner="dead")
    await house.come(2, gates=[OTHER_LOCK])
    assert await house.come(1, gates=[LOCK, OTHER_LOCK], owner="two", place=Place.any) == [waits]
    await house.leave(2, gates=[OTHER_LOCK])
    called = await house.fetch()
    assert await house.admit(called, LOCK, OTHER_LOCK, owner="two", place=Place.any) == [elsewhere]
    await house.broker.gates.take({"j1": [LOCK, OTHER_LOCK]}, "two")
    await house.leave(1, gates=[LOCK, OTHER_LOCK], owner="two")
    assert await house.keys() == []


async def test_another_worker_takes_the_places_of_a_dead_one(house: House) -> None:
    await house.come(1, 2, owner="dead")
    await house.broker.gates.take({"j1": [LOCK]}, "two")
    assert await house.held() == {"j1": "two"}
    await house.leave(1, owner="dead")  # it was only thought dead: no right to give up what is another's
    assert await house.held() == {"j1": "two"}
    assert await house.fetch() == []
    await house.leave(1, owner="two")
    assert await house.come_again() == {"j2": passed}


async def test_what_is_held_is_renewed(house: House) -> None:
    await house.come(1)
    key = keys.gate(LOCK.name, "holders")
    await house.redis.zincrby(key, -30_000, "j1")
    before = await house.redis.zscore(key, "j1")
    assert await house.hold(1) == []
    assert await house.redis.zscore(key, "j1") >= before + 29_000


async def test_a_place_is_regained_after_redis_has_lost_it(house: House) -> None:
    await house.come(1, 2)
    await house.redis.flushall()
    assert await house.hold(1) == []
    assert await house.held() == {"j1": "one"}
    await house.broker.create_groups(["a"], GROUP)
    assert await house.come(2) == [waits]


async def test_a_place_that_another_has_by_now_is_lost(house: House) -> None:
    await house.come(1, 2)
    await house.redis.flushall()
    await house.broker.create_groups(["a"], GROUP)
    assert await house.come(2, owner="two") == [passed]
    assert await house.hold(1) == [LOCK.name]
    assert await house.held() == {"j2": "two"}
    await house.leave(2, owner="two")
    assert await house.hold(1) == []


async def test_as_many_starts_as_the_rate_says_in_any_window(house: House) -> None:
    rate = Gate("rate:x", starts=3, window=1.0)
    assert await house.come(*range(1, 8), gates=[rate]) == [passed] * 3 + [waits] * 4
    starts = await house.starts(rate)
    while len(starts) < 7:
        await house.broker.gates.turn()
        for job in await house.come_again(rate):
            assert job == f"j{len(starts) + 1}"
            starts.append((await house.starts(rate))[-1])
        look = await house.redis.zscore(keys.GATES, rate.name)
        assert look is None or look <= starts[-1] + 1000
        await asyncio.sleep(0.01)
    assert all(later - earlier >= 1000 for earlier, later in zip(starts, starts[3:], strict=False)), starts


async def test_turn_tells_when_the_next_start_is_free(house: House) -> None:
    assert await house.broker.gates.turn() is None
    rate = Gate("rate:x", starts=1, window=30.0)
    assert await house.come(1, 2, gates=[rate]) == [passed, waits]
    await house.come(8, 9, gates=[LOCK])
    assert await house.broker.gates.turn() == pytest.approx(30, abs=5)
    (oldest,) = await house.starts(rate)
    assert await house.redis.zscore(keys.GATES, "rate:x") == oldest + 30_000


async def test_who_leaves_a_rate_gives_no_start_back(house: House) -> None:
    rate = Gate("rate:x", starts=1, window=30.0)
    assert await house.come(1, gates=[rate]) == [passed]
    await house.leave(1, gates=[rate])
    assert await house.come(2, gates=[rate]) == [waits]


async def test_a_gate_of_no_capacity_opens_for_all(house: House) -> None:
    closed = Gate("disabled:x", capacity=0)
    assert set(await house.come(*range(1, 2501), gates=[closed])) == {waits}
    assert await house.broker.gates.turn() is None
    await house.broker.release_disabled("x")
    assert [entry.job_id for entry in await house.fetch()] == [f"j{number}" for number in range(1, 2501)]
    assert await house.keys() == []


async def test_no_key_is_left_when_all_have_gone(house: House) -> None:
    rate = Gate("rate:x", starts=2, window=0.2)
    gates = [LOCK, THREE, rate]
    await house.come(1, 2, 3, gates=gates)
    last = 1
    while last < 3:
        await house.leave(last, gates=gates)
        await house.broker.gates.turn()
        for job, answer in (await house.come_again(*gates)).items():
            last = int(job[1:]) if answer is passed else last
        await asyncio.sleep(0.01)
    await house.leave(3, gates=gates)

    async def gone() -> bool:
        return await house.keys() == []

    await eventually(gone, "the last window passes")
