"""Earlier queues first, and a share for the later ones."""

from __future__ import annotations

from collections import Counter

import pytest

from django_cfg_tasks.broker import Entry
from django_cfg_tasks.worker.priorities import SHARE, Priorities


def drain(queues: dict[str, int], count: int, rounds: int) -> list[str]:
    """Fetch as Redis does: the queues in order, but for the shares of later ones; then what is left to fetch."""
    priorities, left, taken = Priorities(list(queues)), dict(queues), []
    for _ in range(rounds):
        shares = priorities.shares(count)
        first = [(queue, count - sum(shares.values())) for queue in queues]
        got: list[str] = []
        for part, most in ((first, count - sum(shares.values())), (list(shares.items()), count)):
            for queue, number in part:
                taking = min(number, left[queue], most - len(got))
                left[queue] -= taking
                got += [queue] * taking
        for queue in queues:
            taking = min(left[queue], count - len(got))
            left[queue] -= taking
            got += [queue] * taking
        entries = [Entry(queue, "0-1", "job") for queue in got]
        priorities.count(entries, shares)
        taken += [entry.queue for entry in (priorities.arranged(entries) if shares else entries)]
    return taken


@pytest.mark.parametrize("count", [1, 10, 100])
def test_later_queues_get_their_share_while_the_first_is_never_empty(count: int) -> None:
    taken = Counter(drain({"high": 10**6, "default": 10**6, "low": 10**6}, count, 3200 // count))
    assert taken["default"] + taken["low"] == pytest.approx(3200 / SHARE, rel=0.15)
    assert taken["low"] == pytest.approx(taken["default"], rel=0.2)


def test_later_queues_are_served_alike_however_much_is_fetched() -> None:
    priorities, given = Priorities(["high", "default", "low"]), Counter[str]()
    for size in [40, 10] * 100:
        shares = priorities.shares(size)
        given.update(shares)
        names = [*(queue for queue, number in shares.items() for _ in range(number))]
        names += ["high"] * (size - len(names))
        priorities.count([Entry(name, "0-1", "job") for name in names], shares)
    assert max(given["default"], given["low"]) > 100
    assert abs(given["default"] - given["low"]) <= 2


@pytest.mark.parametrize("count", [10, 50, 150, 500])
def test_shares_lie_among_the_others_of_a_fetch(count: int) -> None:
    taken = drain({"high": 160, "default": 40, "low": 40}, count, 240)
    urgent = Counter(taken[: len(taken) - taken[::-1].index("high")])
    assert urgent["high"] == 160
    assert 8 <= urgent["default"] + urgent["low"] <= 12
    assert abs(urgent["default"] - urgent["low"]) <= 2
    for start in range(0, 140, SHARE):
        assert Counter(taken[start : start + SHARE])["high"] >= SHARE - 2
    assert taken[-20:] == ["low"] * 20


def test_the_order_is_kept_otherwise() -> None:
    taken = drain({"high": 40, "low": 40}, 1, 80)
    assert taken[:SHARE] == ["high"] * SHARE
    assert taken.index("low") == SHARE
    assert Counter(taken[: taken.index("high", 35)])["low"] <= 3
    assert taken[-30:] == ["low"] * 30


def test_an_empty_queue_passes_its_turn_on_and_saves_nothing_up() -> None:
    taken = drain({"high": 1000, "empty": 0, "low": 1000}, 1, 320)
    assert Counter(taken)["low"] == pytest.approx(320 / SHARE, abs=3)
    priorities = Priorities(["high", "low"])
    for _ in range(100):
        priorities.count([Entry("high", "0-1", "job")] * 10, {})
    assert priorities.shares(1) == {"low": 1}


def test_one_queue_has_no_later_ones() -> None:
    assert Counter(drain({"only": 100}, 5, 20)) == {"only": 100}
