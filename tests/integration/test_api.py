"""The API as an HTTP client sees it: who gets in, what it answers, what it refuses."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest
from django.test import Client

from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from tests.records import NOON, failure, queued, running, succeeded

pytestmark = pytest.mark.django_db
LOGS = "/cfg/tasks/logs/"
ROW_FIELDS = {
    "id", "job_id", "task_name", "queue_name", "status", "status_display", "success", "job_retries", "duration_ms",
    "enqueue_time", "start_time", "finish_time", "worker_id", "user",
}  # fmt: skip


@pytest.fixture
def staff(client: Client, django_user_model: Any) -> Client:
    client.force_login(django_user_model.objects.create_superuser("staff", password="pw"))
    return client


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["job_id"] for row in answer.json()["results"]]


class TestWhoGetsIn:
    @pytest.mark.parametrize("path", [LOGS, f"{LOGS}1/"])
    def test_not_the_anonymous(self, client: Client, path: str) -> None:
        assert client.get(path).status_code in (401, 403)

    @pytest.mark.parametrize("path", [LOGS, f"{LOGS}1/"])
    def test_not_a_plain_user(self, client: Client, django_user_model: Any, path: str) -> None:
        client.force_login(django_user_model.objects.create_user("ann"))
        assert client.get(path).status_code == 403

    def test_not_staff_that_was_deactivated(self, client: Client, django_user_model: Any) -> None:
        user = django_user_model.objects.create_user("old", password="pw", is_staff=True, is_active=False)
        client.force_login(user)
        assert client.get(LOGS).status_code in (401, 403)
        assert client.get(LOGS, headers=basic("old", "pw")).status_code in (401, 403)

    def test_staff_by_session_or_password(self, staff: Client) -> None:
        assert staff.get(LOGS).status_code == 200
        assert Client().get(LOGS, headers=basic("staff", "pw")).status_code == 200
        assert Client().get(LOGS, headers=basic("staff", "wrong")).status_code in (401, 403)

    def test_the_project_s_own_defaults_open_nothing(self, client: Client, settings: Any) -> None:
        settings.REST_FRAMEWORK = {
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "DEFAULT_PAGINATION_CLASS": None,
        }
        assert client.get(LOGS).status_code in (401, 403)

    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    def test_nothing_can_be_changed(self, staff: Client, method: str) -> None:
        upsert([queued()])
        for path in (LOGS, f"{LOGS}job-1/"):
            assert getattr(staff, method)(path, {}, content_type="application/json").status_code == 405
        assert TaskLog.objects.count() == 1


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class TestList:
    def test_rows(self, staff: Client, django_user_model: Any) -> None:
        user = django_user_model.objects.get(username="staff")
        upsert([succeeded(options={"user": user.pk})])
        answer = staff.get(LOGS).json()
        assert answer["count"] == 1
        [row] = answer["results"]
        assert set(row) == ROW_FIELDS
        assert row["status_display"] == "Success"
        assert row["user"] == user.pk
        assert row["duration_ms"] == 1_500
        assert row["enqueue_time"] == "2025-10-30T12:00:00Z"

    def test_newest_first_in_pages(self, staff: Client) -> None:
        upsert([queued(f"job-{n:03}", enqueue_time=NOON + dt.timedelta(seconds=n)) for n in range(205)])
        first = staff.get(LOGS)
        assert ids(first) == [f"job-{n:03}" for n in range(204, 154, -1)]
        assert ids(staff.get(first.json()["next"])) == [f"job-{n:03}" for n in range(154, 104, -1)]
        assert len(ids(staff.get(LOGS, {"page_size": 10}))) == 10
        assert len(ids(staff.get(LOGS, {"page_size": 5_000}))) == 200
        assert staff.get(LOGS, {"page": 99}).status_code == 404

    def test_as_many_queries_for_many_rows_as_for_few(self, staff: Client, django_assert_num_queries: Any) -> None:
        upsert([succeeded(f"job-{n}") for n in range(50)])
        with django_assert_num_queries(4):  # session, user, count, rows
            staff.get(LOGS)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"task_name": "send_email"}, ["new", "old"]),
            ({"queue_name": "sync"}, ["other"]),
            ({"status": "success"}, ["old"]),
            ({"status": "in_progress", "task_name": "send_email"}, ["new"]),
            ({"start_time": "2025-10-30T13:00:00Z"}, ["new", "other"]),
            ({"start_time": "2025-10-30T14:00:01+01:00"}, ["new"]),
            ({"end_time": "2025-10-30T13:00:00Z"}, ["other", "old"]),
            ({"start_time": "2025-10-30", "end_time": "2025-10-30T12:30"}, ["old"]),
            ({"task_name": "nothing"}, []),
            ({"task_name": "' OR 1=1 --"}, []),
            ({"format": "json"}, ["new", "other", "old"]),
        ],
    )
    def test_filters(self, staff: Client, query: dict[str, str], expected: list[str]) -> None:
        upsert(
            [
                succeeded("old"),
                queued("other", task="sync_all", queue="sync", enqueue_time=NOON + dt.timedelta(hours=1)),
                running("new", enqueue_time=NOON + dt.timedelta(hours=2)),
            ]
        )
        assert ids(staff.get(LOGS, query)) == expected

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("status", "done"), ("start_time", "yesterday"), ("end_time", "2025-13-01"), ("end_time", ""),
            ("page", "0"), ("page", "two"), ("page_size", "-1"), ("page_size", "many"), ("task_name", "a\x00b"),
            ("task_nme", "send_email"), ("ordering", "x"), ("__class__", "x"),
        ],
    )  # fmt: skip
    def test_what_can_not_be_used_is_named(self, staff: Client, name: str, value: str) -> None:
        answer = staff.get(LOGS, {name: value})
        assert answer.status_code == 400
        assert list(answer.json()) == [name]


class TestDetail:
    def test_everything_by_either_id(self, staff: Client) -> None:
        upsert([succeeded("cron:nightly:2025-10-30T00:00:00+00:00", attempts=[failure(1), failure(2)])])
        row = TaskLog.objects.get()
        by_pk, by_job = staff.get(f"{LOGS}{row.pk}/"), staff.get(f"{LOGS}{row.job_id}/")
        assert by_pk.status_code == by_job.status_code == 200
        detail = by_pk.json()
        assert detail == by_job.json()
        assert set(detail) >= ROW_FIELDS | {f.name for f in TaskLog._meta.fields} - {"revision"}
        assert detail["kwargs"] == {"subject": "Hi"}
        assert [attempt["error_class"] for attempt in detail["attempts"]] == ["ConnectionError"] * 2

    def test_a_job_id_that_looks_like_a_number(self, staff: Client) -> None:
        upsert([queued("12345678901234567890123"), queued("4711")])
        assert staff.get(f"{LOGS}12345678901234567890123/").json()["job_id"] == "12345678901234567890123"
        assert staff.get(f"{LOGS}4711/").json()["job_id"] == "4711"

    @pytest.mark.parametrize("key", ["0", "99999999999999999999999", "nobody", "%00", "%27", "٣"])
    def test_not_found(self, staff: Client, key: str) -> None:
        assert staff.get(f"{LOGS}{key}/").status_code == 404

    def test_secrets_do_not_show(self, staff: Client) -> None:
        upsert([queued(kwargs={"password": "hunter2", "nested": [{"api_key": "hunter2"}]})])
        assert b"hunter2" not in staff.get(f"{LOGS}job-1/").content
