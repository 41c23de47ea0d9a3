"""A stretch of time at a glance, against counting by hand; and where its buckets begin."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections import Counter
from statistics import quantiles
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_cfg_tasks.history import digest as digests
from django_cfg_tasks.history.digest import Outcomes, digest
from django_cfg_tasks.history.statistics import latest_edges, summary
from django_cfg_tasks.models import TaskLog

NOW = dt.datetime(2025, 10, 30, 12, 17, tzinfo=dt.UTC)
HALF_HOUR = dt.timedelta(minutes=30)
KINDS = {"success": "successful", "failed": "failed", "canceled": "dropped", "expired": "dropped"}


@pytest.fixture
def rows(db: None) -> list[TaskLog]:
    """Two thousand jobs of the two days before, and some of just after."""
    chance = random.Random(7)
    made = []
    for number in range(2_000):
        at = NOW + dt.timedelta(minutes=20) - dt.timedelta(seconds=chance.random() * 2 * 86_400)
        status = chance.choices(
            ["success", "failed", "canceled", "expired", "queued", "in_progress"], [80, 9, 3, 3, 3, 2]
        )[0]
        ended = status in KINDS
        started = at + dt.timedelta(milliseconds=chance.randrange(5_000))
        ran = chance.randrange(60_000)
        made.append(
            TaskLog(
                job_id=f"job-{number}",
                task_name=chance.choice(["send", "send", "charge", "report"]),
                queue_name="default",
                status=status,
                job_retries=chance.choice([0, 0, 0, 1]),
                enqueue_time=at,
                start_time=started if status != "queued" else None,
                finish_time=started + dt.timedelta(milliseconds=ran) if ended else None,
                duration_ms=ran if ended else None,
                error_class=chance.choice(["ValueError", "KeyError", ""]) if status == "failed" else "",
                error_message=f"message {number}" if status == "failed" else "",
            )
        )
    TaskLog.objects.bulk_create(made)
    return list(TaskLog.objects.all())


def outcomes(rows: list[TaskLog]) -> Outcomes:
    counts = Counter(KINDS.get(row.status, "open") for row in rows)
    return Outcomes(**counts)


def test_it_says_what_the_rows_say(rows: list[TaskLog]) -> None:
    edges = latest_edges(NOW, HALF_HOUR, 48)
    assert (edges[0], edges[-1]) == (
        dt.datetime(2025, 10, 29, 12, 30, tzinfo=dt.UTC), dt.datetime(2025, 10, 30, 12, 30, tzinfo=dt.UTC),
    )  # fmt: skip
    within = [row for row in rows if edges[0] <= row.enqueue_time < edges[-1]]
    found = digest("default", edges)
    assert 500 < len(within) < len(rows)
    assert found.overall.outcomes == outcomes(within)
    assert found.overall.outcomes.total == len(within)
    assert len(found.buckets) == 48
    for bucket in found.buckets:
        assert bucket.outcomes == outcomes([row for row in within if bucket.start <= row.enqueue_time < bucket.end])
    assert set(found.tasks) == {"send", "charge", "report"}
    for name, numbers in found.tasks.items():
        mine = [row for row in within if row.task_name == name]
        assert numbers.outcomes == outcomes(mine)
        assert (numbers.run_p50, numbers.run_p95) == pytest.approx(percentiles(mine), abs=0.1)
    assert (found.overall.run_p50, found.overall.run_p95) == pytest.approx(percentiles(within), abs=0.1)
    waits = [
        (row.start_time - row.enqueue_time) / dt.timedelta(milliseconds=1)
        for row in within
        if row.start_time and not row.job_retries
    ]
    assert found.wait_p95 == pytest.approx(quantiles(waits, n=100, method="inclusive")[94], abs=0.5)
    summed = summary(TaskLog.objects.filter(enqueue_time__gte=edges[0], enqueue_time__lt=edges[-1]))
    assert found.wait_p95 == pytest.approx(summed["wait_percentiles_ms"]["p95"], abs=0.1)


def percentiles(rows: list[TaskLog]) -> tuple[float, float]:
    cuts = quantiles([row.duration_ms for row in rows if row.duration_ms is not None], n=100, method="inclusive")
    return cuts[49], cuts[94]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others take all")
def test_percentiles_of_many_are_those_of_some(rows: list[TaskLog], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SAMPLE", 200)
    monkeypatch.setattr(digests, "SAMPLE_OF_TASK", 100)
    edges = latest_edges(NOW, HALF_HOUR, 48)
    within = [row for row in rows if edges[0] <= row.enqueue_time < edges[-1]]
    found = digest("default", edges)
    assert found.overall.outcomes == outcomes(within)
    for numbers, mine in [
        (found.overall, within),
        *((numbers, [row for row in within if row.task_name == name]) for name, numbers in found.tasks.items()),
    ]:
        cuts = quantiles([row.duration_ms for row in mine if row.duration_ms is not None], n=100, method="inclusive")
        assert numbers.run_p50 is not None
        assert numbers.run_p95 is not None
        assert cuts[24] < numbers.run_p50 < cuts[74]
        assert cuts[79] < numbers.run_p95
    assert (found.overall.run_p50, found.overall.run_p95) != pytest.approx(percentiles(within), abs=0.1)


def test_failures_come_by_task_and_error_the_most_frequent_first(rows: list[TaskLog]) -> None:
    edges = latest_edges(NOW, HALF_HOUR, 48)
    failed = [row for row in rows if edges[0] <= row.enqueue_time < edges[-1] and row.status == "failed"]
    groups = Counter((row.task_name, row.error_class) for row in failed)
    found = digest("default", edges).failures
    assert {(one.task_name, one.error_class): one.count for one in found} == groups
    assert [one.count for one in found] == sorted(groups.values(), reverse=True)
    for one in found:
        mine = [row for row in failed if (row.task_name, row.error_class) == (one.task_name, one.error_class)]
        assert one.last_seen == max(row.finish_time for row in mine if row.finish_time)
        assert one.last_message == max(mine, key=lambda row: row.pk).error_message


@pytest.mark.django_db
def test_a_time_without_jobs() -> None:
    found = digest("default", latest_edges(NOW, HALF_HOUR, 2))
    assert found.overall.outcomes == Outcomes()
    assert (found.overall.run_p95, found.wait_p95, found.tasks, found.failures) == (None, None, {}, ())
    assert (Outcomes().success_rate, Outcomes().failure_rate) == (None, None)


def test_it_takes_few_queries(rows: list[TaskLog], django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(8):  # with the beginning and the end of a transaction
        digest("default", latest_edges(NOW, HALF_HOUR, 48))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others have no such limit")
@pytest.mark.django_db
def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(digests, "TIME_LIMIT", 1)
    monkeypatch.setattr(digests, "_failures", slow)
    with pytest.raises(TimeoutError, match="more than 1 s"):
        digest("default", latest_edges(NOW, HALF_HOUR, 2))
    assert TaskLog.objects.count() == 0  # the connection is as good as before


class TestEdges:
    def test_they_end_after_now_and_begin_at_whole_hours(self) -> None:
        with timezone.override("Asia/Kolkata"):  # half an hour off
            edges = latest_edges(NOW, dt.timedelta(hours=3), 56)
        assert len(edges) == 57
        assert edges[-2] <= NOW < edges[-1]
        assert all(edge.hour % 3 == 0 and edge.minute == 0 for edge in edges)
        assert {after - before for before, after in itertools.pairwise(edges)} == {dt.timedelta(hours=3)}

    def test_a_moment_on_an_edge_begins_a_bucket(self) -> None:
        edges = latest_edges(dt.datetime(2025, 10, 30, 12, 0, tzinfo=dt.UTC), dt.timedelta(minutes=1), 60)
        assert edges[-2:] == [
            dt.datetime(2025, 10, 30, 12, 0, tzinfo=dt.UTC), dt.datetime(2025, 10, 30, 12, 1, tzinfo=dt.UTC),
        ]  # fmt: skip

    def test_true_time_goes_on_where_clocks_change(self) -> None:
        with timezone.override("Europe/Berlin"):  # back by an hour on 26 October 2025
            edges = latest_edges(dt.datetime(2025, 10, 26, 12, 10, tzinfo=dt.UTC), dt.timedelta(minutes=30), 48)
        true = [edge.astimezone(dt.UTC) for edge in edges]
        assert {after - before for before, after in itertools.pairwise(true)} == {HALF_HOUR}
        assert true[-1] == dt.datetime(2025, 10, 26, 12, 30, tzinfo=dt.UTC)

    def test_naive_times(self, settings: Any) -> None:
        settings.USE_TZ = False
        edges = latest_edges(dt.datetime(2025, 10, 30, 12, 17), HALF_HOUR, 2)
        assert edges == [
            dt.datetime(2025, 10, 30, 11, 30),
            dt.datetime(2025, 10, 30, 12),
            dt.datetime(2025, 10, 30, 12, 30),
        ]
