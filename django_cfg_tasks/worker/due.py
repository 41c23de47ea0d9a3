"""Which due times of a cron task have come, and which of them are too late to be run. Pure; `firings` enqueues.

What a timer has not seen to yet is everything after the moment up to which timers have seen to it. So it makes no
difference why nothing was done in between: no timer ran, the leading one was stopped, SQL was away.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django_cfg_tasks.cron import Cron

ON_TIME_SECONDS = 5.0
"""How late a due time may be seen to that is not to be caught up with: a timer that runs can be busy, too."""
LEAST_GRACE_SECONDS = 1.0
"""With less no due time could be met: the timer itself takes a moment."""
BATCH = 300
"""How many due times are caught up with at a time."""

_SECOND = dt.timedelta(seconds=1)
_INSTANT = dt.timedelta.resolution


@dataclass(frozen=True)
class LeftOut:
    """Due times whose jobs are not enqueued, the first and the last of them, and why."""

    first: dt.datetime
    last: dt.datetime
    why: str
    too_late: bool
    """Whether they would be enqueued, had they been seen to earlier."""


@dataclass(frozen=True)
class Pending:
    """What is to be done about the due times up to ``until``, and when the next one is."""

    run: list[dt.datetime]
    """Whose jobs are to be enqueued, oldest first."""
    left_out: LeftOut | None
    until: dt.datetime
    next: dt.datetime


def next_due(cron: Cron, zone: dt.tzinfo, after: dt.datetime) -> dt.datetime:
    """Return the first due time after ``after``; ``zone`` is where a task without one of its own is reckoned."""
    return cron.schedule.next_after(after, cron.timezone or zone)


def pending(cron: Cron, zone: dt.tzinfo, since: dt.datetime, now: dt.datetime) -> Pending:
    """Return what to do about the due times after ``since`` and up to ``now``.

    Of those to be caught up with it returns up to `BATCH`; the rest is pending after ``until``.
    """
    first = next_due(cron, zone, since)
    if first > now:
        return Pending([], None, now, first)
    if cron.catch_up == "all":
        return _all(cron, zone, first, now)
    last = _last_due(cron, zone, first, now)
    run = [last] if (now - last).total_seconds() <= _grace(cron) else []
    left_out = None
    if not run:
        left_out = _too_late(cron, first, last)
    elif first < last:
        before = _last_due(cron, zone, first, last - _SECOND)
        left_out = LeftOut(first, before, f"a later one is due too, and catch_up={cron.catch_up!r}", too_late=False)
    return Pending(run, left_out, now, next_due(cron, zone, now))


def _all(cron: Cron, zone: dt.tzinfo, first: dt.datetime, now: dt.datetime) -> Pending:
    earliest, left_out = now - dt.timedelta(seconds=_grace(cron)), None
    if first < earliest:
        last = _last_due(cron, zone, first, earliest - _INSTANT)
        left_out = _too_late(cron, first, last)
        first = next_due(cron, zone, last)
    run: list[dt.datetime] = []
    due = first
    while due <= now and len(run) < BATCH:
        run.append(due)
        due = next_due(cron, zone, due)
    return Pending(run, left_out, now if due > now else run[-1], due)


def _too_late(cron: Cron, first: dt.datetime, last: dt.datetime) -> LeftOut:
    if cron.catch_up == "none":
        return LeftOut(first, last, "it is too late for it, and catch_up='none'", too_late=False)
    return LeftOut(first, last, f"it is too late for it, with misfire_grace={cron.misfire_grace:g}", too_late=True)


def _grace(cron: Cron) -> float:
    grace = max(cron.misfire_grace, LEAST_GRACE_SECONDS)
    return min(grace, ON_TIME_SECONDS) if cron.catch_up == "none" else grace


def _last_due(cron: Cron, zone: dt.tzinfo, first: dt.datetime, until: dt.datetime) -> dt.datetime:
    """Return the last due time up to ``until``, of which ``first`` is one. A year of seconds takes 25 steps."""
    last, empty_after = first, until
    while empty_after - last > _SECOND:
        middle = last + (empty_after - last) / 2
        found = next_due(cron, zone, middle)
        if found <= until:
            last = found
        else:
            empty_after = middle
    found = next_due(cron, zone, last)
    return found if found <= until else last
