"""What many ask for is found once, and not asked for all the time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from django_cfg_tasks import sharing
from django_cfg_tasks.sharing import Shared


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sharing, "time", clock)
    return clock


def taking(clock: Clock, seconds: float, found: list[str]) -> Callable[[], str]:
    def find() -> str:
        clock.now += seconds
        found.append(f"answer {len(found) + 1}")
        return found[-1]

    return find


def test_an_answer_is_kept_for_its_time(clock: Clock) -> None:
    shared: Shared[str] = Shared(2)
    find = taking(clock, 0.1, [])
    assert [shared.get("a", find), shared.get("a", find)] == ["answer 1", "answer 1"]
    clock.now += 1.9
    assert shared.get("a", find) == "answer 1"
    clock.now += 0.2
    assert shared.get("a", find) == "answer 2"


def test_each_key_has_its_own(clock: Clock) -> None:
    shared: Shared[str] = Shared(2)
    find = taking(clock, 0.1, [])
    assert [shared.get("a", find), shared.get("b", find), shared.get("a", find)] == ["answer 1", "answer 2", "answer 1"]


def test_what_takes_long_is_asked_for_seldom(clock: Clock) -> None:
    shared: Shared[str] = Shared(2, rests=20)
    find = taking(clock, 1, [])
    shared.get("a", find)
    clock.now += 19
    assert shared.get("a", find) == "answer 1"
    clock.now += 2
    assert shared.get("a", find) == "answer 2"


def test_what_is_forgotten_is_found_anew(clock: Clock) -> None:
    shared: Shared[str] = Shared(60)
    find = taking(clock, 0, [])
    shared.get("a", find)
    shared.forget()
    assert shared.get("a", find) == "answer 2"


def test_an_error_is_not_kept() -> None:
    shared: Shared[str] = Shared(60)
    with pytest.raises(ZeroDivisionError):
        shared.get("a", lambda: str(1 / 0))
    assert shared.get("a", lambda: "fine") == "fine"


def test_fifty_who_come_together_cost_one() -> None:
    shared: Shared[str] = Shared(60)
    barrier, asked, answers = threading.Barrier(50), [], []
    go_on = threading.Event()

    def find() -> str:
        asked.append(1)
        go_on.wait(10)
        return "found"

    def come() -> None:
        barrier.wait(10)
        answers.append(shared.get("a", find))

    threads = [threading.Thread(target=come) for _ in range(50)]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert answers == ["found"] * 50
    assert len(asked) == 1
