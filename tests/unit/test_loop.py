"""The home loop, reached from any thread and loop, and the batches that are written on it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_cfg_tasks.exceptions import TasksError, WrongThreadError
from django_cfg_tasks.loop import Batcher, HomeLoop
from tests.waiting import wait_until

SECONDS = 10


@pytest.fixture
def home() -> Iterator[HomeLoop]:
    """A home loop without a loop; stopped after the test."""
    loop = HomeLoop()
    yield loop
    loop.stop()


async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """The loop and thread that this runs on."""
    return asyncio.get_running_loop(), threading.current_thread()


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(number)`` gives in as many threads at once."""
    start = threading.Barrier(count)

    def synchronously(number: int) -> Any:
        start.wait(SECONDS)
        return work(number)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(synchronously, range(count)))


class TestHomeLoop:
    def test_nothing_runs_before_the_first_use(self, home: HomeLoop) -> None:
        before = threading.enumerate()
        assert not home.running
        assert not home.adopted
        assert not home.is_here()
        assert threading.enumerate() == before

    def test_it_has_a_daemon_thread_of_its_own(self, home: HomeLoop) -> None:
        loop, thread = home.call(where(), "")
        assert thread is not threading.current_thread()
        assert (thread.daemon, thread.name) == (True, "django_cfg_tasks-loop")
        assert loop is home.start()
        assert home.running
        assert not home.adopted

    def test_fifty_threads_at_once_share_one_loop(self, home: HomeLoop) -> None:
        seen = in_threads(50, lambda number: home.call(where(), ""))
        assert len(seen) == 50
        assert len(set(seen)) == 1

    def test_from_a_new_event_loop_each_time(self, home: HomeLoop) -> None:
        seen = {asyncio.run(home.run(where())) for _ in range(20)}
        assert len(seen) == 1

    def test_from_many_event_loops_at_once(self, home: HomeLoop) -> None:
        async def many() -> list[Any]:
            return await asyncio.gather(*(home.run(where()) for _ in range(20)))

        seen = in_threads(20, lambda number: asyncio.run(many()))
        assert len({place for places in seen for place in places}) == 1

    async def test_values_and_errors_come_back(self, home: HomeLoop) -> None:
        async def fail() -> None:
            raise ZeroDivisionError("on the home loop")

        async def answer() -> int:
            return 42

        assert await home.run(answer()) == 42
        with pytest.raises(ZeroDivisionError, match="on the home loop"):
            await home.run(fail())
        with pytest.raises(ZeroDivisionError, match="on the home loop"):
            await asyncio.to_thread(home.call, fail(), "")

    async def test_a_waiter_that_is_canceled_cancels_its_work(self, home: HomeLoop) -> None:
        started, canceled = threading.Event(), threading.Event()

        async def work() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                canceled.set()
                raise

        waiter = asyncio.create_task(home.run(work()))
        assert await asyncio.to_thread(started.wait, SECONDS)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert await asyncio.to_thread(canceled.wait, SECONDS)

    async def test_on_the_home_loop_itself_work_is_awaited_in_place(self, home: HomeLoop) -> None:
        async def nested() -> bool:
            return home.is_here() and await home.run(where()) == await where()

        assert not home.is_here()
        assert await home.run(nested())

    async def test_a_blocking_call_on_the_home_loop_is_refused(self, home: HomeLoop) -> None:
        async def block() -> None:
            home.call(where(), "await job.result()")

        with pytest.raises(WrongThreadError) as caught:
            await home.run(block())
        assert str(caught.value) == (
            "This blocking call was made on the event loop that has to answer it. Use await job.result() in async code."
        )

    async def test_a_blocking_call_on_another_loop_is_answered(self, home: HomeLoop) -> None:
        home.refuse_here("")
        assert home.call(where(), "")[1] is not threading.current_thread()


class TestAdopted:
    async def test_it_is_the_loop_of_somebody_else(self, home: HomeLoop) -> None:
        loop = asyncio.get_running_loop()
        home.adopt(loop)
        home.adopt(loop)
        assert home.adopted
        assert home.is_here()
        assert await home.run(where()) == (loop, threading.current_thread())
        assert await asyncio.to_thread(home.call, where(), "") == (loop, threading.current_thread())

    async def test_it_refuses_blocking_calls(self, home: HomeLoop) -> None:
        home.adopt(asyncio.get_running_loop())
        with pytest.raises(WrongThreadError, match="Use await x in async code"):
            home.call(where(), "await x")

    async def test_stop_only_lets_it_go(self, home: HomeLoop) -> None:
        loop = asyncio.get_running_loop()
        home.adopt(loop)
        home.stop()
        assert not home.running
        assert loop.is_running()
        assert (await home.run(where()))[0] is not loop

    async def test_one_that_runs_already_is_not_given_up(self, home: HomeLoop) -> None:
        own = home.start()
        with pytest.raises(WrongThreadError, match="a worker must be the first to use it"):
            home.adopt(asyncio.get_running_loop())
        assert home.start() is own

    def test_one_that_was_closed_is_replaced(self, home: HomeLoop) -> None:
        async def adopt() -> None:
            home.adopt(asyncio.get_running_loop())

        asyncio.run(adopt())
        asyncio.run(adopt())
        assert home.call(where(), "")[1].name == "django_cfg_tasks-loop"
        assert not home.adopted


class TestStop:
    def test_ends_loop_and_thread(self, home: HomeLoop) -> None:
        loop, thread = home.call(where(), "")
        home.stop()
        assert loop.is_closed()
        assert not thread.is_alive()
        assert not home.running

    def test_may_be_repeated_and_comes_before_the_start_without_harm(self, home: HomeLoop) -> None:
        home.stop()
        home.start()
        home.stop()
        home.stop()

    def test_the_next_use_starts_anew(self, home: HomeLoop) -> None:
        before = home.call(where(), "")
        home.stop()
        after = home.call(where(), "")
        assert before[0] is not after[0]
        assert before[1] is not after[1]

    def test_work_that_still_runs_is_canceled(self, home: HomeLoop) -> None:
        started = threading.Event()

        async def work() -> None:
            started.set()
            await asyncio.Event().wait()

        running = asyncio.run_coroutine_threadsafe(work(), home.start())
        assert started.wait(SECONDS)
        home.stop()
        with pytest.raises(concurrent.futures.CancelledError):
            running.result(SECONDS)


class Table:
    """What a batcher writes to: it notes each batch, and can be held up in the middle of one."""

    def __init__(self, home: HomeLoop) -> None:
        self.home = home
        self.batches: list[list[Any]] = []
        self.answer: Callable[[Any], Any] = lambda item: item
        self.writing = threading.Event()
        self._open = threading.Event()
        self._open.set()

    async def write(self, items: list[Any]) -> list[Any]:
        assert self.home.is_here()
        self.batches.append(items)
        self.writing.set()
        await asyncio.to_thread(self._open.wait, SECONDS)
        return [self.answer(item) for item in items]

    def hold(self) -> None:
        """Let writes hang from now on."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()


@pytest.fixture
def table(home: HomeLoop) -> Iterator[Table]:
    made = Table(home)
    yield made
    made.release()


@pytest.fixture
def batcher(home: HomeLoop, table: Table) -> Batcher[Any, Any]:
    return Batcher(home, table.write)


@pytest.fixture
def while_writing(table: Table, batcher: Batcher[Any, Any]) -> concurrent.futures.Future[list[Any]]:
    """A batch of one item, "first", is under way and hangs until `Table.release`."""
    table.hold()
    first = batcher.submit(["first"])
    assert table.writing.wait(SECONDS)
    return first


class TestBatcher:
    def test_a_lone_item_is_written_at_once(self, table: Table, batcher: Batcher[Any, Any]) -> None:
        for number in range(3):
            assert batcher.submit([number]).result(SECONDS) == [number]
        assert table.batches == [[0], [1], [2]]

    def test_what_arrives_meanwhile_goes_into_the_next_batch_in_order(
        self, table: Table, batcher: Batcher[Any, Any], while_writing: Any
    ) -> None:
        table.answer = lambda item: f"{item}!"
        futures = [batcher.submit([f"{number}a", f"{number}b"]) for number in range(5)]
        assert not any(future.done() for future in futures)
        table.release()
        assert [future.result(SECONDS) for future in futures] == [[f"{n}a!", f"{n}b!"] for n in range(5)]
        assert while_writing.result(SECONDS) == ["first!"]
        assert table.batches == [["first"], [f"{n}{x}" for n in range(5) for x in "ab"]]

    def test_fifty_threads_each_get_their_own(self, table: Table, batcher: Batcher[Any, Any]) -> None:
        table.answer = lambda item: item * 10
        results = in_threads(50, lambda n: [batcher.submit([n * 100 + i]).result(SECONDS) for i in range(20)])
        assert results == [[[(n * 100 + i) * 10] for i in range(20)] for n in range(50)]
        written = [item for batch in table.batches for item in batch]
        assert sorted(written) == sorted(n * 100 + i for n in range(50) for i in range(20))
        for n in range(50):
            assert [item for item in written if item // 100 == n] == [n * 100 + i for i in range(20)]

    def test_from_a_new_event_loop_each_time(self, batcher: Batcher[Any, Any]) -> None:
        async def submit(number: int) -> list[Any]:
            return await asyncio.wrap_future(batcher.submit([number]))

        assert [asyncio.run(submit(number)) for number in range(20)] == [[number] for number in range(20)]

    def test_batches_have_a_size_and_no_submission_is_torn(self, home: HomeLoop, table: Table) -> None:
        batcher: Batcher[Any, Any] = Batcher(home, table.write, most=4)
        table.hold()
        sizes = [1, 2, 2, 1, 9, 1]
        futures = [batcher.submit(["first"])]
        assert table.writing.wait(SECONDS)
        futures += [batcher.submit([size] * size) for size in sizes]
        table.release()
        concurrent.futures.wait(futures, SECONDS)
        assert table.batches == [["first"], [1, 2, 2], [2, 2, 1], [9] * 9, [1]]

    def test_threads_that_block_each_get_their_own(self, table: Table, batcher: Batcher[Any, Any]) -> None:
        table.answer = lambda item: ValueError(item) if item % 7 == 0 else item * 10

        def work(n: int) -> list[Any]:
            return [_answer(lambda item=n * 100 + i: batcher.call([item])) for i in range(20)]

        expected = [[n * 100 + i for i in range(20)] for n in range(50)]
        assert in_threads(50, work) == [[str(i) if i % 7 == 0 else [i * 10] for i in row] for row in expected]

    def test_many_on_several_loops_at_once_each_get_their_own(
        self, home: HomeLoop, table: Table, batcher: Batcher[Any, Any]
    ) -> None:
        table.answer = lambda item: ValueError(item) if item % 7 == 0 else item * 10

        async def put(item: int) -> Any:
            try:
                return await batcher.put([item])
            except ValueError as error:
                return str(error)

        async def work(n: int) -> list[Any]:
            return await asyncio.gather(*(put(n * 1000 + i) for i in range(300)))

        def run(n: int) -> list[Any]:
            return home.call(work(n), "") if n == 0 else asyncio.run(work(n))

        expected = [[n * 1000 + i for i in range(300)] for n in range(5)]
        assert in_threads(5, run) == [[str(i) if i % 7 == 0 else [i * 10] for i in row] for row in expected]
        assert len(table.batches) < 1500

    def test_a_loop_that_is_closed_meanwhile_harms_no_other(
        self, table: Table, batcher: Batcher[Any, Any], while_writing: concurrent.futures.Future[list[Any]]
    ) -> None:
        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.put(["closed"]), 0.05)

        for _ in range(2):
            asyncio.run(give_up())
        last = batcher.submit(["last"])
        table.release()
        assert last.result(SECONDS) == ["last"]
        assert while_writing.result(SECONDS) == ["first"]
        assert table.batches == [["first"], ["closed", "closed", "last"]]

    def test_no_items_no_results(self, batcher: Batcher[Any, Any]) -> None:
        assert batcher.submit([]).result(SECONDS) == []


class TestBatcherFailures:
    def test_an_exception_goes_to_its_submitter_only(
        self, table: Table, batcher: Batcher[Any, Any], while_writing: Any
    ) -> None:
        table.answer = lambda item: ValueError(item) if "bad" in item else item
        good, bad, last = batcher.submit(["a"]), batcher.submit(["b", "bad 1", "bad 2"]), batcher.submit(["c"])
        table.release()
        assert good.result(SECONDS) == ["a"]
        assert last.result(SECONDS) == ["c"]
        with pytest.raises(ValueError, match="bad 1"):
            bad.result(SECONDS)
        assert len(table.batches) == 2

    def test_what_the_write_raises_all_of_the_batch_see(
        self, table: Table, batcher: Batcher[Any, Any], while_writing: Any
    ) -> None:
        def fail(item: Any) -> Any:
            raise OSError("the database is away")

        table.answer = fail
        futures = [batcher.submit([number]) for number in range(3)]
        table.release()
        for future in [while_writing, *futures]:
            with pytest.raises(OSError, match="the database is away"):
                future.result(SECONDS)

    def test_it_goes_on_after_a_failure(self, table: Table, batcher: Batcher[Any, Any]) -> None:
        def fail(item: Any) -> Any:
            raise OSError("away")

        table.answer = fail
        with pytest.raises(OSError, match="away"):
            batcher.submit([1]).result(SECONDS)
        table.answer = lambda item: item
        assert batcher.submit([2]).result(SECONDS) == [2]

    async def test_a_waiter_that_is_canceled_harms_no_other(
        self, table: Table, batcher: Batcher[Any, Any], while_writing: concurrent.futures.Future[list[Any]]
    ) -> None:
        async def submit(item: str) -> list[Any]:
            return await asyncio.wrap_future(batcher.submit([item]))

        waiters = [asyncio.create_task(submit(item)) for item in "abc"]
        in_the_batch = asyncio.create_task(_awaited(while_writing))
        await asyncio.sleep(0)
        for waiter in (waiters[1], in_the_batch):
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
        table.release()
        assert await asyncio.gather(waiters[0], waiters[2]) == [["a"], ["c"]]
        assert await submit("d") == ["d"]

    @pytest.mark.parametrize("kind", ["under way", "waiting"])
    def test_when_the_loop_is_stopped_nobody_waits_for_ever(
        self, home: HomeLoop, batcher: Batcher[Any, Any], while_writing: Any, kind: str
    ) -> None:
        waiting = batcher.submit(["second"])
        home.stop()
        with pytest.raises(TasksError, match="stopped before this was done"):
            (while_writing if kind == "under way" else waiting).result(SECONDS)

    def test_when_the_loop_is_stopped_no_blocked_thread_stays(
        self, home: HomeLoop, batcher: Batcher[Any, Any], while_writing: Any
    ) -> None:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            blocked = pool.submit(batcher.call, ["second"])
            awaited = pool.submit(lambda: asyncio.run(_put(batcher)))
            wait_until(lambda: len(batcher._waiting) == 2, "both wait")
            home.stop()
            for each in (blocked, awaited):
                with pytest.raises(TasksError, match="stopped before this was done"):
                    each.result(SECONDS)

    def test_after_a_stop_it_starts_anew(
        self, home: HomeLoop, table: Table, batcher: Batcher[Any, Any], while_writing: Any
    ) -> None:
        home.stop()
        assert while_writing.exception(SECONDS) is not None
        table.release()
        assert batcher.submit(["again"]).result(SECONDS) == ["again"]


def _answer(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ValueError as error:
        return str(error)


async def _put(batcher: Batcher[Any, Any]) -> list[Any]:
    return await batcher.put(["third"])


async def _awaited(future: concurrent.futures.Future[list[Any]]) -> list[Any]:
    return await asyncio.wrap_future(future)
