"""When a cron task is due: a thin layer over croniter that speaks ReArq's dialect.

Five fields (minute hour day month weekday), six with seconds first, or an alias such as ``@hourly``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from croniter import CroniterBadDateError, CroniterError, croniter

from django_cfg_tasks.exceptions import InvalidCronError

_FIELDS = {
    5: ("minute", "hour", "day", "month", "weekday"),
    6: ("second", "minute", "hour", "day", "month", "weekday"),
}
_ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
# The year decides which day is due first; any will do to see whether one ever is.
_SOME_DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


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
        if (fault := _fault(parts)) is not None:
            raise InvalidCronError(f"{expression!r} is no cron expression: {fault}.")
        try:
            cls(text).next_after(_SOME_DAY)
        except CroniterBadDateError:
            raise InvalidCronError(f"{expression!r} is never due: no month has such a day.") from None
        except (CroniterError, ValueError, KeyError) as error:
            raise InvalidCronError(f"{expression!r} is no cron expression: {error}.") from None
        return cls(text)

    def next_after(self, moment: dt.datetime, timezone: dt.tzinfo = dt.UTC) -> dt.datetime:
        """Return the first due time after the aware ``moment``, reckoned in ``timezone``, in UTC."""
        local = moment.astimezone(timezone)
        due: dt.datetime = croniter(self.expression, local, second_at_beginning=True).get_next(dt.datetime)
        return due.astimezone(dt.UTC)


def _fault(parts: list[str]) -> str | None:
    """Find the field that can't be read, by trying each alone among stars."""
    for index, name in enumerate(_FIELDS[len(parts)]):
        alone = ["*"] * len(parts)
        alone[index] = parts[index]
        try:
            # croniter's random and hashed values: every timer would reckon with due times of its own.
            readable = parts[index][0] not in "rRhH" and croniter(" ".join(alone), second_at_beginning=True)
        except (CroniterError, ValueError, KeyError):
            readable = False
        if not readable:
            return f"field {index + 1} ({name}) can't be {parts[index]!r}"
    return None
