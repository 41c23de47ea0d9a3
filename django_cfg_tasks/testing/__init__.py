"""The testing kit: a project's tests run its jobs without Redis and without a worker.

>>> from django_cfg_tasks.testing import assert_enqueued, capture_tasks, run_enqueued

`client` takes the place of the one that talks to Redis where `TaskConfig.backend` says so. Importing this changes
nothing.
"""

from __future__ import annotations

from django_cfg_tasks.testing.drain import arun_enqueued, run_enqueued
from django_cfg_tasks.testing.enqueued import (
    CapturedTasks,
    EnqueuedTask,
    assert_enqueued,
    assert_not_enqueued,
    capture_tasks,
    enqueued,
)
from django_cfg_tasks.testing.settings import TaskTestMixin, use_backend

__all__ = [
    "CapturedTasks",
    "EnqueuedTask",
    "TaskTestMixin",
    "arun_enqueued",
    "assert_enqueued",
    "assert_not_enqueued",
    "capture_tasks",
    "enqueued",
    "run_enqueued",
    "use_backend",
]
