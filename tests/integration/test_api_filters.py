"""What a list of the task log may be asked for, and what is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from django_cfg_tasks.api import pagination
from django_cfg_tasks.history import filters
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from tests.api import LOGS, failed, ids, refused
from tests.records import NOON, queued, running, succeeded

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(django_user_model: Any) -> None:
    """Four jobs, from an old one to a new one."""
    ann = django_user_model.objects.create_user("ann", pk=4711)
    upsert(
        [
            succeeded("old", options={"user": ann.pk}),
            queued("other", task="sync_all", queue="sync", enqueue_time=NOON + dt.timedelta(hours=1)),
            running("new", enqueue_time=NOON + dt.timedelta(hours=2)),
            failed("bad", task="Send_Letter", enqueue_time=NOON - dt.timedelta(hours=1)),
        ]
    )
    TaskLog.objects.filter(job_id="old").update(created_at=NOON + dt.timedelta(days=1))


SOON, LATER = "2025-10-30T12:00:05Z", "2025-10-31T12:00:00Z"


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["new", "other", "old", "bad"]),
        ({"task_name": "send_email"}, ["new", "old"]),
        ({"task_name": "send_email, sync_all"}, ["new", "other", "old"]),
        ({"task_name": "nothing"}, []),
        ({"task_name": "' OR 1=1 --"}, []),
        ({"task_name__icontains": "SEND"}, ["new", "old", "bad"]),
        ({"task_name__icontains": "%"}, []),
        ({"queue_name": "sync"}, ["other"]),
        ({"status": "success"}, ["old"]),
        ({"status": "success,queued"}, ["other", "old"]),
        ({"status": "in_progress", "task_name": "send_email"}, ["new"]),
        ({"job_id": "old"}, ["old"]),
        ({"worker_id": "other:7"}, ["bad"]),
        ({"user": "4711"}, ["old"]),
        ({"user": "4712"}, []),
        ({"search": "ann"}, ["old"]),
        ({"is_completed": "true"}, ["old", "bad"]),
        ({"is_completed": "0"}, ["new", "other"]),
        ({"is_successful": "yes"}, ["old"]),
        ({"is_successful": "false"}, ["new", "other", "bad"]),
        ({"is_failed": "TRUE"}, ["bad"]),
        ({"is_failed": "no"}, ["new", "other", "old"]),
        ({"has_error": "true"}, ["bad"]),
        ({"has_error": "false"}, ["new", "other", "old"]),
        ({"error_class": "ConnectionError"}, ["bad"]),
        ({"start_time": "2025-10-30T13:00:00Z"}, ["new", "other"]),
        ({"start_time": "2025-10-30T14:00:01+01:00"}, ["new"]),
        ({"end_time": "2025-10-30T13:00:00Z"}, ["other", "old", "bad"]),
        ({"start_time": "2025-10-30", "end_time": "2025-10-30T12:30"}, ["old", "bad"]),
        ({"created_after": LATER, "created_before": "2025-10-31T12:00:00Z"}, ["old"]),
        ({"created_before": "2025-10-31T11:59:59Z"}, []),
        ({"finished_after": SOON}, ["bad"]),
        ({"finished_before": SOON}, ["old"]),
        ({"duration_min": "1500"}, ["old", "bad"]),
        ({"duration_max": "1500"}, ["old"]),
        ({"job_retries_min": "1"}, ["bad"]),
        ({"job_retries_max": "1"}, ["new", "other", "old"]),
        ({"search": "ol"}, ["old"]),
        ({"search": "letter"}, ["bad"]),
        ({"search": "HOST:"}, ["new", "old"]),
        ({"search": "connectionerr"}, ["bad"]),
        ({"search": "said 45"}, ["bad"]),
        ({"search": "nowhere"}, []),
        ({"search": "'); DROP TABLE"}, []),
        ({"search": "&!|:*"}, []),
        ({"format": "json"}, ["new", "other", "old", "bad"]),
    ],
)  # fmt: skip
def test_filters(staff: Client, query: dict[str, str], expected: list[str]) -> None:
    assert ids(staff.get(LOGS, query)) == expected


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("enqueue_time", ["bad", "old", "other", "new"]),
        ("-enqueue_time", ["new", "other", "old", "bad"]),
        ("-id", ["other", "old", "new", "bad"]),
        ("created_at", ["old", "bad", "new", "other"]),
    ],
)
def test_orders(staff: Client, order: str, expected: list[str]) -> None:
    assert ids(staff.get(LOGS, {"ordering": order})) == expected


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("column", ["finish_time", "duration_ms"])
def test_orders_of_what_has_ended(staff: Client, column: str) -> None:
    assert ids(staff.get(LOGS, {"ordering": column, "is_completed": "true"})) == ["old", "bad"]
    assert ids(staff.get(LOGS, {"ordering": f"-{column}", "is_completed": "true"})) == ["bad", "old"]


@pytest.mark.parametrize("text", ["refused", "job-", "send", "host", "Conn"])
def test_a_search_that_finds_much_finds_the_newest(staff: Client, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(filters, "MOST_FOUND", 5)
    monkeypatch.setattr(filters, "NEWEST_ERRORS", 5)
    monkeypatch.setattr(pagination, "MOST_FOUND", 5)
    upsert(
        [
            failed(f"job-{n}", owner="host:1", error_message="refused", enqueue_time=NOON + dt.timedelta(hours=n))
            for n in range(9)
        ]
    )
    answer = staff.get(LOGS, {"search": text})
    assert ids(answer) == ["job-8", "job-7", "job-6", "job-5", "job-4"]
    assert answer.json()["count_is_estimate"] is True
    assert ids(staff.get(LOGS, {"search": text, "job_id": "job-2"})) == ["job-2"]
    assert ids(staff.get(LOGS, {"search": text, "task_name": "nothing"})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "done"), ("status", "success,done"), ("status", "success,"), ("status", ""),
        ("start_time", "yesterday"), ("end_time", "2025-13-01"), ("end_time", ""), ("created_after", "0001-01-01"),
        ("finished_before", "9999-12-31T23:59:59-10:00"), ("created_before", "2025-10-30T12:00:00 01:00"),
        ("page", "0"), ("page", "two"), ("page", ""), ("page", "9" * 30), ("page_size", "-1"), ("page_size", "many"),
        ("task_name", "a\x00b"), ("task_name", ""), ("task_name", "x" * 201),
        ("task_name", ",".join(map(str, range(51)))),
        ("job_id", "\x00"), ("search", "\x00"), ("search", ""), ("user", "ann"), ("user", "9" * 30), ("user", "\x00"),
        ("is_failed", "maybe"), ("is_completed", ""), ("has_error", "2"),
        ("duration_min", "-1"), ("duration_min", "1.5"), ("duration_max", "9" * 30), ("duration_max", "٣"),
        ("job_retries_min", "many"), ("job_retries_max", "99999999999"),
        ("ordering", "x"), ("ordering", ""), ("ordering", "args"), ("ordering", "id,-id"),
        ("ordering", "user__password"),
        ("task_nme", "send_email"), ("status__in", "success"), ("__class__", "x"), ("format", "html"),
        ("cursor", "x"), ("cursor", "ö"), ("cursor", "WyJhZnRlciIsMSwyXQ"), ("cursor", "bnVsbA"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_is_named(staff: Client, name: str, value: str) -> None:
    assert refused(staff.get(LOGS, {name: value})) == [name]


def test_all_that_is_wrong_is_named_at_once(staff: Client) -> None:
    assert refused(staff.get(LOGS, {"status": "done", "user": "ann"})) == ["status", "user"]
    assert refused(staff.get(f"{LOGS}?status=failed&status=success")) == ["status"]


def test_one_job_takes_no_filters(staff: Client) -> None:
    upsert([queued()])
    assert refused(staff.get(f"{LOGS}job-1/", {"status": "queued"})) == ["status"]


@pytest.mark.usefixtures("rows")
def test_moments_without_an_offset_are_in_django_s_time_zone(staff: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    timezone.get_default_timezone.cache_clear()
    try:
        assert ids(staff.get(LOGS, {"start_time": "2025-10-30T22:00"})) == ["new", "other"]
    finally:
        timezone.get_default_timezone.cache_clear()
