"""What became of the jobs of the last days, as bars; and how many jobs there are. Asked at most once a minute.

To count the jobs of a month takes seconds where there are millions of them.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import router
from django.utils import timezone

from django_cfg_tasks.history.statistics import bucket_edges, outcomes
from django_cfg_tasks.history.totals import Totals
from django_cfg_tasks.history.totals import totals as ask_totals
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import STATUS_LABELS, TaskLog

T = TypeVar("T")

DAYS = 30
KEEP_SECONDS = 5.0
LONGEST_KEPT = 60.0
"""An answer is kept ten times as long as it took, within these bounds."""
WIDTH, HEIGHT, GAP = 24, 180, 8
"""Of a bar, in the chart's own units; and the room between two."""
ORDER = (
    JobStatus.success,
    JobStatus.failed,
    JobStatus.expired,
    JobStatus.canceled,
    JobStatus.in_progress,
    JobStatus.queued,
    JobStatus.deferred,
)
"""From the bottom to the top."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of one month, in units of its own."""

    bars: list[dict[str, Any]]
    most: int
    width: int
    height: int
    legend: list[tuple[str, Any, int]]


_kept: dict[str, tuple[float, Any]] = {}
_lock = threading.Lock()


def totals() -> Totals:
    """How many jobs there are, by status."""
    since = timezone.now() - dt.timedelta(days=1)
    return _once("totals", lambda: ask_totals(router.db_for_read(TaskLog), since))


def of_last_days() -> Chart:
    """What became of the jobs that were enqueued in the last `DAYS` days, by day."""
    return _once("chart", _drawn)


def _drawn() -> Chart:
    now = timezone.now()
    edges = (bucket_edges(now - dt.timedelta(days=DAYS - 1), now, "day") or [])[-DAYS - 1 :]
    days = outcomes(TaskLog.objects.all(), edges)
    most = max((sum(day.values()) for day in days), default=0)
    bars, sums = [], dict.fromkeys(ORDER, 0)
    for number, (edge, day) in enumerate(zip(edges, days, strict=False)):
        parts, top = [], float(HEIGHT)
        for status in ORDER:
            if count := day.get(status, 0):
                height = max(1.5, HEIGHT * count / most)
                top -= height
                parts.append({"status": status.value, "y": f"{top:.1f}", "height": f"{height:.1f}"})
                sums[status] += count
        said = ", ".join(f"{STATUS_LABELS[status]}: {day[status]:,}" for status in ORDER if day.get(status))
        bars.append(
            {
                "x": number * (WIDTH + GAP),
                "middle": number * (WIDTH + GAP) + WIDTH // 2,
                "date": edge.date(),
                "label": f"{edge:%d %b}" if (len(days) - 1 - number) % 5 == 0 else "",
                "parts": parts,
                "said": said or "none",
            }
        )
    legend = [(status.value, STATUS_LABELS[status], sums[status]) for status in ORDER]
    return Chart(bars, most, len(bars) * (WIDTH + GAP) - GAP, HEIGHT, legend)


def _once(name: str, question: Callable[[], T]) -> T:
    """Ask, or give the answer that another has got a moment ago; those who ask meanwhile wait for it."""
    with _lock:
        until, answer = _kept.get(name, (0.0, None))
        if time.monotonic() >= until:
            started = time.monotonic()
            answer = question()
            ended = time.monotonic()
            _kept[name] = (ended + min(max(KEEP_SECONDS, 10 * (ended - started)), LONGEST_KEPT), answer)
    return answer  # type: ignore[no-any-return]
