"""Brings TaskLog up to the jobs' own tables, which are the truth.

`sync` rebuilds a history that was lost; `catch_up` looks for what fell behind, or was never written, because
the process that should have written it died or its database was down. Both can run at any time beside workers:
rows that are further along than what was read stay as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import Error as DatabaseError
from django.db import close_old_connections, connections, reset_queries, router
from django.db.models import Q
from django.utils import timezone

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.jobs import FINAL, JobRecord, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert

logger = logging.getLogger("django_cfg_tasks.history")

PAGE = 500
LAG = dt.timedelta(seconds=30)
"""How long a change may be on its way to TaskLog through the recorder of a process before it counts as lost."""
LATE_COMMITS = dt.timedelta(minutes=10)
"""How long after its enqueue a job may become visible, as its transaction goes on, and yet be found missing."""

_OPEN = [status.value for status in JobStatus if status not in FINAL]


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How many jobs were read, and how many rows of TaskLog stand for them now."""

    read: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class CatchUpReport:
    """What `catch_up` found."""

    looked_at: int = 0
    """Rows of TaskLog, and jobs, that were compared."""
    mended: int = 0
    """Rows that lagged behind their job or were missing, and are right now."""
    after_id: int = 0
    """Where the search for missing rows may begin next time."""


def sync(
    since: dt.datetime | None = None,
    page: int = PAGE,
    progress: Callable[[SyncReport], None] | None = None,
) -> SyncReport:
    """Bring TaskLog up to the jobs enqueued since ``since`` (all, by default), ``page`` at a time.

    ``progress`` is told the sums after each page. Raises StoreUnavailableError where the jobs can't be read,
    and Django's own errors where TaskLog can't be written; what was done by then stays done.
    """
    report = SyncReport()
    for records in _jobs(since, 0, page):
        report = SyncReport(report.read + len(records), report.written + upsert(records))
        if progress is not None:
            progress(report)
    return report


def catch_up(
    *,
    lag: dt.timedelta = LAG,
    since: dt.datetime | None = None,
    after_id: int = 0,
    page: int = PAGE,
    stopping: Callable[[], bool] = lambda: False,
) -> CatchUpReport:
    """Compare TaskLog with the jobs, ``page`` at a time, and write only what it lacks.

    Looked at are rows that are not final and were not updated for ``lag``; with ``since`` also the jobs
    enqueued since then, after row ``after_id`` of theirs, for those that have no row at all. Changes younger
    than ``lag`` are left to the recorder that has them in hand, and rows whose job was purged to retention.
    Once ``stopping()`` is true, the page in hand is the last. Blocks, and raises what `sync` raises.
    """
    quiet_since = dt.datetime.now(dt.UTC) - lag
    looked_at = mended = 0
    for rows in _quiet_rows(timezone.now() - lag, page):
        looked_at += len(rows)
        mended += upsert(_ahead_of(rows, quiet_since))
        if stopping():
            return CatchUpReport(looked_at, mended, after_id)
    if since is not None:
        for records in _jobs(since, after_id, page):
            looked_at += len(records)
            mended += upsert(_without_row(records, quiet_since))
            after_id = max(after_id, _settled_id(records))
            if stopping():
                break
    return CatchUpReport(looked_at, mended, after_id)


def mend_history(
    *,
    lag: dt.timedelta = LAG,
    since: dt.datetime | None = None,
    after_id: int = 0,
    stopping: Callable[[], bool] = lambda: False,
) -> CatchUpReport | None:
    """`catch_up`, for a thread in the background: never raises, and leaves no connection of that thread open.

    Logs a line if it mended something. Where a database can't be reached it logs a warning instead, and
    returns None: what was mended by then stays, the rest is left to the next call.
    """

    def tidy_and_ask() -> bool:
        reset_queries()  # Django keeps all of them with DEBUG on
        return stopping()

    try:
        close_old_connections()
        report = catch_up(lag=lag, since=since, after_id=after_id, stopping=tidy_and_ask)
    except Exception as error:
        if not stopping():
            # An outage is told in a line; anything else is a fault, and its place is wanted.
            logger.warning(
                "TaskLog could not be compared with the jobs; that is tried again later. %s: %s",
                type(error).__name__,
                str(error).strip().partition("\n")[0],
                exc_info=None if isinstance(error, TasksError | DatabaseError) else error,
            )
        return None
    finally:
        with contextlib.suppress(Exception):  # the server may be gone; so is then the connection
            connections.close_all()
    if report.mended:
        logger.info("TaskLog has caught up: %d row(s) were missing or behind their jobs.", report.mended)
    return report


@dataclass(frozen=True, slots=True)
class _Row:
    """What of a row of TaskLog is compared."""

    id: int
    job_id: str
    queue_name: str
    revision: int
    enqueue_time: dt.datetime


def _quiet_rows(until: dt.datetime, page: int) -> Iterator[list[_Row]]:
    """Yield the rows that are not final and were last updated before ``until``, newest job first.

    In the order of the index on status and enqueue time: each page begins where the last one ended, however
    many rows are open, and however few of all rows that is.
    """
    fields = [field.name for field in dataclasses.fields(_Row)]
    for status in _OPEN:
        rows = TaskLog.objects.using(router.db_for_write(TaskLog)).filter(status=status, updated_at__lt=until)
        rows = rows.order_by("-enqueue_time", "id")
        rest = Q()
        while found := [_Row(*values) for values in rows.filter(rest).values_list(*fields)[:page]]:
            yield found
            if len(found) < page:
                break
            last = found[-1]
            rest = Q(enqueue_time__lte=last.enqueue_time) & (Q(enqueue_time__lt=last.enqueue_time) | Q(id__gt=last.id))


def _ahead_of(rows: list[_Row], quiet_since: dt.datetime) -> list[JobRecord]:
    """Return the jobs that have been further along than their rows since before ``quiet_since``."""
    jobs = get_rearq_client().load([row.job_id for row in rows])
    ahead = []
    for row in rows:
        job = jobs.get(row.job_id)
        if job is None or job.revision <= row.revision or _is_fresh(job, quiet_since):
            continue
        job.queue = job.queue or row.queue_name  # ReArq's own producers tell it to Redis only
        ahead.append(job)
    return ahead


def _is_fresh(job: JobRecord, quiet_since: dt.datetime) -> bool:
    changed = job.finish_time or job.start_time
    # A clock that is ahead must not keep a job fresh for long.
    return changed is not None and quiet_since < changed <= dt.datetime.now(dt.UTC)


def _without_row(jobs: list[JobRecord], quiet_since: dt.datetime) -> list[JobRecord]:
    """Return those of ``jobs`` that were enqueued before ``quiet_since`` and have no row."""
    rows = TaskLog.objects.using(router.db_for_write(TaskLog)).filter(job_id__in=[job.job_id for job in jobs])
    known = set(rows.values_list("job_id", flat=True))
    return [job for job in jobs if job.job_id not in known and job.enqueue_time < quiet_since]


def _settled_id(jobs: list[JobRecord]) -> int:
    """Return the last row id of ``jobs`` up to which no transaction can add a job any more."""
    settled = dt.datetime.now(dt.UTC) - LATE_COMMITS
    return max((job.id or 0 for job in jobs if job.enqueue_time < settled), default=0)


def _jobs(since: dt.datetime | None, after_id: int, page: int) -> Iterator[list[JobRecord]]:
    client = get_rearq_client()
    while records := client.read_records(after_id=after_id, limit=page, since=since):
        yield records
        last = max(record.id or 0 for record in records)
        if last <= after_id:
            raise ValueError(f"read_records() gave jobs up to row {last} when asked for those after row {after_id}")
        after_id = last
