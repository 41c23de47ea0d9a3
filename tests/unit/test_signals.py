"""Signals on their way to receivers: in order, behind the sender's back, and to nobody's harm."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_cfg_tasks import JobStatus, task
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.jobs import AttemptOutcome
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.signals import (
    TaskSignal,
    signal_of,
    task_canceled,
    task_expired,
    task_failed,
    task_retried,
    task_started,
    task_succeeded,
)
from tests.records import failure, queued, running, succeeded
from tests.waiting import eventually

Connect = Callable[..., None]


@pytest.fixture
async def signals() -> AsyncIterator[SignalDispatcher]:
    dispatcher = SignalDispatcher(most=5)
    yield dispatcher
    await dispatcher.aclose()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect a receiver until the test ends."""
    connected: list[tuple[TaskSignal, Any, Any]] = []

    def connect(signal: TaskSignal, receiver: Any, sender: Any = None) -> None:
        connected.append((signal, receiver, sender))
        signal.connect(receiver, sender=sender, weak=False)

    yield connect
    for signal, receiver, sender in connected:
        signal.disconnect(receiver, sender=sender)


@pytest.fixture
def send_email() -> Iterator[Any]:
    @task(name="send_email")
    async def send_email(to: str, subject: str) -> None: ...

    yield send_email
    tasks.remove("send_email")


class TestWhatReceiversGet:
    async def test_the_same_keywords_always(self, signals: SignalDispatcher, connect: Connect, send_email: Any) -> None:
        got: list[dict[str, Any]] = []
        connect(task_failed, lambda **named: got.append(named))
        error, record = ValueError("no"), running(attempt=2)
        signals.send(task_failed, record, duration=0.25, exception=error)
        record.status = JobStatus.success  # what becomes of it later
        await signals.flush()
        (named,) = got
        assert named.pop("record") == running(attempt=2)
        assert named == {
            "signal": task_failed, "sender": send_email, "job_id": "job-1", "task": "send_email", "attempt": 2,
            "duration": 0.25, "exception": error,
        }  # fmt: skip

    async def test_no_sender_where_the_task_is_not_known_here(
        self, signals: SignalDispatcher, connect: Connect
    ) -> None:
        got: list[Any] = []
        connect(task_started, lambda sender, **_: got.append(sender))
        signals.send(task_started, running(task="elsewhere"))
        await signals.flush()
        assert got == [None]

    async def test_one_task_s_signals_alone(self, signals: SignalDispatcher, connect: Connect, send_email: Any) -> None:
        got: list[str] = []
        connect(task_started, lambda job_id, **_: got.append(job_id), sender=send_email)
        signals.send(task_started, running("mine"))
        signals.send(task_started, running("other", task="elsewhere"))
        await signals.flush()
        assert got == ["mine"]


class TestDelivery:
    async def test_nothing_is_made_for_nobody(
        self, signals: SignalDispatcher, connect: Connect, send_email: Any
    ) -> None:
        connect(task_started, print, sender=send_email)
        threads = threading.active_count()
        signals.send(task_succeeded, succeeded())
        signals.send(task_started, running(task="elsewhere"))
        assert (signals._thread, signals._delivering, len(signals._queue)) == (None, None, 0)
        assert threading.active_count() == threads

    async def test_in_order_sync_ones_in_a_thread_async_ones_on_the_loop(
        self, signals: SignalDispatcher, connect: Connect
    ) -> None:
        got: list[tuple[str, str, bool]] = []

        def sync(job_id: str, **_: Any) -> None:
            got.append(("sync", job_id, threading.current_thread() is threading.main_thread()))

        async def not_sync(job_id: str, **_: Any) -> None:
            assert await sync_to_async(threading.current_thread)() is not threading.main_thread()
            got.append(("async", job_id, threading.current_thread() is threading.main_thread()))

        connect(task_started, sync)
        connect(task_succeeded, not_sync)
        for number in range(2):
            signals.send(task_started, running(f"{number}"))
            signals.send(task_succeeded, succeeded(f"{number}"))
        assert got == [], "the sender does not wait"
        await signals.flush()
        assert got == [("sync", "0", False), ("async", "0", True), ("sync", "1", False), ("async", "1", True)]

    async def test_a_slow_receiver_delays_later_signals_only(self, signals: SignalDispatcher, connect: Connect) -> None:
        gate, got = threading.Event(), []

        def slow(job_id: str, **_: Any) -> None:
            gate.wait(10)
            got.append(job_id)

        connect(task_started, slow)
        for number in range(3):
            signals.send(task_started, running(f"{number}"))
        await eventually(lambda: len(signals._queue) == 2, "the first is with its receiver")
        assert got == []
        gate.set()
        await signals.flush()
        assert got == ["0", "1", "2"]

    async def test_the_sender_s_context_stays_its_own(self, signals: SignalDispatcher, connect: Connect) -> None:
        whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
        got: list[str] = []
        connect(task_started, lambda **_: got.append(whose.get()))
        whose.set("the job's")
        signals.send(task_started, running())
        await signals.flush()
        assert got == ["nobody's"]

    async def test_more_than_may_wait_is_dropped_and_counted(
        self, signals: SignalDispatcher, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        got: list[str] = []
        connect(task_started, lambda job_id, **_: got.append(job_id))
        for number in range(12):
            signals.send(task_started, running(f"{number}"))
        await signals.flush()
        assert got == ["0", "1", "2", "3", "4"]
        assert [record.message.split(":")[0] for record in caplog.records] == [
            "1 signal(s) were dropped", "6 signal(s) were dropped",
        ]  # fmt: skip


class TestReceiversThatFail:
    async def test_an_error_is_logged_once_and_the_others_get_theirs(
        self, signals: SignalDispatcher, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        got: list[str] = []

        async def broken(**_: Any) -> None:
            raise LookupError("no such order")

        def broken_too(**_: Any) -> None:
            raise LookupError("none here either")

        for receiver in (broken, broken_too, lambda job_id, **_: got.append(job_id)):
            connect(task_started, receiver)
        signals.send(task_started, running("1"))
        signals.send(task_started, running("2"))
        await signals.flush()
        assert got == ["1", "2"]
        assert [(record.name, record.levelno) for record in caplog.records] == [
            ("django_cfg_tasks.signals", logging.ERROR)
        ] * 4
        assert "broken failed to take in task_started of send_email 1" in caplog.text
        assert 'raise LookupError("no such order")' in caplog.text

    async def test_leaving_the_interpreter_is_an_error_like_others(
        self, signals: SignalDispatcher, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def cancelled(**_: Any) -> None:
            raise asyncio.CancelledError

        got: list[str] = []
        connect(task_started, lambda **_: sys.exit(3))
        connect(task_retried, cancelled)
        connect(task_succeeded, lambda job_id, **_: got.append(job_id))
        for signal in (task_started, task_retried, task_succeeded):
            signals.send(signal, running())
        await signals.flush()
        assert got == ["job-1"]
        assert "A receiver raised SystemExit(3)." in caplog.text

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_one_that_never_ends_is_given_up_and_later_signals_find_their_way(
        self, signals: SignalDispatcher, connect: Connect, caplog: pytest.LogCaptureFixture, is_async: bool
    ) -> None:
        gate, got = threading.Event(), []

        def hangs(**_: Any) -> None:
            gate.wait(20)

        async def hangs_too(**_: Any) -> None:
            await asyncio.sleep(3600)

        connect(task_started, hangs_too if is_async else hangs)
        connect(task_succeeded, lambda job_id, **_: got.append(job_id))
        signals.send(task_started, running())
        signals.send(task_succeeded, succeeded("given up"))
        await signals.flush(0.1)
        signals.send(task_succeeded, succeeded("later"))
        await signals.flush()
        gate.set()
        assert got == ["later"]
        assert "2 signal(s) are not delivered" in caplog.text
        assert "the first is task_started of send_email job-1." in caplog.text


async def test_the_thread_ends_with_its_dispatcher_and_begins_anew(connect: Connect) -> None:
    got: list[threading.Thread] = []
    connect(task_started, lambda **_: got.append(threading.current_thread()))
    signals = SignalDispatcher()
    for _ in range(2):
        signals.send(task_started, running())
        await signals.aclose()
        await eventually(lambda: not got[-1].is_alive(), "the thread has ended")
    assert len(set(got)) == 2


@pytest.mark.parametrize(
    ("status", "outcome", "signal"),
    [
        (JobStatus.success, AttemptOutcome.success, task_succeeded),
        (JobStatus.failed, AttemptOutcome.failed, task_failed),
        (JobStatus.canceled, AttemptOutcome.canceled, task_canceled),
        (JobStatus.expired, None, task_expired),
        (JobStatus.queued, AttemptOutcome.retried, task_retried),
        (JobStatus.deferred, AttemptOutcome.retried, task_retried),
        (JobStatus.queued, AttemptOutcome.released, None),
        (JobStatus.queued, None, None),
    ],
)
def test_each_outcome_has_its_signal(
    status: JobStatus, outcome: AttemptOutcome | None, signal: TaskSignal | None
) -> None:
    assert signal_of(queued(status=status), failure(1, outcome) if outcome else None) is signal
