"""The admin's pages on the task log, as a browser gets them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from django_cfg_tasks.admin.display import MAX_SHOWN, NOTHING, duration, moment, pretty_json
from django_cfg_tasks.jobs import AttemptOutcome, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from tests.records import NOON, failure, queued, running, succeeded

LIST = "/admin/tasks/tasklog/"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def jobs(db: None) -> None:
    upsert(
        [
            succeeded("fine"),
            queued(
                "broken",
                task="import_orders",
                status=JobStatus.failed,
                attempt=2,
                job_retries=1,
                error_class="ValueError",
                error_message="row 17: no price",
                traceback="Traceback (most recent call last):\n  …\nValueError: row 17: no price",
                attempts=[failure(1), failure(2, AttemptOutcome.failed)],
            ),
            running("at-work", progress=0.4, progress_message="400 of 1,000"),
            queued("late", status=JobStatus.deferred, queue="low"),
        ]
    )


def page(client: Client, path: str = LIST, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.django_db
def test_data_is_inert(admin_client: Client) -> None:
    attempt = failure(1)
    attempt.worker = attempt.error_class = attempt.error_message = attempt.traceback = EVIL
    upsert(
        [
            succeeded(
                EVIL, task=EVIL, queue=EVIL, args=[EVIL], kwargs={EVIL: EVIL}, result={"r": EVIL}, owner=EVIL,
                error_class=EVIL, error_message=EVIL, traceback=EVIL, attempts=[attempt], progress=0.5,
                progress_message=EVIL,
            ),
            running("r", task=EVIL, queue=EVIL, progress=0.5, progress_message=EVIL),
        ]
    )  # fmt: skip
    for html in (page(admin_client), page(admin_client, q=EVIL)):
        assert EVIL not in html
        assert "&lt;script&gt;alert(1)" in html


@pytest.mark.usefixtures("jobs")
class TestPermissions:
    @pytest.mark.parametrize("action", ["add/", "{pk}/delete/"])
    def test_even_superusers_only_read(self, admin_client: Client, action: str) -> None:
        path = LIST + action.format(pk=TaskLog.objects.all()[0].pk)
        assert admin_client.get(path).status_code == 403
        assert admin_client.post(path, {"post": "yes"}).status_code == 403
        assert TaskLog.objects.count() == 4

    def test_a_posted_change_is_refused(self, admin_client: Client) -> None:
        path = f"{LIST}{TaskLog.objects.get(job_id='fine').pk}/change/"
        assert admin_client.post(path, {"task_name": "other", "status": "failed"}).status_code == 403
        assert TaskLog.objects.get(job_id="fine").task_name == "send_email"

    def test_staff_need_the_permission_to_view(self, client: Client, django_user_model: Any) -> None:
        user = django_user_model.objects.create_user("staff", is_staff=True)
        client.force_login(user)
        assert client.get(LIST).status_code == 403
        user.user_permissions.add(Permission.objects.get(codename="view_tasklog"))
        assert client.get(LIST).status_code == 200

    def test_others_are_sent_to_the_login(self, client: Client) -> None:
        answer = client.get(LIST)
        assert answer.status_code == 302
        assert "/admin/login/" in answer["Location"]

    def test_a_user_with_history_can_be_deleted(self, admin_client: Client, django_user_model: Any) -> None:
        user = django_user_model.objects.create_user("ann")
        upsert([succeeded("fine", options={"user": user.pk})])
        admin_client.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
        assert not django_user_model.objects.filter(username="ann").exists()
        assert TaskLog.objects.get(job_id="fine").user is None


class TestDisplay:
    @pytest.mark.parametrize(
        ("milliseconds", "text"),
        [
            (None, NOTHING), (0, "0 ms"), (999, "999 ms"), (999.6, "1.0 s"), (1_000, "1.0 s"), (59_940, "59.9 s"),
            (59_960, "1 min"),            (185_000, "3 min 5 s"), (3_599_600, "1 h"), (7_830_000, "2 h 10 min"),
        ],
    )  # fmt: skip
    def test_durations(self, milliseconds: float | None, text: str) -> None:
        assert duration(milliseconds) == text

    def test_long_data_is_cut(self) -> None:
        shown = str(pretty_json(["x" * (MAX_SHOWN * 2)]))
        assert len(shown) < MAX_SHOWN + 200
        assert "more" in shown

    def test_a_date_is_shown_once(self) -> None:
        later = NOON + dt.timedelta(hours=1)
        assert ">13:00:00</time>" in str(moment(later, after=NOON))
        assert ">2025-10-31 13:00:00</time>" in str(moment(later + dt.timedelta(days=1), after=NOON))
