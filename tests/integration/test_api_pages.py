"""The pages of the task log, by number and by cursor."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from django_cfg_tasks.api import pagination
from django_cfg_tasks.recorder import upsert
from tests.api import LOGS, ROW_FIELDS, ids, refused
from tests.records import NOON, queued, succeeded

pytestmark = pytest.mark.django_db


def fill(rows: int, apart: float = 1) -> list[str]:
    """Make rows, and return their ids from the newest on."""
    upsert([queued(f"job-{n:03}", enqueue_time=NOON + dt.timedelta(seconds=n * apart)) for n in range(rows)])
    return [f"job-{n:03}" for n in range(rows)][::-1]


def test_rows(staff: Client, django_user_model: Any) -> None:
    user = django_user_model.objects.get(username="staff")
    upsert([succeeded(options={"user": user.pk})])
    answer = staff.get(LOGS).json()
    assert answer.keys() == {"count", "count_is_estimate", "next", "previous", "results"}
    assert answer["count"] == 1
    [row] = answer["results"]
    assert set(row) == ROW_FIELDS
    assert row["status_display"] == "Success"
    assert row["user"] == user.pk
    assert row["duration_ms"] == 1_500
    assert row["enqueue_time"] == "2025-10-30T12:00:00Z"


def test_no_rows(staff: Client) -> None:
    empty = {"count": 0, "count_is_estimate": False, "next": None, "previous": None, "results": []}
    assert staff.get(LOGS).json() == empty
    assert staff.get(LOGS, {"cursor": ""}).json() == {"next": None, "previous": None, "results": []}


def test_newest_first_in_pages(staff: Client) -> None:
    jobs = fill(205)
    first = staff.get(LOGS)
    assert ids(first) == jobs[:50]
    second = staff.get(first.json()["next"])
    assert ids(second) == jobs[50:100]
    assert ids(staff.get(second.json()["previous"])) == jobs[:50]
    assert len(ids(staff.get(LOGS, {"page_size": 10}))) == 10
    assert len(ids(staff.get(LOGS, {"page_size": 200}))) == 200
    assert refused(staff.get(LOGS, {"page_size": 201})) == ["page_size"]
    last = staff.get(LOGS, {"page": 5})
    assert ids(last) == jobs[200:]
    assert last.json()["next"] is None
    assert staff.get(LOGS, {"page": 6}).status_code == 404


def test_filters_hold_on_every_page(staff: Client) -> None:
    jobs = fill(30)
    upsert([queued("sync", queue="sync", enqueue_time=NOON)])
    answer = staff.get(LOGS, {"queue_name": "default", "page_size": 20})
    assert answer.json()["count"] == 30
    assert ids(staff.get(answer.json()["next"])) == jobs[20:]


@pytest.mark.parametrize("apart", [1, 0], ids=["one after another", "all at once"])
def test_cursors_walk_there_and_back(staff: Client, apart: float) -> None:
    jobs = fill(25, apart)
    link: str | None = f"{LOGS}?cursor=&page_size=10"
    pages = []
    while link is not None:
        answer = staff.get(link)
        pages.append(ids(answer))
        link = answer.json()["next"]
    assert pages == [jobs[:10], jobs[10:20], jobs[20:]]
    back = staff.get(answer.json()["previous"])
    assert ids(back) == jobs[10:20]
    first = staff.get(back.json()["previous"])
    assert ids(first) == jobs[:10]
    assert first.json()["previous"] is None
    assert ids(staff.get(first.json()["next"])) == jobs[10:20]


def test_what_comes_in_meanwhile_moves_no_cursor(staff: Client) -> None:
    jobs = fill(20)
    first = staff.get(LOGS, {"cursor": "", "page_size": 10})
    upsert([queued("newer", enqueue_time=NOON + dt.timedelta(hours=1))])
    assert ids(staff.get(first.json()["next"])) == jobs[10:]


def test_cursors_know_one_order_and_no_numbers(staff: Client) -> None:
    assert refused(staff.get(LOGS, {"cursor": "", "ordering": "duration_ms"})) == ["ordering"]
    assert refused(staff.get(LOGS, {"cursor": "", "page": "2"})) == ["page"]


def test_counts_are_exact_up_to_a_bound(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "EXACT", 20)
    fill(20)
    assert staff.get(LOGS, {"page_size": 5}).json()["count_is_estimate"] is False
    upsert([queued(f"more-{n}") for n in range(80)])
    if connection.vendor != "mysql":  # where it ends the test's transaction
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE django_cfg_task_log")
    answer = staff.get(LOGS, {"page_size": 5}).json()
    assert answer["count_is_estimate"] is True
    assert answer["count"] == (100 if connection.vendor == "postgresql" else 20)
    assert staff.get(LOGS, {"page_size": 5, "search": "more"}).json()["count"] == 20


def test_past_the_last_number_a_cursor_goes_on(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "MAX_OFFSET", 20)
    jobs = fill(40)
    last = staff.get(LOGS, {"page": 3, "page_size": 10})
    assert ids(last) == jobs[20:30]
    assert "cursor=" in last.json()["next"]
    assert ids(staff.get(last.json()["next"])) == jobs[30:]
    assert refused(staff.get(LOGS, {"page": 4, "page_size": 10})) == ["page"]


def test_as_many_queries_for_many_rows_as_for_few(staff: Client, django_assert_num_queries: Any) -> None:
    upsert([succeeded(f"job-{n}") for n in range(50)])
    with django_assert_num_queries(3):  # session, user, rows with their count
        staff.get(LOGS)
    with django_assert_num_queries(4):  # and names
        staff.get(LOGS, {"search": "send"})
