"""Background tasks for Django that are run to a final state, on ReArq.

>>> from django_cfg_tasks import TaskConfig, RearqConfig, task, cron_task

Importing it opens no socket, starts no thread, installs no signal handler and needs no ready apps.
"""

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
