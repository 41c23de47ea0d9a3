"""How job data looks in the admin: HTML for badges, durations, moments and JSON.

All of it goes through ``format_html``: names, arguments and errors come from outside and stay inert text.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

MAX_SHOWN = 50_000
"""Characters of one value that a page shows."""

NOTHING = "\N{EN DASH}"


def badge(state: str, label: object) -> SafeString:
    """Return ``label`` as a coloured pill; the colour never stands alone, so it needs no legend."""
    return format_html('<span class="dct-badge dct-badge-{}">{}</span>', state, label)


def duration(milliseconds: float | None) -> str:
    """Return a duration in the unit that suits it: ``840 ms``, ``12.4 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def moment(at: dt.datetime | None, timespec: str = "seconds", after: dt.datetime | None = None) -> SafeString | str:
    """Return a time to the second, or finer: for jobs, "2:29 a.m." says too little. The exact value comes on hovering.

    Without its date where that is the date of ``after``, which is shown beside it.
    """
    if at is None:
        return NOTHING
    local = _local(at)
    same_day = after is not None and _local(after).date() == local.date()
    text = local.time().isoformat(timespec) if same_day else local.isoformat(" ", timespec)
    exactly = at.isoformat(" ", "milliseconds")
    return format_html('<time class="dct-time" datetime="{}" title="{}">{}</time>', at.isoformat(), exactly, text)


def preformatted(text: str, kind: str = "text") -> SafeString | str:
    """Return ``text`` as a block that keeps its lines and scrolls."""
    if not text:
        return NOTHING
    return format_html('<pre class="dct-block dct-{}" tabindex="0">{}</pre>', kind, shortened(text))


def pretty_json(value: Any) -> SafeString | str:
    """Return JSON data indented; small data stays on one line."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return preformatted(
        line if len(line) < 60 else json.dumps(value, ensure_ascii=False, indent=2, default=str), "json"
    )


def shortened(text: str) -> str:
    """Return ``text``, or as much of it as a page can bear and a word on the rest."""
    rest = len(text) - MAX_SHOWN
    if rest <= 0:
        return text
    more = ngettext("… and %(count)d character more", "… and %(count)d characters more", rest) % {"count": rest}
    return f"{text[:MAX_SHOWN]}\n{more}"


def _local(at: dt.datetime) -> dt.datetime:
    return (timezone.localtime(at) if timezone.is_aware(at) else at).replace(tzinfo=None)
