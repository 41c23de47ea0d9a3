"""Our ReArq: what ``main:rearq`` exposes, and what puts our worker, timer and server behind ReArq's CLI.

The CLI looks its classes up in its own module when a subcommand runs, after it has awaited `init`: that is
the seam.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import redis.asyncio
from rearq import ReArq
from rearq.constants import DEFAULT_QUEUE, QUEUE_KEY_PREFIX
from rearq.task import CronTask
from rearq.task import Task as RearqTask

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task
from django_cfg_tasks.worker.process import Process


class DjangoReArq(ReArq):  # type: ignore[misc]  # ReArq is not typed
    """ReArq's registry over our tasks and connections."""

    def __init__(self, client: ReArqClient) -> None:
        self.client = client
        self._process: Process | None = None
        config = client.rearq_config
        super().__init__(
            db_url=config.db_url or "",
            redis_url=config.redis_url,
            job_retry=config.job_retry,
            job_retry_after=config.job_retry_after,
            max_jobs=config.max_jobs,
            job_timeout=int(config.job_timeout),
            delay_queue_num=config.delay_queue_num,
            keep_job_days=config.keep_job_days,
            logs_dir=config.logs_dir,
        )
        # ReArq keeps these on the class, where all instances would share them.
        self._on_startup: set[Any] = set()
        self._on_shutdown: set[Any] = set()

    def _init(self) -> None:
        """Open nothing: connections are the client's."""

    @property
    def process(self) -> Process:
        """What the worker and the timer of this process share."""
        if self._process is None:
            self._process = Process(self.client)
            self._process.on_shutdown = self.shutdown
        return self._process

    @property
    def redis(self) -> redis.asyncio.Redis:
        """The client's connection, for ReArq's own pages and for tasks that use ReArq's API."""
        return self.client.broker.client

    @property
    def task_map(self) -> dict[str, RearqTask]:
        """Our tasks, in ReArq's clothes."""
        return {task.name: _dressed(task, self) for task in tasks}

    @property
    def queue_task_map(self) -> dict[str, list[str]]:
        """The names of our tasks, by queue."""
        by_queue: dict[str, list[str]] = {}
        for task in tasks:
            by_queue.setdefault(task.options.queue, []).append(task.name)
        return by_queue

    def get_queue_tasks(self, queue: str) -> list[str]:
        """Return the names of the tasks of ``queue``."""
        return self.queue_task_map.get(queue, [])

    async def init(self) -> None:
        """Make the CLI's loop the home loop, and put our parts behind the CLI. Opens no connection."""
        self.client.home.adopt(asyncio.get_running_loop())
        for cli in _running_clis():
            take_over(cli)

    async def close(self) -> None:
        """Close the client's connections."""
        await self.client.aclose()


def _dressed(task: Task[..., Any], rearq: DjangoReArq) -> RearqTask:
    config = rearq.client.rearq_config
    options = task.options
    queue = QUEUE_KEY_PREFIX + options.queue if options.queue else DEFAULT_QUEUE
    values: dict[str, Any] = {
        "function": task.function,
        "name": task.name,
        "queue": queue,
        "rearq": rearq,
        "job_retry": config.job_retry if options.job_retry is None else options.job_retry,
        "job_retry_after": config.job_retry_after if options.job_retry_after is None else options.job_retry_after,
        "job_timeout": options.job_timeout or config.job_timeout,
        "expire": options.expire,
        "bind": options.bind,
        "run_with_lock": options.run_with_lock,
    }
    if task.cron is None:
        dressed = RearqTask(**values)
    else:
        # ReArq's own crontab parser knows fewer expressions, and the timer asks our schedule anyway.
        dressed = CronTask.__new__(CronTask)
        RearqTask.__init__(dressed, **values, run_at_start=task.cron.run_at_start)
        dressed.cron = task.cron.schedule.expression
    dressed.delay = task.delay
    return dressed


def _running_clis() -> Iterator[ModuleType]:
    """ReArq's CLI as it was imported by its console script, or run by ``python -m``."""
    for name in ("rearq.cli", "__main__"):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "TimerWorker") and hasattr(module, "server"):
            yield module


def take_over(cli: Any) -> None:
    """Put our worker, timer and server behind the commands of ``cli``, ReArq's module or what stands for it."""
    from django_cfg_tasks.worker import commands

    # The command's arguments are read after this: the command line has our options by then.
    for theirs, ours in (
        (cli.worker, commands.WORKER),
        (cli.timer, commands.TIMER),
        (cli.server, commands.SERVER),
    ):
        theirs.params, theirs.callback, theirs.help = ours.params, ours.callback, ours.help
        theirs.context_settings = ours.context_settings
