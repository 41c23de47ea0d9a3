"""What the engine tells those who listen. It knows no listener: the client and the worker import no model."""

from __future__ import annotations

import logging

from django.dispatch import Signal

from django_cfg_tasks.jobs import JobRecord

logger = logging.getLogger("django_cfg_tasks.signals")

jobs_changed = Signal()
"""Sent with ``records``, a list of `jobs.JobRecord`: accepted, claimed, retried or ended since the last time.

The records go on changing: a receiver that keeps one takes a `snapshot`. Receivers run where the change was
made (an event loop among others), so they must not block; one that raises is logged and harms nobody.
"""


def announce(records: list[JobRecord]) -> None:
    """Send `jobs_changed`; what a receiver raises is logged."""
    for receiver, answer in jobs_changed.send_robust(sender=JobRecord, records=records):
        if isinstance(answer, Exception):
            logger.error("%r could not take in %d job(s).", receiver, len(records), exc_info=answer)
