"""How the log tells of jobs that end."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

import pytest

from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.worker import endings
from django_cfg_tasks.worker.endings import Endings
from tests.records import succeeded

MORE = "more jobs ended"


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "django_cfg_tasks.worker")
    return lambda: [record.getMessage() for record in caplog.records]


def record(number: int, task: str = "nothing", ms: int = 3, **changes: Any) -> JobRecord:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return succeeded(
        f"job-{number}", task=task, start_time=start, finish_time=start + dt.timedelta(milliseconds=ms), **changes
    )


def note(told: Endings, record: JobRecord) -> None:
    told.note(record, asyncio.get_running_loop().time())


async def test_each_has_a_line_of_its_own(lines: Callable[[], list[str]]) -> None:
    told = Endings()
    for number in range(endings.MOST_LINES):
        note(told, record(number))
    assert lines() == [f"nothing job-{number} in 3 ms: success" for number in range(endings.MOST_LINES)]
    told.flush()
    assert len(lines()) == endings.MOST_LINES


async def test_of_very_many_the_rest_is_summed_up_by_task(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "MOST_LINES", 2)
    told = Endings()
    for number in range(7):
        note(told, record(number, task="a" if number < 5 else "b", ms=number))
    assert len(lines()) == 2
    told.flush()
    assert lines()[2:] == [
        "a: 3 more jobs ended within a second, after 3.0 ms on average, 4 ms at most.",
        "b: 2 more jobs ended within a second, after 5.5 ms on average, 6 ms at most.",
    ]
    told.flush()
    assert len(lines()) == 4


async def test_errors_are_always_told(lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "MOST_LINES", 0)
    told = Endings()
    note(told, record(1, status=JobStatus.failed, error_class="ValueError", error_message="no"))
    assert lines() == ["nothing job-1 in 3 ms: failed (ValueError: no)"]


async def test_at_level_debug_all_are_told(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endings, "MOST_LINES", 0)
    caplog.set_level(logging.DEBUG, "django_cfg_tasks.worker")
    told = Endings()
    for number in range(3):
        note(told, record(number))
    assert len(lines()) == 3


async def test_the_next_window_has_lines_again(lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "MOST_LINES", 1)
    monkeypatch.setattr(endings, "WINDOW_SECONDS", 0.0)
    told = Endings()
    for number in range(3):
        note(told, record(number))
    assert len(lines()) == 3
    assert not any(MORE in line for line in lines())
