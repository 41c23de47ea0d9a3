"""How far a worker's running jobs are, on the way into SQL and the history: all of them at once, once a second.

Nobody waits for it: what SQL can't take now it is told later, the latest value alone. It knows nothing of how jobs run.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Protocol

from django_cfg_tasks.exceptions import StoreUnavailableError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.signals import announce
from django_cfg_tasks.store import Store

logger = logging.getLogger("django_cfg_tasks.worker")

PROGRESS_SECONDS = 1.0
"""Between two writes; the first is written at once."""
LONGEST_PAUSE = 5.0


class TakesProgress(Protocol):
    """Who runs jobs tells one of these how far they are."""

    def note(self, record: JobRecord, fraction: float, message: str) -> None:
        """Change a record's progress. From any thread."""


class Progress:
    """Gathers what running jobs tell, from any thread; made on the worker's loop, where `run` writes it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._changed: dict[str, JobRecord] = {}
        self._wake = asyncio.Event()

    def note(self, record: JobRecord, fraction: float, message: str) -> None:
        """Change a record's progress; it is written within about a second."""
        with self._lock:
            first = not self._changed
            record.progress, record.progress_message = fraction, message
            self._changed[record.job_id] = record
        if not first:
            return
        with suppress(RuntimeError):  # the loop is closed: a function that runs on though its worker has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Write until cancelled."""
        pause = PROGRESS_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            records, snapshots = self._take()
            try:
                if records:
                    announce(snapshots)
                    await self._store.note_progress(snapshots)
                pause = PROGRESS_SECONDS
            except StoreUnavailableError as error:
                logger.debug("The progress of %d job(s) is written later. %s", len(records), error)
                self._give_back(records)
                pause = min(pause * 2, LONGEST_PAUSE)
            except Exception:
                logger.exception("The progress of %d job(s) can't be written.", len(records))
            await asyncio.sleep(pause)

    def _take(self) -> tuple[list[JobRecord], list[JobRecord]]:
        """Return the records that changed, and how they are now; where a job has ended, its outcome tells."""
        with self._lock:
            changed, self._changed = self._changed, {}
            records = [record for record in changed.values() if record.status is JobStatus.in_progress]
            return records, [record.snapshot() for record in records]

    def _give_back(self, records: list[JobRecord]) -> None:
        with self._lock:
            self._changed = {record.job_id: record for record in records} | self._changed
        self._wake.set()
