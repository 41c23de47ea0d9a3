"""What the engine tells those who listen. It knows no listener: the client and the worker import no model."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from django_cfg_tasks.jobs import Attempt, JobRecord

logger = logging.getLogger("django_cfg_tasks.signals")

jobs_changed = Signal()
"""Sent with ``records``, a list of `jobs.JobRecord`: accepted, claimed, retried or ended since the last time.

The records go on changing: a receiver that keeps one takes a `snapshot`. Receivers run where the change was
made (an event loop among others), so they must not block; one that raises is logged and harms nobody.
"""

task_orphaned = Signal()
"""Sent with ``record``, a `jobs.JobRecord`, and ``attempt``, the `jobs.Attempt` that its dead worker did not end.

Sent by the worker that noticed, on its event loop, after the attempt was recorded; the job is in the queue again,
or ``failed`` where it has cost `RearqConfig.max_deliveries` workers. Receivers must not block.
"""


def announce(records: list[JobRecord]) -> None:
    """Send `jobs_changed`; what a receiver raises is logged."""
    _send(jobs_changed, f"{len(records)} job(s)", records=records)


def announce_orphan(record: JobRecord, attempt: Attempt) -> None:
    """Send `task_orphaned`; what a receiver raises is logged."""
    _send(task_orphaned, f"the orphaned job {record.job_id}", record=record, attempt=attempt)


def _send(signal: Signal, what: str, **named: Any) -> None:
    for receiver, answer in signal.send_robust(sender=JobRecord, **named):
        if isinstance(answer, Exception):
            logger.error("%r could not take in %s.", receiver, what, exc_info=answer)
