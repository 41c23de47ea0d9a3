"""The task log in numbers: statistics, time lines and the overview, as an HTTP client gets them."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from django_cfg_tasks.api.aggregate_serializers import TimelineSerializer
from django_cfg_tasks.history import statistics as numbers
from django_cfg_tasks.history import totals
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from tests.api import LOGS, failed, refused
from tests.records import NOON, queued, running, succeeded

pytestmark = pytest.mark.django_db
STATS, TIMELINE, OVERVIEW = f"{LOGS}stats/", f"{LOGS}timeline/", f"{LOGS}overview/"
DAY = {"start_time": "2025-10-30T00:00:00Z", "end_time": "2025-10-31T00:00:00Z"}


def ran(job_id: str, ms: float, wait: float = 0, at: dt.datetime = NOON, **changes: Any) -> Any:
    """A job that waited and ran for so many milliseconds."""
    start = at + dt.timedelta(milliseconds=wait)
    times = {"enqueue_time": at, "start_time": start, "finish_time": start + dt.timedelta(milliseconds=ms)}
    return succeeded(job_id, **times | changes)


def numbers_of(client: Client, path: str = STATS, **query: Any) -> Any:
    answer = client.get(path, DAY | query)
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.fixture
def paris(settings: Any) -> Iterator[None]:
    """Django's time zone is one with daylight saving."""
    with timezone.override("Europe/Paris"):
        yield


class TestStats:
    def test_all_and_by_task(self, staff: Client) -> None:
        canceled = queued("no", task="sync_all", status=JobStatus.canceled, enqueue_time=NOON)
        upsert([succeeded("a"), succeeded("b"), failed("c"), running("d"), queued("e", task="sync_all"), canceled])
        found = numbers_of(staff)
        counts = {"total": 6, "successful": 2, "failed": 1, "in_progress": 1, "waiting": 1, "canceled": 1, "expired": 0}
        assert found.items() >= counts.items()
        assert (found["success_rate"], found["period_hours"]) == (50, 24)
        assert (found["avg_duration_ms"], found["avg_duration_seconds"]) == (2_666.7, 2.667)
        assert [(line["task_name"], line["total"]) for line in found["by_task"]] == [("send_email", 4), ("sync_all", 2)]
        assert found["by_task"][0]["success_rate"] == 66.67
        assert numbers_of(staff, task_name="sync_all")["total"] == 2

    def test_nothing(self, staff: Client) -> None:
        for query in ({}, {"status": "success"}, {"task_name__icontains": "nothing"}):
            found = numbers_of(staff, **query)
            assert (found["total"], found["success_rate"], found["avg_duration_ms"]) == (0, None, None)
            assert found["wait_percentiles_ms"] == {"p50": None, "p95": None, "p99": None}
            assert found["by_task"] == []

    @pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
    def test_percentiles_are_interpolated(self, staff: Client, count: int) -> None:
        times = [(n * 7_919) % 1_009 for n in range(count)]
        upsert([ran(f"job-{n}", ms, wait=2 * ms) for n, ms in enumerate(times)])
        cuts = statistics.quantiles(times * (1 if count > 1 else 2), n=100, method="inclusive")
        found = numbers_of(staff)
        for name, factor in (("duration_percentiles_ms", 1), ("wait_percentiles_ms", 2)):
            expected = {"p50": cuts[49] * factor, "p95": cuts[94] * factor, "p99": cuts[98] * factor}
            assert found[name] == pytest.approx(expected, abs=0.11)
            assert found["by_task"][0][name] == pytest.approx(expected, abs=0.11)

    def test_waits_leave_out_retries(self, staff: Client) -> None:
        upsert([ran("a", 5, wait=100), ran("b", 5, wait=600_000, job_retries=1)])
        assert numbers_of(staff)["wait_percentiles_ms"]["p99"] == pytest.approx(100, abs=0.11)

    def test_waits_leave_out_what_still_waits(self, staff: Client) -> None:
        upsert([ran("a", 5, wait=100), *(queued(f"open-{n}", enqueue_time=NOON) for n in range(9))])
        assert numbers_of(staff)["wait_percentiles_ms"] == pytest.approx({"p50": 100, "p95": 100, "p99": 100}, abs=0.11)

    def test_the_last_day_unless_told_otherwise(self, staff: Client) -> None:
        now = timezone.now()
        upsert([queued(f"{hours}", enqueue_time=now - dt.timedelta(hours=hours)) for hours in (1, 23, 25, 100)])
        assert staff.get(STATS).json()["total"] == 2
        assert staff.get(STATS).json()["period_hours"] == 24
        assert staff.get(STATS, {"period_hours": 48}).json()["total"] == 3
        assert staff.get(STATS, {"start_time": (now - dt.timedelta(hours=200)).isoformat()}).json()["total"] == 4

    @pytest.mark.parametrize(
        ("name", "value"),
        [("period_hours", "0"), ("period_hours", "x"), ("period_hours", ""), ("period_hours", "99999"),
         ("start_time", "x"), ("status", "done"), ("ordering", "id"), ("page", "1"), ("interval", "hour")],
    )  # fmt: skip
    def test_what_can_not_be_used_is_named(self, staff: Client, name: str, value: str) -> None:
        assert refused(staff.get(STATS, {name: value})) == [name]


class TestTimeline:
    def test_empty_buckets_are_there(self, staff: Client) -> None:
        upsert([ran("a", 100), failed("b", enqueue_time=NOON), ran("c", 300, at=NOON + dt.timedelta(hours=2))])
        found = numbers_of(staff, TIMELINE, interval="hourly")
        assert found["interval"] == "hour"
        buckets = found["buckets"]
        assert [bucket["timestamp"] for bucket in buckets[:2]] == ["2025-10-30T00:00:00Z", "2025-10-30T01:00:00Z"]
        assert len(buckets) == 25
        assert [bucket["total"] for bucket in buckets[11:16]] == [0, 2, 0, 1, 0]
        assert buckets[12] == {
            "timestamp": "2025-10-30T12:00:00Z", "total": 2, "successful": 1, "failed": 1, "avg_duration_ms": 2550.0,
        }  # fmt: skip
        assert buckets[13]["avg_duration_ms"] is None
        described = TimelineSerializer(data=found)
        assert described.is_valid(), described.errors
        assert json.loads(JSONRenderer().render(TimelineSerializer(described.validated_data).data)) == found

    @pytest.mark.usefixtures("paris")
    @pytest.mark.parametrize(
        ("day", "hours"),
        [("2025-03-30", 23), ("2025-10-26", 25), ("2025-10-27", 24)],
        ids=["shorter", "longer", "plain"],
    )
    def test_days_with_a_change_of_clocks(self, staff: Client, day: str, hours: int) -> None:
        midnight = dt.datetime.fromisoformat(day).replace(tzinfo=timezone.get_current_timezone())
        first = midnight.astimezone(dt.UTC)
        upsert([queued(f"{n}", enqueue_time=first + dt.timedelta(minutes=60 * n + 30)) for n in range(-1, hours + 1)])
        end = (midnight + dt.timedelta(hours=23, minutes=59)).isoformat()
        query = {"start_time": midnight.isoformat(), "end_time": end}
        by_hour = staff.get(TIMELINE, query).json()["buckets"]
        assert [bucket["total"] for bucket in by_hour] == [1] * hours
        assert len({bucket["timestamp"] for bucket in by_hour}) == hours
        [whole_day] = staff.get(TIMELINE, query | {"interval": "daily"}).json()["buckets"]
        assert whole_day["total"] == hours
        assert whole_day["timestamp"] == midnight.isoformat()

    @pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia"])
    def test_zones_with_ways_of_their_own(self, zone: str) -> None:
        with timezone.override(zone):
            start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
            days = numbers.bucket_edges(start, start + dt.timedelta(days=366), "day")
            assert days is not None
            assert {b.date() - a.date() for a, b in itertools.pairwise(days)} == {dt.timedelta(days=1)}
            hours = numbers.bucket_edges(start + dt.timedelta(days=90), start + dt.timedelta(days=100), "hour")
            assert hours is not None
            steps = {(b - a.astimezone(dt.UTC)) for a, b in itertools.pairwise(hours)}
            assert steps <= {dt.timedelta(hours=1), dt.timedelta(minutes=30)}

    def test_minutes(self, staff: Client) -> None:
        upsert([queued("a"), queued("b", enqueue_time=NOON + dt.timedelta(seconds=59)),
                queued("c", enqueue_time=NOON + dt.timedelta(seconds=60))])  # fmt: skip
        found = numbers_of(
            staff, TIMELINE, interval="minute", start_time="2025-10-30T11:59Z", end_time="2025-10-30T12:02Z"
        )
        assert [bucket["total"] for bucket in found["buckets"]] == [0, 2, 1, 0]

    def test_filters_hold(self, staff: Client) -> None:
        upsert([succeeded("a"), failed("b", enqueue_time=NOON)])
        assert numbers_of(staff, TIMELINE, status="failed")["buckets"][12]["total"] == 1

    def test_a_period_that_ends_before_it_begins(self, staff: Client) -> None:
        assert numbers_of(staff, TIMELINE, end_time="2025-10-29T00:00:00Z")["buckets"] == []
        assert numbers_of(staff, STATS, end_time="2025-10-29T00:00:00Z")["total"] == 0

    @pytest.mark.parametrize(
        ("name", "value"), [("interval", "week"), ("interval", ""), ("period_hours", "-1"), ("format", "csv")]
    )
    def test_what_can_not_be_used_is_named(self, staff: Client, name: str, value: str) -> None:
        assert refused(staff.get(TIMELINE, {name: value})) == [name]

    def test_more_buckets_than_anybody_reads(self, staff: Client) -> None:
        assert refused(staff.get(TIMELINE, {"interval": "minute", "period_hours": 100})) == ["interval"]
        assert refused(staff.get(TIMELINE, {"interval": "day", "start_time": "1900-01-01"})) == ["interval"]


class TestOverview:
    def test_the_whole_log(self, staff: Client) -> None:
        now = timezone.now()
        upsert([succeeded("a"), queued("b", queue="mail"), failed("c", enqueue_time=now), failed("d")])
        found = staff.get(OVERVIEW).json()
        assert (found["total_tasks"], found["total_is_estimate"]) == (4, False)
        assert found["active_queues"] == ["default", "mail"]
        assert found["recent_failures"] == 1
        queues = [(line["queue_name"], line["count"], line["is_estimate"]) for line in found["tasks_by_queue"]]
        assert queues == [("default", 3, False), ("mail", 1, False)]
        statuses = {line["status"]: line["count"] for line in found["tasks_by_status"]}
        assert statuses == {"success": 1, "queued": 1, "failed": 2}

    def test_without_redis_the_rest_is_told(self, staff: Client) -> None:
        found = staff.get(OVERVIEW).json()
        assert found["live"] is None
        assert "Redis" in found["live_error"]
        assert (found["total_tasks"], found["tasks_by_queue"]) == (0, [])

    @pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL estimates")
    def test_large_numbers_are_estimates(self, staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(totals, "EXACT", 50)
        upsert([succeeded(f"a-{n}") for n in range(300)] + [failed(f"b-{n}", queue="mail") for n in range(20)])
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE django_cfg_task_log")
        found = staff.get(OVERVIEW).json()
        assert (found["total_tasks"], found["total_is_estimate"]) == (320, True)
        statuses = {line["status"]: (line["count"], line["is_estimate"]) for line in found["tasks_by_status"]}
        assert statuses == {"success": (300, True), "failed": (20, False)}

    def test_parameters(self, staff: Client) -> None:
        assert refused(staff.get(OVERVIEW, {"task_name": "x"})) == ["task_name"]
        assert staff.get(OVERVIEW, {"period_hours": 1}).json()["period_hours"] == 1


@pytest.mark.parametrize(("path", "queries"), [(STATS, 3), (TIMELINE, 3), (OVERVIEW, 4)])
def test_queries(staff: Client, path: str, queries: int, django_assert_max_num_queries: Any) -> None:
    upsert([succeeded(f"job-{n}", task=f"task-{n % 7}", queue=f"queue-{n % 5}") for n in range(50)])
    with django_assert_max_num_queries(queries):
        assert staff.get(path).status_code == 200
    assert TaskLog.objects.count() == 50
