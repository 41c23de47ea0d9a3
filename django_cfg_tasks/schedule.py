"""When a cron task is due: what the expression says of the clock, and which real moments that makes. Pure.

Five fields (minute hour day month weekday, 0 and 7 being Sunday), six with seconds first, or an alias such as
``@hourly``. croniter knows when a clock that never changes would read a time of the expression. What happens on the two
days a year when the zone's clocks are moved is decided here, as cron does, by the hour field:

- ``*`` or ``*/n`` (and ``@hourly``): an **interval**. It is due at each real moment at which the clock reads one of its
  times. So ``*/15 * * * *`` runs each real quarter of an hour through both changes, also through the hour that comes
  twice; what the clocks skip is not made up for.
- anything else, such as ``2``, ``1,2``, ``0-23`` or ``8-18/2`` (and the other aliases): **fixed hours**. Each time of
  the clock is due once, at the first moment at which the clock reads it or a later one. So what the clocks skip is due
  right after the gap, once however many times fell into it, and what comes twice is due the first time only.

The other fields don't matter: ``0 * * * *`` is an interval, and ``*/15 2 * * *`` has fixed hours.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from django_cfg_tasks.exceptions import InvalidCronError

_FIELDS = {
    5: ("minute", "hour", "day", "month", "weekday"),
    6: ("second", "minute", "hour", "day", "month", "weekday"),
}
_LIMITS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 6),
}
_STEPS = re.compile(r"\*/(\d{1,2})", re.ASCII)
_RANGE = re.compile(r"(\d{1,2})(?:-(\d{1,2})(?:/(\d{1,2}))?)?", re.ASCII)
_ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
# The year decides which day is due first; any will do to see whether one ever is.
_SOME_DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_INTERVAL = re.compile(r"\*(/\d+)?")
_SECOND = dt.timedelta(seconds=1)
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Schedule:
    """A checked cron expression.

    >>> Schedule.parse("*/5 * * * * *").next_after(dt.datetime(2026, 1, 1, 0, 0, 1, tzinfo=dt.UTC))
    datetime.datetime(2026, 1, 1, 0, 0, 5, tzinfo=datetime.timezone.utc)
    """

    expression: str

    @classmethod
    def parse(cls, expression: str) -> Schedule:
        """Return the schedule; InvalidCronError names the field at fault."""
        if not isinstance(expression, str) or not expression.strip():
            raise InvalidCronError("A cron expression is a text such as '0 * * * *' (minute hour day month weekday).")
        text = " ".join(expression.split())
        parts = text.split(" ")
        if text.startswith("@"):
            if text.lower() not in _ALIASES:
                raise InvalidCronError(f"{expression!r} is no alias for a schedule. There are: {', '.join(_ALIASES)}.")
            return cls(text.lower())
        if len(parts) not in _FIELDS:
            raise InvalidCronError(
                f"{expression!r} has {len(parts)} fields; cron takes five (minute hour day month weekday), "
                "or six with seconds first."
            )
        if _is_plain(parts):
            return cls(text)
        if (fault := _fault(parts)) is not None:
            raise InvalidCronError(f"{expression!r} is no cron expression: {fault}.")
        from croniter import CroniterBadDateError

        try:
            cls(text).next_after(_SOME_DAY)
        except CroniterBadDateError:
            raise InvalidCronError(f"{expression!r} is never due: no month has such a day.") from None
        except (ValueError, KeyError) as error:
            raise InvalidCronError(f"{expression!r} is no cron expression: {error}.") from None
        return cls(text)

    @property
    def is_interval(self) -> bool:
        """Whether its hour field is ``*`` or ``*/n``, so that it runs by elapsed time when the clocks change."""
        if self.expression.startswith("@"):
            return self.expression == "@hourly"
        return _INTERVAL.fullmatch(self.expression.split(" ")[-4]) is not None

    def next_after(self, moment: dt.datetime, timezone: dt.tzinfo = dt.UTC) -> dt.datetime:
        """Return the first due time after the aware ``moment``, reckoned in ``timezone``, in UTC.

        The module's docstring says what is due when the zone's clocks change.
        """
        moment = moment.astimezone(dt.UTC)
        if self.is_interval:
            return self._next_by_elapsed_time(moment, timezone)
        return self._next_by_clock(moment, timezone)

    def _next_by_elapsed_time(self, moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        reading = _reading(moment, zone)
        while True:
            due = (self._next_reading(reading) - _offset(moment, zone)).replace(tzinfo=dt.UTC)
            change = _first_change(moment, due, zone)
            if change is None:
                return due
            # From here on the clock reads otherwise, and its first reading may be due itself.
            moment, reading = change, _reading(change, zone) - _SECOND

    def _next_by_clock(self, moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        reading, change = _reading(moment, zone), None
        if (repeated := _offset(moment, zone, first=True) - _offset(moment, zone)) > dt.timedelta():
            # The clock reads what it has read before: go on from the latest that it ever read.
            change = _first_change(moment - repeated, moment, zone)
        if change is not None:
            reading = _reading(change - _SECOND, zone)
        found = self._next_reading(reading)
        due = found.replace(tzinfo=zone).astimezone(dt.UTC)
        if _reading(due, zone) == found:
            return due
        # The clocks skip it. Python reckons the two folds of such a time with the offsets after and before the gap.
        before = found.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
        return _first_change(before, due, zone) or due

    def _next_reading(self, reading: dt.datetime) -> dt.datetime:
        """Return the first due time after ``reading`` on a clock that never changes. Both are naive."""
        # Imported here as that starts the program `file`: processes that only declare can do without.
        from croniter import croniter

        found: dt.datetime = croniter(self.expression, reading, second_at_beginning=True).get_next(dt.datetime)
        return found


def _reading(moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return what a clock on the wall shows at ``moment``."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(moment: dt.datetime, zone: dt.tzinfo, *, first: bool = False) -> dt.timedelta:
    """Return how far the clock is ahead of UTC at ``moment``, or was when it ``first`` read the same."""
    local = moment.astimezone(zone)
    return (local.replace(fold=0) if first else local).utcoffset() or dt.timedelta()


def _first_change(after: dt.datetime, until: dt.datetime, zone: dt.tzinfo) -> dt.datetime | None:
    """Return the first moment at which the clock is moved, later than ``after`` and not later than ``until``.

    Two changes within a day that undo each other would be missed; there are none.
    """
    offset, early, until = _offset(after, zone), after.replace(microsecond=0), until.replace(microsecond=0)
    while early < until:
        late = min(early + _DAY, until)
        if _offset(late, zone) != offset:
            while late - early > _SECOND:
                middle = (early + (late - early) / 2).replace(microsecond=0)
                if _offset(middle, zone) == offset:
                    early = middle
                else:
                    late = middle
            return late
        early = late
    return None


def _is_plain(parts: list[str]) -> bool:
    """Tell at a glance of stars, numbers, ranges and steps that they are right, and due each time their month comes.

    So most declarations need no croniter, which decides about all others: names, days that not every month has, errors.
    """
    lowest = {name: _lowest(part, *_LIMITS[name]) for name, part in zip(_FIELDS[len(parts)], parts, strict=True)}
    return None not in lowest.values() and (lowest["day"] or 0) <= 28


def _lowest(field: str, least: int, most: int) -> int | None:
    """Return the lowest value of a field; None where that takes more than a glance."""
    if field == "*":
        return least
    if (match := _STEPS.fullmatch(field)) is not None:
        return least if 0 < int(match[1]) <= most else None
    starts = []
    for part in field.split(","):
        if (match := _RANGE.fullmatch(part)) is None:
            return None
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not least <= first <= last <= most or (match[2] and not 0 < step <= last - first):
            return None
        starts.append(first)
    return min(starts)


def _fault(parts: list[str]) -> str | None:
    """Find the field that can't be read, by trying each alone among stars."""
    from croniter import croniter

    for index, name in enumerate(_FIELDS[len(parts)]):
        alone = ["*"] * len(parts)
        alone[index] = parts[index]
        try:
            # croniter's random and hashed values: every timer would reckon with due times of its own.
            readable = parts[index][0] not in "rRhH" and croniter(" ".join(alone), second_at_beginning=True)
        except (ValueError, KeyError):
            readable = False
        if not readable:
            return f"field {index + 1} ({name}) can't be {parts[index]!r}"
    return None
