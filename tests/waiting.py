"""Waiting for a described condition, with a time limit; never for an amount of time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


class NotInTime(AssertionError):
    """A condition did not become true in time. The text names the condition and its last value."""


def wait_until(condition: Callable[[], T], description: str, timeout: float = 10) -> T:
    """Return the first true value of ``condition()``; raise `NotInTime` after ``timeout`` seconds.

    What the condition raises is passed on at once: a condition that may fail must say so itself.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise _not_in_time(description, timeout, value)
        time.sleep(POLL_SECONDS)


async def eventually(condition: Callable[[], Any], description: str, timeout: float = 10) -> Any:
    """`wait_until` for a running loop; the condition may be a coroutine function or a plain one."""
    deadline = time.monotonic() + timeout
    while True:
        outcome = condition()
        value = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if time.monotonic() >= deadline:
            raise _not_in_time(description, timeout, value)
        await asyncio.sleep(POLL_SECONDS)


def _not_in_time(description: str, timeout: float, value: object) -> NotInTime:
    return NotInTime(f"waited {timeout:g} s in vain for: {description} (last value: {value!r})")
