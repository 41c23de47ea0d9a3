"""Work that waits for sockets only: done in a thread that blocks, or on a loop that must not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from django_cfg_tasks.waits import Steps, Wait, block_on, follow
from tests.waiting import eventually

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


class Log(list[str]):
    """What became of work."""

    def read(self, ours: socket.socket, seconds: float | None = None) -> Steps[bytes]:
        """Wait for a message, and return it."""
        try:
            self.append("begins")
            yield Wait(ours.fileno(), seconds)
            return ours.recv(100)
        except TimeoutError as error:
            self.append(str(error))
            yield Wait(ours.fileno())
            return b"late: " + ours.recv(100)
        except BaseException as error:
            self.append(type(error).__name__)
            raise
        finally:
            self.append("ends")


def fill(ours: socket.socket) -> None:
    """Write until there is no room."""
    with suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 100_000)


def empty(theirs: socket.socket) -> None:
    """Read all there is."""
    with suppress(BlockingIOError):
        while True:
            theirs.recv(1_000_000)


def never(_: Steps[bytes]) -> asyncio.Future[bytes]:
    raise AssertionError("nothing in it blocks")


class TestInAThread:
    def test_it_waits_until_there_is_something_to_read(self, pair: Pair) -> None:
        ours, theirs = pair
        timer = threading.Timer(0.1, theirs.send, [b"hello"])
        timer.start()
        assert block_on(Log().read(ours)) == b"hello"
        timer.join()

    def test_a_limit_is_told_to_the_work(self, pair: Pair) -> None:
        ours, theirs = pair
        log = Log()
        steps = log.read(ours, 0.02)
        timer = threading.Timer(0.1, theirs.send, [b"hello"])
        timer.start()
        assert block_on(steps) == b"late: hello"
        assert log == ["begins", "no answer within 0.02 s", "ends"]
        timer.join()

    def test_it_waits_until_there_is_room_to_write(self, pair: Pair) -> None:
        ours, theirs = pair
        fill(ours)

        def write() -> Steps[int]:
            yield Wait(ours.fileno(), to_write=True)
            return ours.send(b"x")

        timer = threading.Timer(0.1, empty, [theirs])
        timer.start()
        assert block_on(write()) == 1
        timer.join()

    def test_what_blocks_is_simply_done(self) -> None:
        def work() -> Steps[str]:
            yield None
            return "done"

        assert block_on(work()) == "done"

    def test_errors_come_through(self) -> None:
        def work() -> Steps[str]:
            yield None
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            block_on(work())

    def test_an_interrupt_ends_the_work_too(self, pair: Pair) -> None:
        log = Log()
        timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            block_on(log.read(pair[0]))
        assert log == ["begins", "GeneratorExit", "ends"]
        timer.join()


class TestOnALoop:
    async def test_the_loop_goes_on_meanwhile(self, pair: Pair) -> None:
        ours, theirs = pair
        asyncio.get_running_loop().call_later(0.05, theirs.send, b"hello")
        assert await follow(Log().read(ours), never) == b"hello"

    async def test_a_limit_is_told_to_the_work(self, pair: Pair) -> None:
        ours, theirs = pair
        log = Log()
        asyncio.get_running_loop().call_later(0.1, theirs.send, b"hello")
        assert await follow(log.read(ours, 0.02), never) == b"late: hello"
        assert log == ["begins", "no answer within 0.02 s", "ends"]

    async def test_it_waits_until_there_is_room_to_write(self, pair: Pair) -> None:
        ours, theirs = pair
        fill(ours)

        begun = asyncio.Event()

        def write() -> Steps[bytes]:
            begun.set()
            yield Wait(ours.fileno(), to_write=True)
            return b"x" * ours.send(b"x")

        writing = asyncio.create_task(follow(write(), never))
        await begun.wait()
        assert not writing.done()
        empty(theirs)
        assert await writing == b"x"

    async def test_what_blocks_is_done_elsewhere(self, pair: Pair) -> None:
        ours, theirs = pair
        threads = []

        def work() -> Steps[str]:
            threads.append(threading.get_ident())
            yield Wait(ours.fileno())
            yield None
            threads.append(threading.get_ident())
            yield Wait(ours.fileno())
            return "done"

        def elsewhere(steps: Steps[str]) -> asyncio.Future[str]:
            return asyncio.get_running_loop().run_in_executor(None, block_on, steps)

        theirs.send(b"hello")
        assert await follow(work(), elsewhere) == "done"
        assert threads[0] == threading.get_ident() != threads[1]

    async def test_where_a_loop_has_no_way_to_wait(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = pair
        loop = asyncio.get_running_loop()

        def add_reader(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(loop, "add_reader", add_reader)
        theirs.send(b"hello")
        read = Log().read(ours)
        assert await follow(read, lambda steps: loop.run_in_executor(None, block_on, steps)) == b"hello"

    async def test_who_is_cancelled_leaves_the_rest_to_others(self, pair: Pair) -> None:
        ours, theirs = pair
        log = Log()
        handed: list[asyncio.Future[bytes]] = []

        def elsewhere(steps: Steps[bytes]) -> asyncio.Future[bytes]:
            theirs.send(b"hello")
            handed.append(asyncio.get_running_loop().create_future())
            assert block_on(steps) == b"hello"
            return handed[-1]

        following = asyncio.create_task(follow(log.read(ours), elsewhere))
        await eventually(lambda: log, "it waits")
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        assert log == ["begins", "ends"]
        assert [answer.cancelled() for answer in handed] == [True], "nobody listens any more"
        assert not asyncio.get_running_loop().remove_reader(ours.fileno())

    def test_a_loop_that_is_gone_ends_the_work(self, pair: Pair) -> None:
        log = Log()
        loop = asyncio.new_event_loop()
        following = follow(log.read(pair[0]), never)
        loop.call_soon(loop.stop)
        task = loop.create_task(following)
        loop.run_forever()
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert log == ["begins"]
        following.close()
        assert log == ["begins", "GeneratorExit", "ends"]
        task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
