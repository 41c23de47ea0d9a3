"""The way through years, months and days of the list, by the filters ``start_time`` and ``end_time``.

It offers what lies between the oldest and the newest job, and reads no more than those two.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import gettext

from django_cfg_tasks.history.filters import LogFilters

if TYPE_CHECKING:
    from django_cfg_tasks.admin.joblist.listing import LogList

_INSTANT = dt.timedelta(microseconds=1)
_FORMATS = {"year": "Y", "month": "YEAR_MONTH_FORMAT", "day": "MONTH_DAY_FORMAT"}
MOST_YEARS = 30


@dataclass(frozen=True, slots=True)
class Step:
    """A period, and the address of the list of its jobs; without one, where one is already."""

    title: str
    link: str | None


@dataclass(frozen=True, slots=True)
class Dates:
    """Where one can go from here, as Django's template of a date hierarchy shows it."""

    back: Step | None
    choices: list[Step]


def dates(logs: LogList, oldest: dt.datetime, newest: dt.datetime) -> Dates:
    """Return the periods within the one that is shown; of a single year its months at once, of a single month its days.

    Days are those of the current time zone.
    """
    first, last = local(oldest), max(local(oldest), local(newest))
    kind, start = _shown(logs)
    back = None
    if kind == "day":
        back = _step(logs, "month", start.replace(day=1))
        return Dates(back, [Step(_title("day", start), None)])
    if kind == "month":
        back = _step(logs, "year", start.replace(month=1))
    elif kind == "year":
        back = Step(gettext("All dates"), logs.get_query_string({"start_time": None, "end_time": None}))
    elif first.year == last.year:
        kind, start = "year", dt.datetime(first.year, 1, 1)  # noqa: DTZ001 - local
        if first.month == last.month:
            kind, start = "month", dt.datetime(first.year, first.month, 1)  # noqa: DTZ001 - local
    inner = {"month": "day", "year": "month"}.get(kind, "year")
    if inner == "year":
        start = dt.datetime(max(first.year, last.year - MOST_YEARS), 1, 1)  # noqa: DTZ001 - local
    end = _after(kind, start) if kind else dt.datetime(last.year + 1, 1, 1)  # noqa: DTZ001 - local
    choices = []
    while start < end and start <= last:
        following = _after(inner, start)
        if following > first:
            choices.append(_step(logs, inner, start))
        start = following
    return Dates(back, choices)


def local(moment: dt.datetime) -> dt.datetime:
    """Return what a clock in the current time zone shows then."""
    return timezone.make_naive(moment) if timezone.is_aware(moment) else moment


def moment_of(logs: LogList, name: str) -> dt.datetime | None:
    """Return the moment that the filter ``name`` asks for, on that clock."""
    text = logs.asked.get(name)
    return None if text is None else local(LogFilters.base_filters[name].field.clean(text))


def _shown(logs: LogList) -> tuple[str, dt.datetime]:
    """Return which period the filters ask for, if just one, and its start."""
    start, end = moment_of(logs, "start_time"), moment_of(logs, "end_time")
    if start is not None and end is not None and start.time() == dt.time():
        for kind, is_first in (("day", True), ("month", start.day == 1), ("year", start.timetuple().tm_yday == 1)):
            if is_first and end == _after(kind, start) - _INSTANT:
                return kind, start
    return "", dt.datetime.min  # noqa: DTZ901 - local


def _after(kind: str, start: dt.datetime) -> dt.datetime:
    if kind == "day":
        return start + dt.timedelta(days=1)
    if kind == "month":
        return (start + dt.timedelta(days=32)).replace(day=1)
    return start.replace(year=start.year + 1)


def _step(logs: LogList, kind: str, start: dt.datetime) -> Step:
    end = _after(kind, start) - _INSTANT
    link = {"start_time": start.isoformat(), "end_time": end.isoformat()}
    return Step(_title(kind, start), logs.get_query_string(link))


def _title(kind: str, start: dt.datetime) -> str:
    return capfirst(date_format(start, _FORMATS[kind]))
