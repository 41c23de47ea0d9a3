"""What the engine tells those who listen. It knows no listener: the client and the worker import no model.

How the signals about a task's jobs get to their receivers, and when, is the dispatcher's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.dispatch import Signal

from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus

logger = logging.getLogger("django_cfg_tasks.signals")


class TaskSignal(Signal):
    """A signal about one job, sent soon after what it tells of has happened, by the process in which it happened.

    ``sender`` is the declared `Task`, or None where this process knows none of that name. Receivers get ``job_id``,
    ``task`` (its name), ``attempt`` (the number of the run, from 1; 0 before the first), ``duration`` (seconds that
    the run took, or None), ``exception`` (the error itself, or None) and ``record``, a `jobs.JobRecord` of their own:
    the job as it was at that moment. They may be async, and run on the event loop that owns the connections (in a
    worker: that of async tasks), or sync, in a thread where the ORM may be used. Nobody waits for them; one that
    raises is logged and harms nobody.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._relays: dict[int, Callable[[], bool]] = {}

    def relay(self, receiver: Callable[..., Any], sender: Any, wanted: Callable[[], bool]) -> None:
        """Connect a receiver that has nothing to do while ``wanted`` says so: then no signal waits for it."""
        self.connect(receiver, sender=sender, weak=False, dispatch_uid=__name__)
        self._relays[id(sender)] = wanted

    def has_listeners(self, sender: Any = None) -> bool:
        """Tell whether anybody has something to do with a signal of this sender."""
        wanted = self._relays.get(id(sender))
        if wanted is None or wanted():
            return super().has_listeners(sender)
        return sum(map(len, self._live_receivers(sender))) > 1

    def __repr__(self) -> str:
        return f"<TaskSignal {self.name}>"

    def _log_robust_failure(self, receiver: object, error: Exception) -> None:
        """Leave it to the dispatcher, which knows the job; Django would log it a second time."""


task_enqueued = TaskSignal("task_enqueued")
"""The job is stored; inside a transaction: committed. Not sent where a job with its id existed already."""
task_started = TaskSignal("task_started")
"""The function is about to be called."""
task_succeeded = TaskSignal("task_succeeded")
"""The job ended well, and that is recorded; ``record.result`` is what it returned, as JSON."""
task_failed = TaskSignal("task_failed")
"""The job failed for good, and that is recorded. ``exception`` is what the task raised."""
task_retried = TaskSignal("task_retried")
"""A run failed, and the job waits to be run again. ``exception`` is what the task raised, or its `Retry`."""
task_canceled = TaskSignal("task_canceled")
"""The job was canceled. Sent once, by the process that canceled it; a run of it may go on for a moment."""
task_expired = TaskSignal("task_expired")
"""The job did not start in time, and never will."""
task_orphaned = TaskSignal("task_orphaned")
"""A run was cut off, as its worker died; ``exception`` is a WorkerLostError. Sent by the worker that noticed.

The job is in the queue again, or failed where it has cost `RearqConfig.max_deliveries` workers; then `task_failed`
follows.
"""

_ENDS = {
    JobStatus.success: task_succeeded,
    JobStatus.failed: task_failed,
    JobStatus.canceled: task_canceled,
    JobStatus.expired: task_expired,
}


def signal_of(record: JobRecord, attempt: Attempt | None) -> TaskSignal | None:
    """Return the signal that tells of an outcome; None for a job that was only put back."""
    if record.status.is_final:
        return _ENDS[record.status]
    return task_retried if attempt is not None and attempt.outcome is AttemptOutcome.retried else None


jobs_changed = Signal()
"""Sent with ``records``, a list of `jobs.JobRecord`: accepted, claimed, retried or ended since the last time.

Internal, for the history. The records go on changing: a receiver that keeps one takes a `snapshot`. Receivers run
where the change was made (an event loop among others), so they must not block; one that raises is logged and harms
nobody.
"""


def announce(records: list[JobRecord]) -> None:
    """Send `jobs_changed`; what a receiver raises is logged."""
    for receiver, answer in jobs_changed.send_robust(sender=JobRecord, records=records):
        if isinstance(answer, Exception):
            logger.error("%r could not take in %d job(s).", receiver, len(records), exc_info=answer)
