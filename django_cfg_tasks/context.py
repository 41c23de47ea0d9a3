"""What a ``bind=True`` task gets as its first argument."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.signals import announce

if TYPE_CHECKING:
    from typing import Any

    from django_cfg_tasks.task import Task

PROGRESS_SECONDS = 1.0


class JobContext:
    """The job that runs. Its methods may be called from async code and from threads.

    ``told_to_stop`` is set by whoever runs the job.
    """

    def __init__(self, record: JobRecord, task: Task[..., Any], told_to_stop: threading.Event) -> None:
        self._record = record
        self._told_to_stop = told_to_stop
        self._told = 0.0
        self.task = task
        self.job_id = record.job_id
        self.queue = record.queue
        self.attempt = record.attempt
        """Which run of the job this is, from 1; runs that a shutdown or a crash cut short count."""
        self.job_retries = record.job_retries
        """How many retries have been used, from 0."""

    @property
    def canceled(self) -> bool:
        """Whether this run should end: canceled, out of time, its worker shuts down, or another runs the job by now.

        An ``async def`` gets CancelledError besides. A ``def`` is given some seconds to end by itself before it is
        interrupted.
        """
        return self._told_to_stop.is_set()

    def progress(self, fraction: float, message: str = "") -> None:
        """Show how far the job is: ``fraction`` from 0 to 1. Written at most once a second, and at 1."""
        self._record.progress = min(1.0, max(0.0, float(fraction)))
        self._record.progress_message = message[:255]
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS or self._record.progress == 1.0:
            self._told = now
            announce([self._record])

    def __repr__(self) -> str:
        return f"<JobContext {self.job_id} of {self.task.name}, attempt {self.attempt}>"
