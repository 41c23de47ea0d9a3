"""Makes the job history of a minute look like that of a day, with one bad hour in it. For pictures only."""

import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.utils import timezone
from django_cfg_tasks.models import TaskLog

DAY = timedelta(hours=24)
BAD_HOUR = 0.62  # after this share of the day
TIMES = ["enqueue_time", "start_time", "finish_time", "created_at", "updated_at"]


def draw_out(bad: set[str], places: Mapping[str, str]) -> None:
    """Spread all jobs over the last day by chance, those of `bad` over one hour of it.

    How long each waited and ran stays as it was. In errors, the places of this machine are shown as others.
    """
    dice = random.Random(1)
    logs = list(TaskLog.objects.order_by("id"))
    begin = timezone.now() - DAY
    for log in logs:
        share = BAD_HOUR + dice.random() / 24 if log.job_id in bad else busier_by_day(dice.random())
        move(log, begin + DAY * share - log.enqueue_time)
        log.traceback = renamed(log.traceback, places)
        log.error_message = renamed(log.error_message, places)
        for attempt in log.attempts:
            for name in ("traceback", "error_message"):
                attempt[name] = renamed(attempt.get(name) or "", places)
    TaskLog.objects.bulk_update(logs, [*TIMES, "attempts", "traceback", "error_message"], batch_size=50)


def busier_by_day(share: float) -> float:
    """Return which part of the day is over when this share of its jobs has come: a slow start, and a slow end."""
    return share + 0.6 * math.sin(2 * math.pi * share) / (2 * math.pi)


def move(log: TaskLog, by: timedelta) -> None:
    """Move all times of a job, and of its attempts."""
    for name in TIMES:
        if (at := getattr(log, name)) is not None:
            setattr(log, name, at + by)
    for attempt in log.attempts:
        for name in ("start_time", "finish_time"):
            if attempt.get(name):
                attempt[name] = (datetime.fromisoformat(attempt[name]) + by).isoformat()


def renamed(text: str, places: Mapping[str, str]) -> str:
    for place, name in places.items():
        text = text.replace(place, name)
    return text
