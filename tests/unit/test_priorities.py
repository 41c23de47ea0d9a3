"""Earlier queues first, and a share for the later ones."""

from __future__ import annotations

from collections import Counter

import pytest

from django_cfg_tasks.broker import Entry
from django_cfg_tasks.worker.priorities import SHARE, Priorities


def drain(queues: dict[str, int], count: int, rounds: int) -> list[str]:
    """Fetch as Redis does: the favoured queue's share, then the queues in order."""
    priorities, left, taken = Priorities(list(queues)), dict(queues), []
    for _ in range(rounds):
        favoured = priorities.favoured()
        order = [(favoured[0], min(favoured[1], count))] if favoured else []
        got: list[str] = []
        for queue, most in [*order, *((queue, count) for queue in queues)]:
            number = min(most, left[queue], count - len(got))
            left[queue] -= number
            got += [queue] * number
        priorities.count([Entry(queue, "0-1", "job") for queue in got])
        taken += got
    return taken


@pytest.mark.parametrize("count", [1, 10, 100])
def test_later_queues_get_their_share_while_the_first_is_never_empty(count: int) -> None:
    taken = Counter(drain({"high": 10**6, "default": 10**6, "low": 10**6}, count, 3200 // count))
    assert taken["default"] + taken["low"] == pytest.approx(3200 / SHARE, rel=0.15)
    assert taken["low"] == pytest.approx(taken["default"], rel=0.2)


def test_later_queues_are_served_alike_however_much_is_fetched_at_their_turn() -> None:
    priorities, given = Priorities(["high", "default", "low"]), Counter[str]()
    for size in [40, 10] * 100:  # so that every other turn is of more than one job
        favour = priorities.favoured()
        queue, number = favour or ("high", 0)
        given[queue] += number
        names = [queue] * number + ["high"] * (size - number)
        priorities.count([Entry(name, "0-1", "job") for name in names])
    assert max(given["default"], given["low"]) > 100
    assert abs(given["default"] - given["low"]) <= 2


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
        priorities.count([Entry("high", "0-1", "job")] * 10)
    assert priorities.favoured() == ("low", 1)


def test_one_queue_has_no_later_ones() -> None:
    assert Counter(drain({"only": 100}, 5, 20)) == {"only": 100}
