"""Enqueues the jobs of cron tasks, and keeps in SQL up to when timers have seen to their due times.

`due` says what is due; who leads is the timer's. A firing has a deterministic job id, unique in SQL, so that what is
kept there may be some seconds old, and two timers may think that they lead: no due time is run twice.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg_tasks import conf
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.cron import Cron
from django_cfg_tasks.exceptions import StoreUnavailableError, TaskDisabledError, TasksDisabledError, is_sql_away
from django_cfg_tasks.jobs import JobRecord, shortened
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import TaskState
from django_cfg_tasks.task import Task
from django_cfg_tasks.worker.due import LeftOut, pending

logger = logging.getLogger("django_cfg_tasks.timer")

NOTE_SECONDS = 2.0
"""How old what SQL knows of firings may be: a task that runs each second shall not cost a write each second."""
QUIET_NOTE_SECONDS = 60.0
"""The same while nothing is fired: it says that a timer was there."""
LONGEST_PAUSE = 60.0
LONGEST_NAME = 150
"""What an id of a job has room for beside the due time."""
FAR_AHEAD = dt.timedelta(minutes=1)
"""More than clocks that are set by the network differ."""


@dataclass(slots=True)
class _Watched:
    """One cron task, as the leading timer knows it."""

    task: Task[..., Any]
    cron: Cron
    until: dt.datetime
    """Up to when timers have seen to its due times."""
    next: dt.datetime
    """When there is something to do."""
    job: str | None
    """The job of its last firing."""
    noted: tuple[dt.datetime, str | None] | None
    """``until`` and ``job`` as SQL has them."""
    disabled: bool = False
    paused: bool = False
    retry_at: float = 0.0
    pause: float = 1.0


class Firings:
    """The cron tasks among ``declared``, seen to while this process's timer leads."""

    def __init__(self, client: ReArqClient, declared: Iterable[Task[..., Any]] = tasks) -> None:
        self._client = client
        self._declared = declared
        self._watched: list[_Watched] | None = None
        self._note_at = 0.0
        self._to_start: list[Task[..., Any]] | None = None

    async def start(self, token: str) -> None:
        """Enqueue the tasks that run at a timer's start: once for each ``token``, however often this is called.

        While SQL is away it raises EnqueueError or StoreUnavailableError, and is to be called again.
        """
        if self._to_start is None:
            self._to_start = [task for task, cron in self._cron_tasks() if cron.run_at_start is not False]
        paused = await self._client.store.paused() if self._to_start else set()
        while self._to_start:
            if self._to_start[0].name in paused:
                logger.info("Cron: %s is paused, so it does not run at this start.", self._to_start[0].name)
            else:
                await self._start_one(self._to_start[0], token)
            self._to_start.pop(0)

    async def _start_one(self, task: Task[..., Any], token: str) -> None:
        start = task.cron.run_at_start if task.cron is not None else True
        args, kwargs = ((), start) if isinstance(start, dict) else (() if isinstance(start, bool) else start, {})
        try:
            starting = task.using(job_id=f"start:{shortened(task.name, LONGEST_NAME)}:{token}")
            await self._client.aenqueue([starting.record(args, kwargs)])
        except TaskDisabledError:
            logger.info("Cron: %s is disabled, so it does not run at this start.", task.name)
        except Exception as error:
            if _is_outage(error):
                raise
            logger.exception("Cron: %s could not be enqueued, so it does not run at this start.", task.name)

    def forget(self) -> None:
        """Another timer leads: what is known here gets old."""
        self._watched = None

    async def fire(self, now: dt.datetime) -> None:
        """Enqueue what is due. While SQL is away it raises EnqueueError or StoreUnavailableError: try again later."""
        if self._watched is None:
            self._watched = await self._load(now)
        due: list[_Watched] = []
        for watched in self._watched:
            if now < watched.until:
                # The clock was set back, or another host's is ahead. What it was due for there already, runs no more.
                watched.until = watched.next = now
            if now < watched.next:
                watched.until = now
            elif watched.retry_at <= time.monotonic():
                due.append(watched)
        paused = await self._client.store.paused() if due else set()
        for watched in due:
            self._take_pause(watched, watched.task.name in paused)
        # All at once, so that they are written together.
        answers = await asyncio.gather(*(self._see_to(watched, now) for watched in due), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        if time.monotonic() >= self._note_at:
            await self.note()

    def seconds_to_next(self, now: dt.datetime) -> float | None:
        """Return in how many seconds there is something to do; None if never."""
        ticks = time.monotonic()
        return min(
            (max((watched.next - now).total_seconds(), watched.retry_at - ticks) for watched in self._watched or ()),
            default=None,
        )

    async def note(self) -> None:
        """Write to SQL up to when due times were seen to; StoreUnavailableError while it is away."""
        changed = [watched for watched in self._watched or () if watched.noted != (watched.until, watched.job)]
        self._note_at = time.monotonic() + QUIET_NOTE_SECONDS
        if not changed:
            return
        states = [TaskState(w.task.name, fired_until=w.until, fired_job=w.job) for w in changed]
        try:
            await self._client.store.note_firings(states)
        except StoreUnavailableError:
            self._note_at = 0.0
            raise
        except Exception:
            # Cron goes on without; what is lost is which due times were missed, should all timers stop.
            logger.exception("Up to when cron tasks were seen to can't be kept; trying again in a minute.")
            return
        for watched, state in zip(changed, states, strict=True):
            watched.noted = (watched.until, state.fired_job)

    def _cron_tasks(self) -> list[tuple[Task[..., Any], Cron]]:
        return [(task, task.cron) for task in self._declared if task.cron is not None]

    async def _load(self, now: dt.datetime) -> list[_Watched]:
        cron_tasks = self._cron_tasks()
        states = await self._client.store.task_states() if cron_tasks else {}
        watched: list[_Watched] = []
        for task, cron in cron_tasks:
            state = states.get(task.name, TaskState(task.name))
            # A task that no timer has met starts now: before, nobody expected it.
            until = state.fired_until or now
            if until - now > FAR_AHEAD:
                logger.warning(
                    "Cron: a timer's clock was ahead, for %s was seen to until %s. It goes on from now; due times "
                    "that pass while no timer runs are not noticed before then.",
                    task.name, state.fired_until,
                )  # fmt: skip
            noted = (state.fired_until, state.fired_job) if state.fired_until is not None else None
            watched.append(_Watched(task, cron, until, until, state.fired_job, noted))
        self._note_at = 0.0
        return watched

    async def _see_to(self, watched: _Watched, now: dt.datetime) -> None:
        try:
            found = pending(watched.cron, conf.current_timezone(), watched.until, now)
            if found.run and not watched.paused:
                await self._enqueue(watched, found.run)
        except Exception as error:
            if _is_outage(error):
                raise
            # Whatever it is, it must not keep the other tasks from running.
            logger.exception("Cron: %s can't be fired; trying again in %.0f s.", watched.task.name, watched.pause)
            watched.retry_at = time.monotonic() + watched.pause
            watched.pause = min(watched.pause * 2, LONGEST_PAUSE)
            return
        if found.left_out is not None and not (watched.disabled or watched.paused):
            _report(watched.task.name, found.left_out)
        watched.until, watched.next, watched.pause = found.until, found.next, 1.0

    @staticmethod
    def _take_pause(watched: _Watched, paused: bool) -> None:
        if paused and not watched.paused:
            logger.info("Cron: %s is paused; its due times are left out until it is resumed.", watched.task.name)
        watched.paused = paused

    async def _enqueue(self, watched: _Watched, run: Sequence[dt.datetime]) -> None:
        """Enqueue a job for each due time, but for those that have one and those that are to be left out."""
        name = watched.task.name
        records = [watched.task.using(job_id=_firing_id(name, due)).record((), {}) for due in run]
        skips = watched.cron.overlap == "skip"
        if skips and records[0].unique_key is not None:
            # It is unique in a way of its own, which need not last until the job is done.
            if watched.job is not None and await self._client.store.open_among([watched.job]):
                _report_in_the_way(watched, run[0], watched.job)
                return
            # Ahead of the enqueue, and as of just before the due time: a leader that dies in between leaves no job
            # that the next one does not know of, and no due time that counts as seen to.
            ahead = TaskState(name, fired_until=run[0] - dt.timedelta.resolution, fired_job=records[0].job_id)
            await self._client.store.note_firings([ahead])
        elif skips:
            for record in records:
                record.unique_key = _overlap_key(name)
        try:
            known = await self._client.aenqueue(records)
        except TaskDisabledError:
            if not watched.disabled:
                logger.info("Cron: %s is disabled; its due times are left out until it is enabled.", name)
            watched.disabled = True
            return
        watched.disabled = False
        self._take_note(watched, run, records, known)
        # What skipping rests on must survive a crash; other jobs have their ids for that.
        self._note_at = min(self._note_at, time.monotonic() + (0 if skips else NOTE_SECONDS))

    @staticmethod
    def _take_note(
        watched: _Watched, run: Sequence[dt.datetime], records: list[JobRecord], known: list[JobRecord | None]
    ) -> None:
        name, fresh = watched.task.name, []
        for due, record, existing in zip(run, records, known, strict=True):
            if existing is not None and existing.job_id != record.job_id:
                _report_in_the_way(watched, due, existing.job_id)
                continue
            watched.job = record.job_id
            if existing is None:
                fresh.append(due)
        if len(fresh) == 1:
            logger.info("Cron: %s, due at %s.", name, fresh[0].isoformat())
        elif fresh:
            logger.info(
                "Cron: %s, due %d times from %s to %s.", name, len(fresh), fresh[0].isoformat(), fresh[-1].isoformat()
            )


def _report(name: str, left_out: LeftOut) -> None:
    first, last = left_out.first.isoformat(), left_out.last.isoformat()
    when = f"at {first}" if first == last else f"from {first} to {last}"
    level = logging.WARNING if left_out.too_late else logging.INFO
    logger.log(level, "Cron: %s, due %s, is left out: %s.", name, when, left_out.why)


def _report_in_the_way(watched: _Watched, due: dt.datetime, job_id: str) -> None:
    why = "overlap='skip'" if watched.cron.overlap == "skip" else "the task is unique"
    logger.info(
        "Cron: %s, due at %s, is left out: %s, and its job %s is not done.",
        watched.task.name, due.isoformat(), why, job_id,
    )  # fmt: skip


def _is_outage(error: BaseException) -> bool:
    """Whether it is no fault of the task: SQL is away, or all tasks are switched off."""
    return isinstance(error, TasksDisabledError) or is_sql_away(error)


def _firing_id(task: str, due: dt.datetime) -> str:
    """The same for every timer that fires this task for this moment."""
    return f"cron:{shortened(task, LONGEST_NAME)}:{due.strftime('%Y-%m-%dT%H:%M:%SZ')}"


def _overlap_key(task: str) -> str:
    """A unique key that lasts until the job is done, unlike any that the task may have of its own.

    So SQL itself refuses a second job, also to a timer that only thinks that it leads.
    """
    return f"d:{hashlib.sha256(f'cron:{task}'.encode()).hexdigest()}"
