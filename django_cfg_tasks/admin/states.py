"""How the state of a job and its speed look: an icon and a text in a colour; neither says anything alone."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.admin.display import NOTHING, duration
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import STATUS_LABELS

_ICONS = {
    JobStatus.deferred: '<circle cx="8" cy="8" r="6"/><path d="M8 4.5V8l2.5 1.5"/>',
    JobStatus.queued: '<path d="M3 4h10M3 8h10M3 12h6"/>',
    JobStatus.in_progress: '<path d="M5 3l8 5-8 5z" fill="currentColor"/>',
    JobStatus.success: '<path d="M3 8.5l3.5 3.5L13 4.5"/>',
    JobStatus.failed: '<path d="M4 4l8 8M12 4l-8 8"/>',
    JobStatus.expired: '<path d="M4 2.5h8M4 13.5h8M5 2.5c0 4 6 7 6 11M11 2.5c0 4-6 7-6 11"/>',
    JobStatus.canceled: '<circle cx="8" cy="8" r="6"/><path d="M4 12l8-8"/>',
}
_SVG = (
    '<svg class="dct-icon" viewBox="0 0 16 16" width="12" height="12" aria-hidden="true" focusable="false" '
    'fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">{}</svg>'
)


class Speed(NamedTuple):
    """How long a job may run to be called so."""

    name: str
    below_ms: float
    text: str | Promise


SPEEDS = (
    Speed("fast", 1_000, _("Fast: under 1 second")),
    Speed("steady", 10_000, _("Steady: 1 to 10 seconds")),
    Speed("slow", 60_000, _("Slow: 10 to 60 seconds")),
    Speed("long", float("inf"), _("Long: a minute or more")),
)


def state_badge(status: str) -> SafeString:
    """Return a status as a coloured pill with an icon; one that is not known, as its bare name."""
    try:
        known = JobStatus(status)
    except ValueError:
        return format_html('<span class="dct-badge">{}</span>', status)
    icon = mark_safe(_SVG.format(_ICONS[known]))  # noqa: S308 - constants
    label = STATUS_LABELS[known]
    return format_html('<span class="dct-badge dct-badge-{}">{}{}</span>', known.value, icon, label)


def progress_bar(fraction: float, task: str) -> SafeString:
    """Return how far a job of ``task`` has come, as a bar with its number."""
    percent = f"{min(max(fraction, 0.0), 1.0):.0%}"
    label = gettext("Progress of %(task)s") % {"task": task}
    return format_html(
        '<progress class="dct-bar" max="1" value="{}" aria-label="{}">{}</progress> '
        '<span class="dct-quiet dct-nowrap">{}</span>',
        f"{min(max(fraction, 0.0), 1.0):.3f}", label, percent, percent,
    )  # fmt: skip


def speed(milliseconds: float | None, *, running: bool = False) -> SafeString | str:
    """Return how long a job ran, or has been ``running``, in the colour of its speed."""
    if milliseconds is None:
        return NOTHING
    found = next((speed for speed in SPEEDS if milliseconds < speed.below_ms), SPEEDS[-1])
    title = gettext("Still running. %(speed)s") % {"speed": found.text} if running else found.text
    text = f"{duration(milliseconds)}…" if running else duration(milliseconds)
    return format_html('<span class="dct-speed dct-speed-{} dct-nowrap" title="{}">{}</span>', found.name, title, text)
