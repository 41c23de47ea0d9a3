"""What a cron task says of itself beside its expression. Pure; `schedule` knows the calendar, the timer fires."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass
from typing import Any, Literal, get_args

from django_cfg_tasks.exceptions import DeclarationError
from django_cfg_tasks.schedule import Schedule

CatchUp = Literal["none", "latest", "all"]
Overlap = Literal["allow", "skip"]
_MOST_GRACE = 31_536_000


@dataclass(frozen=True)
class Cron:
    """When a task runs by itself, what is done about missed due times, and how it runs once at the timer's start."""

    schedule: Schedule
    run_at_start: bool | tuple[Any, ...] | dict[str, Any] = False
    timezone: dt.tzinfo | None = None
    """Where the expression is read; None: where Django is."""
    misfire_grace: float = 300
    """How many seconds after a due time its job may still be enqueued."""
    catch_up: CatchUp = "latest"
    """Which due times that passed while no timer ran are made up for."""
    overlap: Overlap = "allow"
    """Whether a due time is left out while the job of an earlier one is not final."""

    def __post_init__(self) -> None:
        for name, choices in (("catch_up", CatchUp), ("overlap", Overlap)):
            value = getattr(self, name)
            if value not in get_args(choices):
                known = ", ".join(repr(choice) for choice in get_args(choices))
                raise DeclarationError(f"{name}={value!r}: it takes one of {known}.")


def zone_of(timezone: str | dt.tzinfo | None) -> dt.tzinfo | None:
    """Return a time zone by its name, or as it is; DeclarationError where there is none of that name."""
    if timezone is None or isinstance(timezone, dt.tzinfo):
        return timezone
    try:
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DeclarationError(
            f"timezone={timezone!r}: there is no such time zone here; it takes a name such as 'Europe/Paris'."
        ) from None


def grace_of(misfire_grace: float | dt.timedelta) -> float:
    """Return the grace in seconds; DeclarationError where it is no time from 0 seconds to a year."""
    seconds = misfire_grace.total_seconds() if isinstance(misfire_grace, dt.timedelta) else misfire_grace
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _MOST_GRACE:
        raise DeclarationError(f"misfire_grace={misfire_grace!r}: it takes seconds from 0 to {_MOST_GRACE}, a year.")
    return float(seconds)
