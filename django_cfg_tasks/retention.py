"""Deletes jobs that ended long ago, with their attempts and their rows of TaskLog.

In many small statements, each a transaction of its own, with pauses in between: workers go on writing beside it.
A job that is not final stays, however old it is, and so does its row of TaskLog.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime as dt
import itertools
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import django.db
from django.db import connections, router, transaction
from django.db.models import F
from django.utils import timezone

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import StoreUnavailableError
from django_cfg_tasks.models import PurgedLogs, TaskLog
from django_cfg_tasks.store import OldJob

logger = logging.getLogger("django_cfg_tasks.retention")

T = TypeVar("T")

BATCH = 1_000
"""Jobs, and rows of TaskLog, that are looked at and deleted together."""
MOST_ROWS = 5_000
"""Attempts that one statement deletes: a job may have thousands of them."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two batches: as long as the one before took, within these bounds."""


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """How many jobs, attempts and rows of TaskLog were deleted, or would be."""

    jobs: int = 0
    attempts: int = 0
    logs: int = 0

    def __add__(self, other: PurgeReport) -> PurgeReport:
        return PurgeReport(self.jobs + other.jobs, self.attempts + other.attempts, self.logs + other.logs)

    def __bool__(self) -> bool:
        return self != PurgeReport()


Progress = Callable[[PurgeReport], None]


def purge(
    client: ReArqClient,
    cutoff: dt.datetime,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> PurgeReport:
    """Delete the final jobs that ended before ``cutoff``, and the history of jobs that are gone. For sync code.

    A job ended when its last attempt finished; one without attempts counts from when it was enqueued, due or
    claimed, whichever is the latest. ``dry_run`` only counts. ``progress`` is told the sums after each batch;
    ``stop`` ends it before the next. Raises StoreUnavailableError where the jobs can't be reached, and Django's
    own errors where TaskLog can't; what was deleted by then stays deleted.
    """
    stop = stop or threading.Event()
    total = PurgeReport()
    started = time.monotonic()
    for batch in itertools.chain(_jobs(client, cutoff, dry_run), _logs(client, cutoff, dry_run)):
        total += batch
        if progress is not None:
            progress(total)
        pause = min(max(SHORTEST_PAUSE, time.monotonic() - started), LONGEST_PAUSE)
        if stop.wait(pause if batch and not dry_run else 0):
            break
        started = time.monotonic()
    return total


async def apurge(
    client: ReArqClient, cutoff: dt.datetime, *, dry_run: bool = False, progress: Progress | None = None
) -> PurgeReport:
    """`purge`, for async code: in a thread, where ``progress`` is called too. Cancelling ends it after its batch."""
    stop = threading.Event()
    done: concurrent.futures.Future[PurgeReport] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            try:
                report = purge(client, cutoff, dry_run=dry_run, progress=progress, stop=stop)
            finally:
                connections.close_all()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(report)

    # A daemon: a database that does not answer must not keep the process from ending.
    threading.Thread(target=run, name="django_cfg_tasks-retention", daemon=True).start()
    try:
        return await asyncio.wrap_future(done)
    finally:
        stop.set()


async def purge_old(client: ReArqClient) -> PurgeReport | None:
    """Delete what `RearqConfig.keep_job_days` says, and log how much; None where nothing is to be deleted.

    A database that can't be used now is logged, not raised: the next call goes on.
    """
    days = client.rearq_config.keep_job_days
    if days is None:
        return None
    try:
        report = await apurge(client, dt.datetime.now(dt.UTC) - dt.timedelta(days=days))
    except (StoreUnavailableError, django.db.Error) as error:
        logger.warning("Old jobs can't be deleted now; they go the next time. %s: %s", type(error).__name__, error)
        return None
    if report:
        logger.info(
            "Jobs that ended more than %d day(s) ago: deleted %d, with %d attempt(s) and %d row(s) of TaskLog.",
            days, report.jobs, report.attempts, report.logs,
        )  # fmt: skip
    return report


def _jobs(client: ReArqClient, cutoff: dt.datetime, dry_run: bool) -> Iterator[PurgeReport]:
    """Delete batch by batch. Attempts go first: in SQLite, nobody may see to foreign keys."""
    store = client.store
    last: OldJob | None = None
    while page := _ask(client, store.old_page(cutoff, after=last, limit=BATCH)):
        last = page[-1]
        ids = [job.id for job in page if job.ended]
        if not ids:
            yield PurgeReport()
        elif dry_run:
            yield PurgeReport(len(ids), _ask(client, store.count_attempts(ids)))
        else:
            attempts = deleted = _ask(client, store.delete_attempts(ids, MOST_ROWS))
            while deleted == MOST_ROWS:
                deleted = _ask(client, store.delete_attempts(ids, MOST_ROWS))
                attempts += deleted
            yield PurgeReport(_ask(client, store.delete_jobs(ids)), attempts)


def _logs(client: ReArqClient, cutoff: dt.datetime, dry_run: bool) -> Iterator[PurgeReport]:
    """Delete the rows of jobs that are gone by now: a job that is still there keeps its history."""
    alias = router.db_for_write(TaskLog)
    moment = (
        cutoff if timezone.is_aware(timezone.now()) else timezone.make_naive(cutoff, timezone.get_default_timezone())
    )
    table = TaskLog.objects.using(alias)
    rows = table.order_by("enqueue_time", "id").values_list(
        "id", "enqueue_time", "job_id", "finish_time", "queue_name", "status"
    )
    following = rows.filter(enqueue_time__lt=moment)
    while page := [row for row in following[:BATCH] if row[1] < moment]:
        last_id, last_time = page[-1][:2]
        # No upper bound: without statistics, PostgreSQL would take a range for so narrow that it sorts all of it.
        following = rows.filter(enqueue_time__gte=last_time).exclude(enqueue_time=last_time, id__lte=last_id)
        old = {row[2]: row for row in page if row[3] is None or row[3] < moment}
        kept = _ask(client, client.store.kept(old, cutoff))
        gone = [(row_id, queue, status) for row_id, _, job_id, _, queue, status in old.values() if job_id not in kept]
        yield PurgeReport(logs=delete_logs(alias, gone) if gone and not dry_run else len(gone))


def delete_logs(alias: str, rows: Iterable[tuple[int, str, str]]) -> int:
    """Delete rows of TaskLog, given by id, queue and status, and keep count of them in the same transaction.

    Return how many there were. Whoever deletes rows does it here: what metrics count must not fall.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row_id, queue, status in rows:
        groups.setdefault((queue, status), []).append(row_id)
    total = 0
    with transaction.atomic(using=alias):
        # In one order everywhere, so that two who purge at once wait for each other and don't dead-lock.
        for (queue, status), ids in sorted(groups.items()):
            logs = TaskLog.objects.using(alias).filter(pk__in=ids)
            number = logs.delete()[1].get(TaskLog._meta.label, 0)
            if number:
                purged, _ = PurgedLogs.objects.using(alias).get_or_create(queue_name=queue, status=status)
                PurgedLogs.objects.using(alias).filter(pk=purged.pk).update(number=F("number") + number)
            total += number
    return total


def _ask(client: ReArqClient, answer: Coroutine[Any, Any, T]) -> T:
    return client.call(answer, instead="await apurge(...)")
