"""Whose turn it is to write to a SQLite file: first come, first served, over threads and event loops."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest

from django_cfg_tasks import turns
from django_cfg_tasks.turns import Turn, turn_of
from tests.waiting import wait_until


@pytest.fixture
def turn() -> Turn:
    return Turn()


@pytest.fixture
def in_threads() -> Iterator[Callable[[Callable[[], None]], threading.Thread]]:
    """Start functions in threads that are awaited at the end."""
    started: list[threading.Thread] = []

    def start(function: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=function)
        thread.start()
        started.append(thread)
        return thread

    yield start
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def taken_and_queued(turn: Turn, number: int) -> bool:
    return turn._taken and len(turn._waiting) == number


def test_one_at_a_time_in_the_order_in_which_they_came(
    turn: Turn, in_threads: Callable[[Callable[[], None]], threading.Thread]
) -> None:
    order: list[object] = []

    def write(name: object) -> None:
        with turn.taken():
            order.append(name)
            assert turn._taken

    with turn.taken():
        for number in range(5):
            in_threads(lambda number=number: write(number))
            wait_until(lambda number=number: taken_and_queued(turn, number + 1), f"{number} waits")
        assert order == []
    wait_until(lambda: len(order) == 5, "all have written")
    assert order == list(range(5))
    wait_until(lambda: not turn._taken, "it is free")


async def test_threads_and_loops_queue_up_together(
    turn: Turn, in_threads: Callable[[Callable[[], None]], threading.Thread]
) -> None:
    order: list[str] = []

    def in_thread() -> None:
        with turn.taken():
            order.append("thread")

    async def in_loop(name: str) -> None:
        async with turn.ataken():
            order.append(name)

    async with turn.ataken():
        first = asyncio.create_task(in_loop("first"))
        await asyncio.sleep(0)
        thread = in_threads(in_thread)
        await asyncio.to_thread(wait_until, lambda: taken_and_queued(turn, 2), "the thread waits")
        last = asyncio.create_task(in_loop("last"))
        await asyncio.sleep(0)
    await asyncio.gather(first, last)
    await asyncio.to_thread(thread.join)
    assert order == ["first", "thread", "last"]
    assert not turn._taken


@pytest.mark.parametrize("woken", [False, True])
async def test_who_is_cancelled_leaves_the_queue(turn: Turn, woken: bool) -> None:
    """Or passes the turn on, where it has come already."""

    async def wait() -> None:
        async with turn.ataken():
            raise AssertionError

    async with turn.ataken():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        if not woken:
            waiting.cancel()
            await asyncio.wait([waiting])
            assert taken_and_queued(turn, 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not turn._taken


async def test_who_has_waited_for_long_goes_ahead(turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.02)
    async with turn.ataken():
        async with turn.ataken():
            assert taken_and_queued(turn, 0)

        def in_thread() -> None:
            with turn.taken():
                assert taken_and_queued(turn, 0)

        await asyncio.to_thread(in_thread)
        assert turn._taken, "they have not given away what they did not have"
    assert not turn._taken


def test_an_error_of_the_writer_frees_it(turn: Turn) -> None:
    with pytest.raises(KeyError), turn.taken():
        raise KeyError
    assert not turn._taken


def test_a_loop_that_was_closed_is_passed_over(turn: Turn) -> None:
    loop = asyncio.new_event_loop()
    with turn.taken():

        async def wait() -> None:
            async with turn.ataken():
                raise AssertionError

        waiting = loop.create_task(wait())
        loop.run_until_complete(asyncio.sleep(0))
        assert taken_and_queued(turn, 1)
        loop.close()
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # it never ends
    assert not turn._taken


def test_each_file_has_one() -> None:
    assert turn_of("/one.sqlite3") is turn_of("/one.sqlite3")
    assert turn_of("/one.sqlite3") is not turn_of("/two.sqlite3")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_starts_anew() -> None:
    code = """
        import os, time
        from django_cfg_tasks.turns import PATIENCE_SECONDS, turn_of
        turn = turn_of("/forked.sqlite3")
        with turn.taken():
            child = os.fork()
            if not child:
                began = time.monotonic()
                with turn.taken():
                    os._exit(time.monotonic() - began > PATIENCE_SECONDS / 2)
            assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], check=True, timeout=30)
