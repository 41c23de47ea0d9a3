"""The API as an HTTP client sees it: who gets in, and what is told of one job."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest
from django.test import Client

from django_cfg_tasks import task
from django_cfg_tasks.history import rows
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from django_cfg_tasks.registry import tasks
from tests.api import LOGS, ROW_FIELDS, failed, ids
from tests.records import NOON, failure, queued, succeeded

pytestmark = pytest.mark.django_db


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

    def test_times_and_the_user(self, staff: Client, django_user_model: Any) -> None:
        ann = django_user_model.objects.create_user("ann")
        retried = {"attempts": [failure(1), failure(2)], "start_time": NOON + dt.timedelta(minutes=2)}
        upsert([succeeded(options={"user": ann.pk}), failed("bad", **retried), queued("new")])
        detail = staff.get(f"{LOGS}job-1/").json()
        assert (detail["wait_ms"], detail["duration_ms"], detail["duration_seconds"]) == (1_000, 1_500, 1.5)
        assert detail["user_display"] == "ann"
        assert detail["result"] == {"sent": True}
        assert staff.get(f"{LOGS}bad/").json()["wait_ms"] == 60_000
        new = staff.get(f"{LOGS}new/").json()
        assert [new[name] for name in ("wait_ms", "duration_seconds", "user_display")] == [None, None, None]

    @pytest.mark.parametrize("attempts", [{}, [1], [{"start_time": "x"}], [{"start_time": 5}], None])
    def test_attempts_that_somebody_else_wrote(self, staff: Client, attempts: Any) -> None:
        upsert([succeeded()])
        TaskLog.objects.update(attempts=attempts or [], args={"a": 1}, kwargs=[2])
        detail = staff.get(f"{LOGS}job-1/").json()
        assert (detail["wait_ms"], detail["args"], detail["kwargs"]) == (1_000, [], {})

    def test_queries(self, staff: Client, django_assert_num_queries: Any) -> None:
        upsert([succeeded(f"job-{n}") for n in range(3)])
        with django_assert_num_queries(3):
            staff.get(f"{LOGS}job-1/")
        with django_assert_num_queries(4):
            staff.get(f"{LOGS}job-1/related/")

    def test_retries_are_linked_both_ways(self, staff: Client) -> None:
        first = succeeded("first")
        second = succeeded("second", args=["other"], options={"retry_of": "first"})
        upsert([first, second, succeeded("third", args=["third"])])
        assert staff.get(f"{LOGS}second/").json()["retry_of"] == "first"
        assert ids(staff.get(f"{LOGS}first/related/")) == ["second"]
        assert ids(staff.get(f"{LOGS}second/related/")) == ["first"]

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

    def test_secrets_of_rows_that_others_wrote_do_not_show(self, staff: Client) -> None:
        upsert([succeeded()])
        secret = {"password": "hunter2"}
        TaskLog.objects.update(args=[secret], kwargs=secret, result={"deep": [secret]})
        assert b"hunter2" not in staff.get(f"{LOGS}job-1/").content

    def test_what_a_task_keeps_out_of_the_log(self, staff: Client) -> None:
        @task(name="quiet", log_args=False)
        async def quiet(word: str) -> None: ...

        try:
            upsert([queued("one", task="quiet"), queued("two", task="quiet")])
            TaskLog.objects.update(args=["hunter2"], result="hunter2")
            assert b"hunter2" not in staff.get(f"{LOGS}one/").content
            assert ids(staff.get(f"{LOGS}one/related/")) == []
        finally:
            tasks.remove("quiet")


class TestRelated:
    def test_same_task_and_arguments(self, staff: Client) -> None:
        later = {"enqueue_time": NOON + dt.timedelta(hours=1)}
        upsert(
            [
                succeeded(),
                queued("again", **later),
                queued("before", enqueue_time=NOON - dt.timedelta(hours=1)),
                queued("at once"),
                queued("other task", task="sync_all"),
                queued("other argument", args=["b@example.com"]),
                queued("other keyword", kwargs={"subject": "Ho"}),
            ]
        )
        assert ids(staff.get(f"{LOGS}job-1/related/")) == ["again", "at once", "before"]
        assert ids(staff.get(f"{LOGS}other task/related/")) == []

    def test_among_its_neighbours(self, staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows, "NEIGHBOURS", 2)
        upsert([queued(f"job-{n}", enqueue_time=NOON + dt.timedelta(hours=n)) for n in range(9)])
        assert ids(staff.get(f"{LOGS}job-4/related/")) == ["job-5", "job-3", "job-2"]

    def test_of_nobody(self, staff: Client) -> None:
        assert staff.get(f"{LOGS}nobody/related/").status_code == 404
