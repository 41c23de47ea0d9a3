"""Ages and moments as people give them on a command line, and show them."""

from __future__ import annotations

import datetime as dt
import re

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

SINCE = "2h|3d|TIME"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,9})\s*([smhdw])", re.IGNORECASE)


def parse_since(text: str) -> dt.datetime:
    """Read an age (``2h``, ``3d``) or a moment (ISO 8601; Django's time zone where it names none), as UTC."""
    try:
        if match := _AGE.fullmatch(text.strip()):
            return dt.datetime.now(dt.UTC) - dt.timedelta(**{_UNITS[match[2].lower()]: int(match[1])})
        moment = parse_datetime(text.strip())
        if moment is not None:
            if timezone.is_naive(moment):
                moment = timezone.make_aware(moment, timezone.get_default_timezone())
            return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    raise CommandError(f"--since {text!r} is neither an age such as 2h or 3d nor a time such as 2025-10-30T12:00.")


def age(seconds: float | None) -> str:
    """Return how long ago something was: ``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for most, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
