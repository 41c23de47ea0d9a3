"""How long runs may take: as `asyncio.timeout` has it, with one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from django_cfg_tasks.worker.deadlines import Deadlines

SOON, LATER, LATE = 0.02, 0.08, 60.0


@pytest.fixture
async def deadlines() -> Deadlines:
    return Deadlines()


async def for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


def cancels() -> int:
    current = asyncio.current_task()
    assert current is not None
    return current.cancelling()


async def test_who_ends_in_time_is_left_alone(deadlines: Deadlines) -> None:
    with deadlines.within(LATE) as deadline:
        await asyncio.sleep(0)
    assert not deadline.passed


async def test_who_does_not_is_cancelled_and_told_that_it_took_too_long(deadlines: Deadlines) -> None:
    with pytest.raises(TimeoutError) as raised, deadlines.within(SOON) as deadline:
        await for_ever()
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert deadline.passed
    assert cancels() == 0


async def test_who_goes_on_when_cancelled_is_not_told(deadlines: Deadlines) -> None:
    with deadlines.within(SOON) as deadline, pytest.raises(asyncio.CancelledError):
        await for_ever()
    assert deadline.passed
    assert cancels() == 0


async def test_another_error_goes_through(deadlines: Deadlines) -> None:
    async def run() -> NoReturn:
        with deadlines.within(SOON):
            try:
                await for_ever()
            finally:
                raise KeyError

    with pytest.raises(KeyError):
        await run()
    assert cancels() == 0


@pytest.mark.parametrize("seconds", [LATE, 0.0])
async def test_a_cancel_for_another_reason_goes_through(deadlines: Deadlines, seconds: float) -> None:
    """Also where the deadline passes in the same moment."""

    async def run() -> None:
        with deadlines.within(seconds):
            await for_ever()

    running = asyncio.create_task(run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_each_passes_at_its_own_time(deadlines: Deadlines) -> None:
    passed: list[str] = []

    async def run(name: str, seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await for_ever()
        passed.append(name)

    times = {"third": 3 * LATER, "first": SOON, "second": LATER, "with the second": LATER}
    await asyncio.gather(*(run(name, seconds) for name, seconds in times.items()))
    assert passed == ["first", "second", "with the second", "third"]


async def test_one_passes_after_the_one_that_set_the_timer_has_ended(deadlines: Deadlines) -> None:
    with deadlines.within(SOON):
        pass
    with pytest.raises(TimeoutError), deadlines.within(LATER):
        await for_ever()


async def test_runs_of_the_same_length_share_a_timer(deadlines: Deadlines) -> None:
    with deadlines.within(LATE):
        timer = deadlines._timer
    for _ in range(100):
        with deadlines.within(LATE), deadlines.within(LATE):
            await asyncio.sleep(0)
    assert timer is not None
    assert deadlines._timer is timer
    deadlines.close()
    assert timer.cancelled()


async def test_for_ever_needs_no_timer(deadlines: Deadlines) -> None:
    with deadlines.within(float("inf")) as deadline:
        await asyncio.sleep(0)
        assert deadlines._timer is None
        with pytest.raises(TimeoutError), deadlines.within(SOON):
            await for_ever()
        assert deadlines._timer is None
    assert not deadline.passed


async def test_it_is_for_asyncio_tasks(deadlines: Deadlines) -> None:
    refused: list[BaseException] = []

    def enter() -> None:
        try:
            deadlines.within(LATE).__enter__()
        except RuntimeError as error:
            refused.append(error)
        done.set()

    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(enter)
    await done.wait()
    assert len(refused) == 1
