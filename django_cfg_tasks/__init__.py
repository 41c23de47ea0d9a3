"""Background tasks for Django that are run to a final state, on ReArq.

>>> from django_cfg_tasks import TaskConfig, RearqConfig, task, cron_task

Importing it opens no socket, starts no thread, installs no signal handler and needs no ready apps. A name's module is
imported when the name is first asked for, so that nobody pays for what he does not use.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_cfg_tasks.client import ReArqClient, get_rearq_client
    from django_cfg_tasks.config import RearqConfig, TaskConfig
    from django_cfg_tasks.context import JobContext
    from django_cfg_tasks.decorators import cron_task, task
    from django_cfg_tasks.exceptions import Retry, TasksError
    from django_cfg_tasks.hooks import on_worker_start, on_worker_stop
    from django_cfg_tasks.job import Job, JobResult
    from django_cfg_tasks.jobs import JobStatus
    from django_cfg_tasks.task import Task

__version__ = "0.1.0"

__all__ = [
    "Job",
    "JobContext",
    "JobResult",
    "JobStatus",
    "ReArqClient",
    "RearqConfig",
    "Retry",
    "Task",
    "TaskConfig",
    "TasksError",
    "cron_task",
    "get_rearq_client",
    "on_worker_start",
    "on_worker_stop",
    "task",
]

_MODULES = {
    "Job": "job",
    "JobContext": "context",
    "JobResult": "job",
    "JobStatus": "jobs",
    "ReArqClient": "client",
    "RearqConfig": "config",
    "Retry": "exceptions",
    "Task": "task",
    "TaskConfig": "config",
    "TasksError": "exceptions",
    "cron_task": "decorators",
    "get_rearq_client": "client",
    "on_worker_start": "hooks",
    "on_worker_stop": "hooks",
    "task": "decorators",
}


class _Package(ModuleType):
    """This module, as its own class: `task` is the decorator, also once the module of that name is imported."""

    def __getattr__(self, name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(f"{self.__name__}.{_MODULES[name]}"), name)
        setattr(self, name, found)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        # Python gives a package each of its modules as an attribute when that is imported.
        if name != "task" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
