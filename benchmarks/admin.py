"""``python -m benchmarks.admin``: how fast the admin's pages are over millions of rows of TaskLog.

The database of `benchmarks.rest` is asked some times for each page, as by a member of staff. A line for each: p50 and
p95 in ms, queries, and whether one of them reads the table without an index.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from benchmarks.rest import filled, measure, queries

LIMIT_MS = 500
LIST = "/admin/tasks/tasklog/"
MOST_LIST_QUERIES = 8
DASHBOARD = "/admin/tasks/dashboard/"
MOST_DASHBOARD_QUERIES = 13
"""With the beginning and the end of a transaction."""
LONG = "7d"
"""The range that sums up more than `LIMIT_MS` is meant for: it is measured, and nothing fails by it."""


def main() -> None:
    """Fill a database, measure, and end with 1 if anything was slower than `LIMIT_MS` or asked too much."""
    with filled(__doc__) as rounds:
        slow = measure(list_pages(), rounds, limit_ms=LIMIT_MS, most_queries=MOST_LIST_QUERIES)
        slow += measure_dashboard(rounds)
    sys.exit(1 if slow else 0)


def list_pages() -> Iterator[tuple[str, str]]:
    """Yield the list of jobs: plain, each filter and order, pages, the way through the dates, and its moving rows."""
    from django_cfg_tasks.models import TaskLog

    newest = TaskLog.objects.order_by("-enqueue_time", "-id")
    total = newest.count()
    middle = newest[min(500_000, total // 2)]
    failed = newest.filter(status="failed")[0]
    yield "list", LIST
    for number in (2, 100, min(2_000, total // 100)):
        yield f"page {number:,}", f"{LIST}?p={number}"
    yield "page 100 of failed", f"{LIST}?status=failed&p={min(100, total // 2_500)}"
    for name, value in queries(middle, failed):
        query = {"q" if name == "search" else name: value}
        yield f"?{name}={value}", f"{LIST}?{urlencode(query)}"
    for column, index in (("duration", 5), ("enqueued", 7), ("finished", 8)):
        for sign in ("", "-"):
            yield f"by {sign}{column}", f"{LIST}?o={sign}{index}"
            yield f"failed by {sign}{column}", f"{LIST}?status=failed&o={sign}{index}"
    day = middle.enqueue_time
    for name, start, end in (
        ("year", f"{day:%Y}-01-01T00:00:00", f"{day:%Y}-12-31T23:59:59.999999"),
        ("month", f"{day:%Y-%m}-01T00:00:00", f"{day:%Y-%m}-28T23:59:59.999999"),
        ("day", f"{day:%Y-%m-%d}T00:00:00", f"{day:%Y-%m-%d}T23:59:59.999999"),
    ):
        period = {"start_time": start, "end_time": end}
        yield f"a {name}", f"{LIST}?{urlencode(period)}"
        yield f"failures of a {name}", f"{LIST}?{urlencode(period | {'is_failed': 'true'})}"
    yield (
        "one error of one task since",
        f"{LIST}?"
        + urlencode(
            {
                "status": "failed",
                "task_name": "task_3",
                "error_class": failed.error_class,
                "start_time": day.isoformat(),
            }
        ),
    )
    yield "search and a part of a name", f"{LIST}?q=refused&task_name__icontains=SK_3"
    moving = newest.filter(status="in_progress").values_list("pk", flat=True)[:50]
    yield "moving rows", f"{LIST}live/?ids={','.join(map(str, moving))}"


def measure_dashboard(rounds: int) -> list[str]:
    """Measure each range of the dashboard: found out anew for each request, and as it is shared for some seconds."""
    from django_cfg_tasks.admin.dashboard import overview

    def pages(kind: str, *ranges: str) -> Iterator[tuple[str, str]]:
        for key in ranges:
            yield f"dashboard, {key}, {kind}", f"{DASHBOARD}?range={key}"
            yield f"its moving part, {key}, {kind}", f"{DASHBOARD}past/?range={key}"

    usual = [key for key in overview.RANGES if key != LONG]
    limits: dict[str, Any] = {"limit_ms": LIMIT_MS, "most_queries": MOST_DASHBOARD_QUERIES}
    slow = measure(pages("anew", *usual), rounds, before=overview.forget, **limits)
    slow += measure([("how things stand, anew", f"{DASHBOARD}now/")], rounds, before=overview.forget, **limits)
    overview.past(LONG)
    slow += measure(pages("shared", *overview.RANGES), rounds, **limits)
    measure(pages("anew", LONG), rounds, before=overview.forget, **limits | {"limit_ms": math.inf})
    return slow


if __name__ == "__main__":
    main()
