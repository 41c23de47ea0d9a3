"""The watch over an event loop: what blocks it is named once, and how long is too long."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest

from django_cfg_tasks.worker import watch
from django_cfg_tasks.worker.watch import LoopWatch
from tests.waiting import wait_until


def watched(block: Callable[[LoopWatch], None], limit: float) -> list[str | None]:
    """Run ``block`` as a task called "job 7" on a watched loop; return the tasks whose limit was asked for."""
    asked: list[str | None] = []

    def limit_of(name: str | None) -> float:
        asked.append(name)
        return limit

    async def main() -> None:
        loop_watch = LoopWatch(limit_of, grace=0.1)

        async def job() -> None:
            block(loop_watch)

        await asyncio.create_task(job(), name="job 7")

    asyncio.run(main())
    return asked


def test_a_blocked_loop_is_reported_once_with_its_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "BLOCKED_SECONDS", 0.05)
    verdicts: list[bool] = []

    def block_until_hopeless(loop_watch: LoopWatch) -> None:
        def look() -> None:
            while not (verdicts and verdicts[-1]):
                verdicts.append(loop_watch.is_hopeless())
                time.sleep(0.01)

        threading.Thread(target=look).start()
        wait_until(lambda: verdicts and verdicts[-1], "the loop is given up", 10)

    with caplog.at_level(logging.WARNING, "django_cfg_tasks.worker"):
        asked = watched(block_until_hopeless, limit=0.2)
    assert set(asked) == {"job 7"}
    assert verdicts.count(True) == 1
    (line,) = caplog.messages
    assert "by job 7" in line
    assert "block_until_hopeless" in line


def test_a_loop_that_turns_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(watch, "BLOCKED_SECONDS", 5)

    async def main() -> None:
        loop_watch = LoopWatch(lambda _: 0, grace=0)
        for _ in range(20):
            assert await asyncio.to_thread(loop_watch.is_hopeless) is False
        assert loop_watch.blocked_seconds == 0

    asyncio.run(main())
    assert caplog.messages == []
