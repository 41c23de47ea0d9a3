"""The task log as a stream of CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from django_cfg_tasks.history import export
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from tests.api import LOGS, ROW_FIELDS, failed, refused
from tests.records import NOON, queued, succeeded

pytestmark = pytest.mark.django_db
EXPORT = f"{LOGS}export/"
EXPORTED = ROW_FIELDS - {"status_display"} | {"error_class", "error_message"}


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    assert answer.streaming
    return b"".join(answer.streaming_content).decode()


def cells(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(answer), newline="")))


def test_csv_unless_told_otherwise(staff: Client) -> None:
    upsert([succeeded("a"), failed("b")])
    answer = staff.get(EXPORT)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="task-log-')
    rows = cells(answer)
    assert set(rows[0]) == EXPORTED
    assert [row["job_id"] for row in rows] == ["b", "a"]
    assert rows[1]["enqueue_time"] == "2025-10-30T12:00:00Z"
    assert (rows[1]["duration_ms"], rows[1]["user"], rows[0]["error_message"]) == ("1500", "", "Mail server said 451")


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7])
def test_json_is_one_array(staff: Client, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    upsert([succeeded(f"job-{n}") for n in range(count)])
    answer = staff.get(EXPORT, {"format": "json"})
    assert answer["Content-Type"] == "application/json"
    rows = json.loads(text(answer))
    assert [row["job_id"] for row in rows] == [f"job-{n}" for n in range(count)][::-1]
    assert all(row["duration_ms"] == 1_500 and set(row) == EXPORTED for row in rows)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(staff: Client, start: str) -> None:
    upsert([failed("a", error_message=f'{start}HYPERLINK("http://evil")', task=f"{start}task")])
    TaskLog.objects.update(error_class=f"{start}E", job_retries=-1)
    [row] = cells(staff.get(EXPORT))
    assert row["error_message"] == f'\'{start}HYPERLINK("http://evil")'
    assert row["task_name"] == f"'{start}task"
    assert row["error_class"] == f"'{start}E"
    assert row["job_retries"] == "-1"


def test_cells_with_commas_quotes_and_lines(staff: Client) -> None:
    upsert([failed("a", error_message='one, "two"\nthree ü')])
    assert cells(staff.get(EXPORT))[0]["error_message"] == 'one, "two"\nthree ü'


def test_filters_and_orders_hold(staff: Client) -> None:
    upsert([succeeded("a"), failed("b"), queued("c", enqueue_time=NOON)])
    assert [row["job_id"] for row in cells(staff.get(EXPORT, {"status": "failed"}))] == ["b"]
    assert [row["job_id"] for row in cells(staff.get(EXPORT, {"ordering": "id"}))] == ["a", "b", "c"]
    assert cells(staff.get(EXPORT, {"task_name": "nothing"})) == []


@pytest.mark.parametrize(
    ("name", "value"), [("format", "xml"), ("format", ""), ("page", "1"), ("status", "done"), ("cursor", "")]
)
def test_what_can_not_be_used_is_named(staff: Client, name: str, value: str) -> None:
    assert refused(staff.get(EXPORT, {name: value})) == [name]


def test_many_rows_take_no_more_memory(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 100)
    upsert([failed(f"job-{n}", error_message="x" * 2_000) for n in range(3_000)])
    answer = staff.get(EXPORT)
    tracemalloc.start()
    try:
        size = sum(map(len, answer.streaming_content))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 6_000_000
    assert peak < size / 3


def test_queries(staff: Client, django_assert_num_queries: Any) -> None:
    upsert([succeeded(f"job-{n}") for n in range(20)])
    with django_assert_num_queries(4 if connection.vendor == "mysql" else 3):  # there ids come first
        text(staff.get(EXPORT))
