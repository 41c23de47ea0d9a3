"""Which gates a job has to pass, and how a worker holds on to its places behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_cfg_tasks import RearqConfig, task
from django_cfg_tasks.broker import Broker, Gate, keys
from django_cfg_tasks.broker.connection import blocking_client
from django_cfg_tasks.options import TaskDeclaration
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.worker.gates import Gates, disabled_gate, gates_of
from tests.records import running
from tests.redis_server import RedisServer
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def declared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares is forgotten after it."""
    monkeypatch.setattr(tasks, "_tasks", dict(tasks._tasks))


def gates(*args: Any, name: str = "book", **options: Any) -> list[Gate]:
    @task(name=name, **options)
    def book(account: int, line: str = "x") -> None: ...

    return gates_of(running(task=name, args=list(args), kwargs={}), 30)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"run_with_lock": True}, [Gate("lock:task:book", capacity=1, lease=300)]),
        ({"run_with_lock": True, "lock_timeout": 5}, [Gate("lock:task:book", capacity=1, lease=5)]),
        ({"lock_key": "account:{account}"}, [Gate("lock:key:account:7", capacity=1, lease=300)]),
        ({"lock_key": "{account}/{line}"}, [Gate("lock:key:7/x", capacity=1, lease=300)]),
        ({"max_concurrent": 5}, [Gate("most:book", capacity=5, lease=30)]),
        ({"rate_limit": "10/s"}, [Gate("rate:book", starts=10, window=1)]),
        ({"rate_limit": "5/10m"}, [Gate("rate:book", starts=5, window=600)]),
    ],
)
def test_what_options_ask_for(options: dict[str, Any], expected: list[Gate]) -> None:
    assert gates(7, **options) == expected


def test_all_of_them_together() -> None:
    asked = gates(7, lock_key="account:{account}", max_concurrent=2, rate_limit="1/m")
    assert [gate.name for gate in asked] == ["lock:key:account:7", "most:book", "rate:book"]


def test_the_same_text_is_the_same_lock_for_all_tasks() -> None:
    assert gates(7, lock_key="{account}") == gates(7, name="close", lock_key="{account}")
    assert gates(7, run_with_lock=True) != gates(7, name="close", run_with_lock=True)


def test_a_long_text_has_a_short_name_of_its_own() -> None:
    (one,), (other,) = (gates("x" * 5000 + end, lock_key="{account}") for end in "ab")
    assert one != other
    assert len(one.name) == len(other.name) < 200
    assert one.name.startswith("lock:key:xxx")


def test_arguments_that_fit_the_function_no_more_lock_the_template() -> None:
    assert gates(1, "a", "b", lock_key="{account}") == [Gate("lock:key:{account}", capacity=1, lease=300)]


def test_a_task_that_is_not_known_has_none() -> None:
    assert gates_of(running(task="gone"), 30) == []


def test_the_gate_of_a_disabled_task_lets_nobody_pass() -> None:
    assert disabled_gate("book") == Gate("disabled:book", capacity=0)


@pytest.fixture
def renewing(redis_server: RedisServer) -> Iterator[Any]:
    """A configuration, and the lease's own connection to its Redis."""
    config = RearqConfig(redis_url=redis_server.url)
    client = blocking_client(config)
    yield config, client
    client.close()


async def test_a_short_hold_is_renewed_in_time_though_longer_ones_were_just_renewed(renewing: Any) -> None:
    config, client = renewing
    for name, timeout in (("long", 300), ("short", 1)):
        declaration: TaskDeclaration = {"run_with_lock": True, "lock_timeout": timeout}
        task(name=name, **declaration)(lambda: None)
    broker = Broker(config)
    holding = Gates(config, broker, None, worker="one", group="rearq")  # type: ignore[arg-type]  # SQL is not asked
    await holding.claimed([], {"j1": running("j1", task="long", args=[], kwargs={})})
    holding.renew(client)
    await holding.claimed([], {"j2": running("j2", task="short", args=[], kwargs={})})

    def until() -> float:
        return float(client.zscore(keys.gate("lock:task:short", "holders"), "j2"))

    first = until()

    def renewed() -> bool:
        holding.renew(client)
        return until() > first

    await eventually(renewed, "the short hold is renewed")
    assert until() < first + 1000, "it had lapsed"
    assert holding.holds("j2")
    await holding.close()
    assert client.keys("rearq:gate*") == []
    await broker.close()
