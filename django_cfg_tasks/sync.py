"""Rebuilds TaskLog from the jobs' own tables, which are the truth.

For a history that was lost, was never written, or fell behind while its database was down. It can run at any
time beside workers: rows that are further along than what was read stay as they are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.recorder import upsert

PAGE = 500


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How many jobs were read, and how many rows of TaskLog stand for them now."""

    read: int = 0
    written: int = 0


def sync(
    since: dt.datetime | None = None,
    page: int = PAGE,
    progress: Callable[[SyncReport], None] | None = None,
) -> SyncReport:
    """Bring TaskLog up to the jobs enqueued since ``since`` (all, by default), ``page`` at a time.

    ``progress`` is told the sums after each page. Raises StoreUnavailableError where the jobs can't be read,
    and Django's own errors where TaskLog can't be written; what was done by then stays done.
    """
    client = get_rearq_client()
    report = SyncReport()
    last = 0
    while records := client.read_records(after_id=last, limit=page, since=since):
        last = _last_id(records, last)
        report = SyncReport(report.read + len(records), report.written + upsert(records))
        if progress is not None:
            progress(report)
    return report


def _last_id(records: list[JobRecord], previous: int) -> int:
    last = max(record.id or 0 for record in records)
    if last <= previous:
        raise ValueError(f"read_records() gave jobs up to row {last} when asked for those after row {previous}")
    return last
