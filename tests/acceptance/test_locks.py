"""``client.lock``: one holder at a time over threads, loops and processes, whatever becomes of holders and of Redis."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_cfg_tasks import ReArqClient, RearqConfig, TaskConfig, locks
from django_cfg_tasks.exceptions import BrokerUnavailableError, InvalidOptionError, LockTimeoutError, WrongThreadError
from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import eventually, wait_until

# Notes who is in and who is out: never two at once means never two "in" without an "out" between them.
WORK = """
import asyncio, sys, time
from django_cfg_tasks import get_rearq_client
from shop.ledger import note

client = get_rearq_client()
for _ in range(40):
    with client.lock("till", timeout=20):
        note("in")
        time.sleep(0.002)
        note("out")
"""

TASKS = """
import time
from pathlib import Path
from django_cfg_tasks import get_rearq_client, task
from shop.ledger import note

@task
def sync_task(name: str):
    with get_rearq_client().lock("both", wait=10):
        note(f"in {name}")
    return name

@task
async def async_task(name: str):
    async with get_rearq_client().lock("both", wait=10):
        note(f"in {name}")
    return name

@task(job_retry=0)
def waits_for_ever():
    note("waits")
    with get_rearq_client().lock("taken"):
        note("in")
"""


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[ReArqClient]:
    made = ReArqClient(TaskConfig(rearq=RearqConfig(redis_url=redis_server.url)))
    yield made
    made.close()


def lease_of(redis_server: RedisServer, name: str) -> int:
    with redis_server.client() as redis:
        return int(redis.pttl(f"rearq:lock:{name}"))


class TestTaking:
    def test_sync_and_async_exclude_each_other_and_leave_nothing(
        self, client: ReArqClient, redis_server: RedisServer
    ) -> None:
        async def attempt() -> None:
            async with client.lock("x", wait=0):
                pass

        with client.lock("x", timeout=30):
            assert 20_000 < lease_of(redis_server, "x") <= 30_000
            with pytest.raises(LockTimeoutError, match="The lock 'x' was not free within 0 s"):
                asyncio.run(attempt())
            with pytest.raises(LockTimeoutError, match=r"within 0.3 s"), client.lock("x", wait=0.3):
                pass
            with client.lock("another", wait=0):
                pass
        asyncio.run(attempt())
        assert lease_of(redis_server, "x") == -2

    def test_it_can_be_used_again_and_is_freed_by_an_error(self, client: ReArqClient) -> None:
        lock = client.lock("x", wait=0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), lock:
                raise ZeroDivisionError

    def test_it_is_not_reentrant(self, client: ReArqClient) -> None:
        lock = client.lock("x", wait=0)
        with lock:
            with pytest.raises(RuntimeError, match="not reentrant"), lock:
                pass
            with pytest.raises(LockTimeoutError), client.lock("x", wait=0):
                pass
        with lock:
            pass

    @pytest.mark.parametrize(
        "options", [{"name": ""}, {"name": "a\nb"}, {"timeout": 0.5}, {"timeout": None}, {"wait": -1}, {"wait": "1"}]
    )
    def test_what_can_be_no_lock_is_refused(self, client: ReArqClient, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidOptionError):
            client.lock(**({"name": "x"} | options))

    async def test_blocking_on_the_home_loop_is_refused(self, redis_server: RedisServer) -> None:
        client = ReArqClient(TaskConfig(rearq=RearqConfig(redis_url=redis_server.url)))
        client.home.adopt(asyncio.get_running_loop())
        lock = client.lock("x")
        with pytest.raises(WrongThreadError, match="async with client"), lock:
            pass
        async with lock:  # nothing is left of the attempt
            pass
        await client.aclose()


class TestWaiting:
    def test_a_waiter_is_called_when_the_lock_is_free(
        self, client: ReArqClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(locks, "LOOK_AGAIN_SECONDS", 60)
        order: list[str] = []

        def wait() -> None:
            order.append("waits")
            with client.lock("x", wait=50):
                order.append("in")

        with client.lock("x"):
            thread = threading.Thread(target=wait)
            thread.start()
            wait_until(lambda: client._locks._listener is not None, "the other one waits")
            order.append("out")
        thread.join(20)
        assert order == ["waits", "out", "in"]

    async def test_who_is_cancelled_leaves_nothing(self, client: ReArqClient, redis_server: RedisServer) -> None:
        async def hold() -> None:
            async with client.lock("x"):
                await asyncio.sleep(60)

        async with client.lock("x"):
            waiter = asyncio.create_task(hold())
            await eventually(lambda: client._locks._waiting.get("x"), "it waits")
            waiter.cancel()
            await asyncio.wait([waiter])
        holder = asyncio.create_task(hold())
        await eventually(lambda: lease_of(redis_server, "x") > 0, "it holds")
        holder.cancel()
        await asyncio.wait([holder])
        assert holder.cancelled()
        assert lease_of(redis_server, "x") == -2

    async def test_who_is_cancelled_in_the_moment_of_the_taking_leaves_nothing(
        self, client: ReArqClient, redis_server: RedisServer
    ) -> None:
        async def hold() -> None:
            async with client.lock("x"):
                await asyncio.sleep(60)

        for number in range(60):
            holder = asyncio.create_task(hold())
            await asyncio.sleep(number / 10_000)
            holder.cancel()
            await asyncio.wait([holder])
            async with client.lock("x", wait=0):
                pass
        assert not client._locks._renewals


class TestHolding:
    def test_it_is_renewed_and_lapses_with_its_holder(
        self, client: ReArqClient, redis_server: RedisServer, make_project: Callable[..., TaskProject]
    ) -> None:
        holder = make_project().start_code(
            "import time\nfrom django_cfg_tasks import get_rearq_client\n"
            "with get_rearq_client().lock('x', timeout=2):\n    print('in', flush=True)\n    time.sleep(60)",
            name="holder",
        )
        holder.wait_for_log("^in$")
        # More than one lease's time is over.
        with pytest.raises(LockTimeoutError), client.lock("x", wait=3):
            pass
        holder.sigkill()
        with client.lock("x", wait=10):
            pass

    def test_a_holder_goes_on_while_redis_is_away(
        self, client: ReArqClient, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "django_cfg_tasks.locks")
        with client.lock("x", timeout=2):
            redis_server.stop()
            wait_until(lambda: "could not be renewed, its holder goes on" in caplog.text, "that is said")
            redis_server.start()
            wait_until(lambda: "'x' is held again" in caplog.text, "the lease is taken again")
            with pytest.raises(LockTimeoutError), client.lock("x", wait=0):
                pass
        assert lease_of(redis_server, "x") == -2

    def test_one_that_was_lost_is_told_of_and_taken_from_nobody(
        self, client: ReArqClient, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with client.lock("x", timeout=2), redis_server.client() as redis:
            redis.set("rearq:lock:x", "another's")
            wait_until(lambda: "another may hold it" in caplog.text, "that is said")
        assert "was lost before its holder was done" in caplog.text
        with redis_server.client() as redis:
            assert redis.get("rearq:lock:x") == "another's"

    def test_leaving_while_redis_is_away_harms_nobody(
        self, client: ReArqClient, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with client.lock("x", timeout=2):
            redis_server.stop()
        assert "could not be freed; it lapses within 2 s" in caplog.text


class TestOutages:
    def test_taking_raises_once_the_wait_is_over(self, client: ReArqClient, redis_server: RedisServer) -> None:
        redis_server.stop()
        for wait in (0, 0.5):
            began = time.monotonic()
            with pytest.raises(BrokerUnavailableError), client.lock("x", wait=wait):
                pass
            assert time.monotonic() - began >= wait

    def test_a_waiter_takes_it_when_redis_is_back(self, client: ReArqClient, redis_server: RedisServer) -> None:
        redis_server.stop()
        timer = threading.Timer(0.5, redis_server.start)
        timer.start()
        with client.lock("x", wait=30):
            assert lease_of(redis_server, "x") > 0
        timer.join()


class TestProcesses:
    def test_never_two_at_once(self, make_project: Callable[..., TaskProject]) -> None:
        project = make_project(files={"shop/ledger.py": LEDGER})
        workers = [project.start_code(WORK, name=f"process{number}") for number in range(4)]
        assert [worker.wait(60) for worker in workers] == [0] * 4
        lines = (project.folder / "shop" / "ledger.txt").read_text().split()
        assert lines == ["in", "out"] * 160

    def test_tasks_of_both_kinds(self, make_project: Callable[..., TaskProject]) -> None:
        project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
        worker = project.worker()
        done = project.json(
            "from shop.tasks import async_task, sync_task\n"
            "jobs = [t.enqueue(f'{t.name} {n}') for n in range(10) for t in (async_task, sync_task)]\n"
            "emit([job.wait(timeout=20).status for job in jobs])"
        )
        assert done == ["success"] * 20
        assert len(runs(project.folder)) == 20
        assert worker.stop() == 0
        assert "Traceback" not in worker.output

    def test_a_task_that_waits_in_a_thread_can_be_canceled(
        self, make_project: Callable[..., TaskProject], client: ReArqClient
    ) -> None:
        project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
        worker = project.worker()
        with client.lock("taken"):
            status = project.json(
                "import time\nfrom pathlib import Path\nfrom shop.tasks import waits_for_ever\n"
                "job = waits_for_ever.enqueue()\n"
                "while not Path('shop/ledger.txt').exists(): time.sleep(0.02)\n"
                "job.cancel()\nemit(job.wait(timeout=10).status)"
            )
            assert status == "canceled"
            worker.wait_for_log("waits_for_ever .* canceled")
        assert worker.stop() == 0
        assert runs(project.folder) == {"waits": 1}
        assert "does not end" not in worker.output
