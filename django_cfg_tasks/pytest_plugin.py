"""The plugin that pytest finds by itself where this package is installed: two fixtures, and tests that start empty.

Nothing else of the package is imported until a test asks for it: pytest loads this in projects without Django, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django_cfg_tasks.testing import CapturedTasks


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let no job of one test be there in the next, where the settings name a backend in memory."""
    module = sys.modules.get("django_cfg_tasks.testing.client")
    if module is not None:
        module.forget_jobs()


@pytest.fixture
def immediate_tasks() -> Iterator[CapturedTasks]:
    """Run jobs when they are enqueued, without Redis; what the test enqueues is in the value."""
    yield from _captured("immediate")


@pytest.fixture
def memory_tasks() -> Iterator[CapturedTasks]:
    """Keep jobs in memory until `django_cfg_tasks.testing.run_enqueued`; what the test enqueues is in the value."""
    yield from _captured("memory")


def _captured(backend: str) -> Iterator[CapturedTasks]:
    from django_cfg_tasks.testing import capture_tasks, use_backend

    with use_backend(backend), capture_tasks() as found:  # type: ignore[arg-type]
        yield found
