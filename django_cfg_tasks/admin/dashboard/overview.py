"""What the dashboard tells of, found out once for all who look on: how things stand, and how a stretch of time went.

What Redis or SQL can't tell is missing, with the reason; nothing is raised for it. It knows nothing of pages.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.db import DatabaseError, router
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks import live
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.history import digest, statistics
from django_cfg_tasks.history.rows import RunningJob, running_by_worker
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.sharing import Shared


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time until now, in buckets of one length."""

    key: str
    name: object
    phrase: object
    """The name in a sentence."""
    hours: int
    step: dt.timedelta
    mark_minutes: int
    """How far apart the times on the axis are."""

    @property
    def number(self) -> int:
        """Of its buckets."""
        return dt.timedelta(hours=self.hours) // self.step


RANGES = {
    one.key: one
    for one in (
        Range("1h", _("1 hour"), _("the last hour"), 1, dt.timedelta(minutes=1), 10),
        Range("6h", _("6 hours"), _("the last 6 hours"), 6, dt.timedelta(minutes=5), 60),
        Range("24h", _("24 hours"), _("the last 24 hours"), 24, dt.timedelta(minutes=30), 240),
        Range("7d", _("7 days"), _("the last 7 days"), 7 * 24, dt.timedelta(hours=3), 1440),
    )
}
USUAL = "24h"


@dataclass(frozen=True, slots=True)
class Now:
    """How things stand."""

    standing: live.Standing | None
    fault: object = ""
    """Why nothing is known, to be shown in whatever language."""
    jobs: dict[str, list[RunningJob]] = field(default_factory=dict)
    """What each worker runs."""
    log_fault: object = ""
    """Why the task log could not be asked for that."""


@dataclass(frozen=True, slots=True)
class Past:
    """How a stretch of time went."""

    range: Range
    digest: digest.Digest | None
    fault: object = ""
    """Why nothing is known, to be shown in whatever language."""


_now: Shared[Now] = Shared(2)
# A database is asked for at most a twentieth of its time, however much there is to be summed up.
_past: Shared[Past] = Shared(2, rests=20)


def now() -> Now:
    """Return how things stand, or stood two seconds ago; takes some seconds at most."""
    return _now.get(_alias(), _look)


def past(key: str) -> Past:
    """Return how the range of this key went, as it was up to twenty times as long ago as it takes to find out."""
    chosen = RANGES.get(key, RANGES[USUAL])
    # By the clock of the one who asks, where users have time zones.
    return _past.get((_alias(), chosen.key, timezone.get_current_timezone_name()), lambda: _look_back(chosen))


def forget_now() -> None:
    """Ask anew: something was done."""
    _now.forget()


def forget() -> None:
    """Keep nothing of what was found."""
    _now.forget()
    _past.forget()


def _alias() -> str:
    return router.db_for_read(TaskLog)


def _look() -> Now:
    try:
        standing = live.ask_all()
    except TasksError as error:
        return Now(None, str(error))
    try:
        jobs = running_by_worker(_alias())
    except DatabaseError as error:
        return Now(standing, log_fault=_reason(error))
    return Now(standing, jobs=jobs)


def _look_back(chosen: Range) -> Past:
    edges = statistics.latest_edges(timezone.now(), chosen.step, chosen.number)
    try:
        return Past(chosen, digest.digest(_alias(), edges))
    except TimeoutError:
        reason = _("There are too many jobs in this time to sum them up in {seconds} s. Choose a shorter one.")
        return Past(chosen, None, format_lazy(reason, seconds=digest.TIME_LIMIT))
    except DatabaseError as error:
        return Past(chosen, None, _reason(error))


def _reason(error: DatabaseError) -> object:
    # The first line says what; what follows is the statement, and where the server is.
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return format_lazy("{} {}", _("The task log can't be read:"), first)
