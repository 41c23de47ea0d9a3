"""How many jobs there have ever been, by queue and status: what the task log has, and what was deleted from it.

Exact, and it never falls: a job is counted where it stands, whatever happened to those who ran it, and retention
counts what it deletes in the transaction that deletes it. The index of queue and status is all that is read.
"""

from __future__ import annotations

from collections import Counter

from django.db.models import Count, Sum

from django_cfg_tasks.models import PurgedLogs, TaskLog

Lifetime = Counter[tuple[str, str]]
"""Jobs by queue and status."""


def lifetime(alias: str) -> Lifetime:
    """Return the numbers in one statement, so that what is deleted meanwhile is counted once. Django's errors."""
    there = TaskLog.objects.using(alias).order_by().values_list("queue_name", "status").annotate(number=Count("*"))
    gone = PurgedLogs.objects.using(alias).order_by().values_list("queue_name", "status").annotate(number=Sum("number"))
    found: Lifetime = Counter()
    for queue, status, number in there.union(gone, all=True).order_by():  # Django 6.1 would order it as the model is
        found[queue, status] += number
    return found
