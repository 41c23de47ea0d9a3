"""Keeps TaskLog complete without a hand: a thread that reads back what its recorders could not write.

In each worker and timer it watches the process's own recorder for what a full buffer dropped. In the timer that
leads it also looks, when asked to, for what other processes left behind. It knows nothing of who asks, nor when.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time

from django_cfg_tasks.recorder import recorder
from django_cfg_tasks.sync import LAG, CatchUpReport, mend_history

logger = logging.getLogger("django_cfg_tasks.history")

LOOK_SECONDS = 10.0
RETRY_SECONDS = 60.0
"""Until the databases are asked again, when one of them could not be reached."""
FIRST_LOOK_BACK = dt.timedelta(hours=6)
"""How far back a process looks for rows that were never written when it is first asked to; later from there on."""


class History:
    """The thread, one per process. It ends with the process: nothing waits for a database that does not answer."""

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._asked = False
        self._dropped_since: dt.datetime | None = None
        self._missing_since: dt.datetime | None = None
        self._after_id = 0
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="django_cfg_tasks-history", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End after the page in hand, or be left behind after ``timeout`` seconds. Blocks."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def catch_up_soon(self) -> None:
        """Compare TaskLog with the jobs of all processes, in the background; returns at once.

        One comparison at a time: asked several times meanwhile, it is done once more. One that failed for a
        database that was away is done again by itself.
        """
        self._asked = True
        self._wake.set()

    @property
    def is_behind(self) -> bool:
        """Whether something that this process's recorder dropped was not read back yet."""
        return self._dropped_since is not None or recorder.has_dropped

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._read_back_dropped()
                self._catch_up()
                self._wake.wait(LOOK_SECONDS)
                self._wake.clear()
        except Exception:
            logger.critical(
                "The watch over the history died; until this process is restarted, "
                "`python manage.py tasks_sync` completes what it drops.",
                exc_info=True,
            )

    def _read_back_dropped(self) -> None:
        dropped = recorder.take_dropped()
        if dropped is not None:
            logger.info("TaskLog is written again; reading back %d dropped changes.", dropped.count)
            self._dropped_since = min(dropped.since, self._dropped_since or dropped.since)
        if self._dropped_since is None:
            return
        # No lag: what was dropped is in nobody's hands.
        if self._mend(dt.timedelta(0), self._dropped_since) is not None:
            self._dropped_since = None

    def _catch_up(self) -> None:
        if not self._asked:
            return
        self._asked = False
        if self._missing_since is None:
            self._missing_since = dt.datetime.now(dt.UTC) - FIRST_LOOK_BACK
        report = self._mend(LAG, self._missing_since, self._after_id)
        if report is None:
            self._asked = True
        else:
            self._after_id = report.after_id

    def _mend(self, lag: dt.timedelta, since: dt.datetime, after_id: int = 0) -> CatchUpReport | None:
        """Return None where it was not done to the end."""
        if self._stopping.is_set() or time.monotonic() < self._not_before:
            return None
        report = mend_history(lag=lag, since=since, after_id=after_id, stopping=self._stopping.is_set)
        if report is None:
            self._not_before = time.monotonic() + RETRY_SECONDS
        return None if self._stopping.is_set() else report
