"""What a ``bind=True`` task gets as its first argument."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from django_cfg_tasks.jobs import JobRecord

if TYPE_CHECKING:
    from typing import Any

    from django_cfg_tasks.task import Task


class JobContext:
    """The job that runs. Its methods may be called from async code and from threads.

    Whoever runs the job sets ``told_to_stop``, and takes in its progress by ``note``.
    """

    def __init__(
        self,
        record: JobRecord,
        task: Task[..., Any],
        *,
        told_to_stop: threading.Event,
        note: Callable[[JobRecord, float, str], None],
    ) -> None:
        self._record = record
        self._told_to_stop = told_to_stop
        self._note = note
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
        """Show how far the job is: ``fraction`` from 0 to 1, and a text of up to 255 characters.

        It returns at once; written is the latest value, at most once a second and within about two. It never
        changes the job's status.
        """
        self._note(self._record, min(1.0, max(0.0, float(fraction))), str(message)[:255])

    def __repr__(self) -> str:
        return f"<JobContext {self.job_id} of {self.task.name}, attempt {self.attempt}>"
