"""The recorder: a buffer of job records, and the thread that writes whatever has gathered in it.

It knows nothing of rows and SQL: it hands lists of records to a function that writes them or raises. The
thread and its database connection belong to no event loop, so records may come from any of them.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import close_old_connections, connections, reset_queries

from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.recorder.merge import merge

logger = logging.getLogger("django_cfg_tasks.recorder")

CAPACITY = 10_000
"""Jobs that may wait to be written; beyond that the oldest are dropped, and `take_dropped` tells of them."""
BATCH = 500
LINGER = 0.05
"""Seconds between two writes in which records may gather. A lone record never waits for it."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds until a failed write is tried again: the first time, and at most."""
TRIES_TOGETHER = 3
"""After so many failures in a row, rows are tried one by one: it may be one of them."""
STRIKES = 5
"""How often a row may fail while others succeed before it is dropped."""
EXIT_TIMEOUT = 2.0
FORK_PATIENCE = 2.0
"""Seconds that a fork waits for a write to end."""
LOG_EVERY = 60.0


@dataclass(slots=True)
class _Entry:
    ticket: int
    record: JobRecord
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """Changes of jobs that a full buffer had no room for."""

    count: int
    since: dt.datetime
    """When the first of those jobs was enqueued."""


class Recorder:
    """Takes records from any thread or event loop without blocking it, and writes them in order, in batches.

    ``write`` gets at most ``batch`` records and either writes them all or raises. What it raises never
    reaches those who hand records in: it is logged, and the batch is tried again until it succeeds.
    """

    def __init__(
        self,
        write: Callable[[Sequence[JobRecord]], object],
        *,
        capacity: int = CAPACITY,
        batch: int = BATCH,
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._batch = batch
        self.keep_seconds = 0.0
        """How long the connection is kept while there is nothing to write, where CONN_MAX_AGE does not say longer.

        Not at all is right for what others begin and end (requests, tests, which drop their database). A worker, whose
        jobs come at any moment, would open a connection for each of them.
        """
        self._log = _Occasional(LOG_EVERY)
        self._atexit_registered = False
        self._forget()
        _follow_forks(weakref.ref(self))

    def _forget(self) -> None:
        """Start empty: in a forked child the lock may be held for ever; thread and records are the parent's."""
        self._condition = threading.Condition()
        self._at_work = threading.Lock()
        self._pending: dict[str, _Entry] = {}
        self._writing: dict[str, _Entry] = {}
        self._ticket = 0
        self._dropped: Dropped | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._failures = 0
        self._not_before = 0.0

    def _before_fork(self) -> None:
        """Let a write end first: SQLite's and libpq's own locks would stay held in the child for ever."""
        self._held = self._at_work.acquire(timeout=FORK_PATIENCE)

    def _after_fork_in_parent(self) -> None:
        if self._held:
            self._at_work.release()

    def receive(self, records: Sequence[JobRecord]) -> None:
        """Take copies of ``records`` and return at once; they are written soon, and in this order for each job."""
        if not records:
            return
        snapshots = [record.snapshot() for record in records]
        with self._condition:
            # A thread that has something to write wakes up by itself, when that is due or there is a batch of it.
            asleep = not self._pending
            for record in snapshots:
                self._put(record)
            self._make_room()
            self._ensure_thread()
            if asleep or len(self._pending) >= self._batch:
                self._condition.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was received before this call is written; False if it isn't after ``timeout`` seconds.

        Blocks: on an event loop, call it in a thread. A pause after a failed write ends at once.
        """
        with self._condition:
            ticket = self._ticket
            if self._oldest() <= ticket:
                self._not_before = 0.0
                self._ensure_thread()
                self._condition.notify_all()
            return self._condition.wait_for(lambda: self._oldest() > ticket, timeout)

    def stop(self, timeout: float | None = None) -> bool:
        """Flush, then end the thread and close its connection; False if something is left unwritten.

        What is left stays in the buffer. A record that comes later starts a new thread.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        flushed = self.flush(timeout)
        with self._condition:
            thread, self._stopping = self._thread, True
            self._condition.notify_all()
        if thread is not None:
            thread.join(None if deadline is None else max(0.05, deadline - time.monotonic()))
        if not flushed:
            logger.warning("The recorder stops with %d jobs unwritten; they are read back later", self.pending)
        return flushed

    @property
    def pending(self) -> int:
        """How many jobs have something to be written."""
        with self._condition:
            return len(self._pending.keys() | self._writing.keys())

    @property
    def has_dropped(self) -> bool:
        """Whether something was dropped that `take_dropped` has not told of."""
        return self._dropped is not None

    def take_dropped(self) -> Dropped | None:
        """Return what was dropped since this was last asked, once it can be brought back.

        That is when writing succeeds again and half of the buffer is free: until then the answer is None.
        """
        with self._condition:
            if self._failures or 2 * len(self._pending) > self._capacity:
                return None
            dropped, self._dropped = self._dropped, None
            return dropped

    # -- the buffer; all of it under the lock

    def _put(self, record: JobRecord) -> None:
        self._ticket += 1
        known = self._pending.get(record.job_id)
        if known is None:
            self._pending[record.job_id] = _Entry(self._ticket, record)
        else:
            # It keeps its place, so that a job which changes all the time is written nevertheless.
            known.record = merge(known.record, record)

    def _make_room(self) -> None:
        excess = len(self._pending) - self._capacity
        if excess <= 0:
            return
        gone = [self._pending.pop(job_id).record.enqueue_time for job_id in list(self._pending)[:excess]]
        known = self._dropped
        self._dropped = Dropped(len(gone) + (known.count if known else 0), min([*gone, known.since] if known else gone))
        self._log(
            logging.WARNING,
            "full",
            "More than %d jobs wait for TaskLog, so the oldest are dropped; they are read back later",
            self._capacity,
        )

    def _take(self) -> dict[str, _Entry]:
        taken = dict(list(self._pending.items())[: self._batch])
        for job_id in taken:
            del self._pending[job_id]
        return taken

    def _give_back(self, entries: dict[str, _Entry]) -> None:
        for job_id, entry in entries.items():
            newer = self._pending.pop(job_id, None)
            if newer is not None:
                entry.record = merge(entry.record, newer.record)
        self._pending = entries | self._pending
        self._make_room()

    def _oldest(self) -> float:
        return min(
            (next(iter(entries.values())).ticket for entries in (self._writing, self._pending) if entries),
            default=float("inf"),
        )

    # -- the thread

    def _ensure_thread(self) -> None:
        if not self._pending or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._run, name="django_cfg_tasks-recorder", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            self._log(logging.WARNING, "thread", "The recorder's thread can't be started: %s", error)
            return
        self._thread, self._stopping = thread, False
        if not self._atexit_registered:
            self._atexit_registered = True
            atexit.register(self._at_exit)

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                left = self._try(batch)
                with self._condition:
                    self._writing = {}
                    self._give_back(left)
                    self._not_before = time.monotonic() + self._pause()
                    failed, rests = self._failures > 0, not self._pending
                    self._condition.notify_all()
                reset_queries()
                if failed or (rests and not self.keep_seconds):
                    _tidy()
        finally:
            self._leave()

    def _leave(self) -> None:
        with contextlib.suppress(Exception):  # the server may be gone; so is then the connection
            connections.close_all()
        with self._condition:
            self._thread = None
            self._give_back(self._writing)
            self._writing = {}
            if not self._failures:
                self._ensure_thread()  # for what came after stop()
            self._condition.notify_all()

    def _next_batch(self) -> dict[str, _Entry]:
        """Wait until there is something to write; empty when the thread is to end."""
        idle_since: float | None = None
        keeps = self.keep_seconds > 0
        with self._condition:
            while not self._stopping and not self._is_due():
                if self._pending:
                    self._condition.wait(max(0.0, self._not_before - time.monotonic()))
                    continue
                idle_since = idle_since or time.monotonic()
                if not self._condition.wait(self.keep_seconds if keeps else None):
                    keeps = False
                    self._condition.release()  # receivers must not wait for the database
                    try:
                        _tidy()
                    finally:
                        self._condition.acquire()
            if self._stopping:
                return {}
            self._writing = batch = self._take()
        if idle_since is not None and time.monotonic() - idle_since > self.keep_seconds:
            _tidy()
        return batch

    def _is_due(self) -> bool:
        if not self._pending:
            return False
        return time.monotonic() >= self._not_before or (not self._failures and len(self._pending) >= self._batch)

    def _pause(self) -> float:
        if not self._failures:
            return LINGER
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures - 1, 20)))

    def _try(self, batch: dict[str, _Entry]) -> dict[str, _Entry]:
        """Write a batch and return what of it has to be tried again."""
        try:
            self._write_batch([entry.record for entry in batch.values()])
        except Exception as error:  # whatever it is, the thread and the records must survive it
            self._failures += 1
            left = batch if self._failures <= TRIES_TOGETHER else self._try_one_by_one(batch)
            if left:
                self._log(
                    logging.WARNING,
                    "failed",
                    "TaskLog can't be written: %s: %s. %d jobs wait, next try in %.1f s. Jobs run on all the same.",
                    type(error).__name__,
                    str(error).strip().partition("\n")[0],
                    len(left),
                    self._pause(),
                )
                return left
        if self._failures:
            logger.info("TaskLog is written again")
            self._failures = 0
            self._log.forget("failed")
        return {}

    def _try_one_by_one(self, batch: dict[str, _Entry]) -> dict[str, _Entry]:
        """Find out whether single rows are at fault; they are, if others succeed meanwhile."""
        left: dict[str, _Entry] = {}
        reason: Exception | None = None
        written = 0
        for job_id, entry in batch.items():
            try:
                self._write_batch([entry.record])
                written += 1
            except Exception as error:
                left[job_id], reason = entry, error
                if not written and len(left) == TRIES_TOGETHER:
                    return batch
        if not written:
            return batch
        for job_id, entry in list(left.items()):
            entry.strikes += 1
            if entry.strikes >= STRIKES:
                logger.error("The TaskLog row of job %s is left out, it can't be written: %s", job_id, reason)
                del left[job_id]
        self._failures = min(self._failures, TRIES_TOGETHER)  # the database is well: don't let the others wait
        return left

    def _write_batch(self, records: list[JobRecord]) -> None:
        with self._at_work:
            self._write(records)

    def _at_exit(self) -> None:
        if self.pending:
            self.flush(EXIT_TIMEOUT)


def _follow_forks(reference: weakref.ref[Recorder]) -> None:
    def tell(method: Callable[[Recorder], None]) -> None:
        recorder = reference()
        if recorder is not None:
            method(recorder)

    if hasattr(os, "register_at_fork"):  # Windows has none, and no fork
        os.register_at_fork(
            before=lambda: tell(Recorder._before_fork),
            after_in_parent=lambda: tell(Recorder._after_fork_in_parent),
            after_in_child=lambda: tell(Recorder._forget),
        )


def _tidy() -> None:
    """Do for this thread's connections what Django does for those of a request, at its end and its start.

    Old and broken ones are closed, so that a restart of the database costs one failed write at most, and
    queries are forgotten, all of which Django keeps with DEBUG on.
    """
    try:
        close_old_connections()
    except Exception:
        logger.debug("A database connection could not be closed", exc_info=True)
    reset_queries()


class _Occasional:
    """Logs what may happen a thousand times a second once, and then at most every ``every`` seconds."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._last: dict[str, float] = {}

    def __call__(self, level: int, kind: str, message: str, *args: object) -> None:
        now = time.monotonic()
        if now - self._last.get(kind, -self._every) >= self._every:
            self._last[kind] = now
            logger.log(level, message, *args)

    def forget(self, kind: str) -> None:
        self._last.pop(kind, None)
