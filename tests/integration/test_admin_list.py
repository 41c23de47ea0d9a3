"""The admin's list of jobs, as a browser gets it; what it does to jobs, with the real engine and no worker."""

from __future__ import annotations

import csv
import datetime as dt
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client

from django_cfg_tasks import get_rearq_client, task
from django_cfg_tasks.admin.joblist import listing
from django_cfg_tasks.admin.joblist import page as list_page
from django_cfg_tasks.admin.joblist.filters import LABELS, MOST_LINKS
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.history.filters import FILTERS
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder, upsert
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import schema
from tests.api import failed
from tests.records import NOON, queued, running, succeeded
from tests.waiting import wait_until

LIST = "/admin/tasks/tasklog/"
EVIL = "<img src=x onerror=alert(1)>"
TICKED = "_selected_action"
ALL = {"fine", "broken", "at-work", "late"}


@pytest.fixture
def jobs(db: None, django_user_model: Any) -> None:
    ann = django_user_model.objects.create_user("ann")
    upsert(
        [
            succeeded("fine", options={"user": ann.pk}),
            failed("broken", task="import_orders"),
            running("at-work", progress=0.4, progress_message="400 of 1,000"),
            queued("late", status=JobStatus.deferred, queue="low", enqueue_time=NOON + dt.timedelta(days=2)),
        ]
    )


def page(client: Client, path: str = LIST, **query: Any) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


def listed(client: Client, **query: Any) -> list[str]:
    """Return the ids of the jobs that the list shows."""
    answer = client.get(LIST, query)
    assert answer.status_code == 200, answer
    return [log.job_id for log in answer.context["cl"].result_list]


def said(client: Client, **query: Any) -> list[str]:
    """Return what is said of a query that sends back to the list without parameters."""
    answer = client.get(LIST, query)
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?e=1")
    return _texts(client.get(answer["Location"]))


def _texts(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [str(message) for message in get_messages(answer.wsgi_request)] or [
        html.unescape(re.sub("<[^>]*>", "", text)).strip()
        for text in re.findall(r'<li class="(?:error|warning|success)">(.*?)</li>', answer.content.decode(), re.DOTALL)
    ]


def links(client: Client, text: str, **query: Any) -> list[dict[str, str]]:
    """Return the parameters of all links of this text on the list."""
    found = re.findall(rf'<a[^>]*href="([^"]*)"[^>]*>\s*{re.escape(text)}\s*</a>', page(client, **query))
    return [dict(parse_qsl(urlsplit(html.unescape(link)).query)) for link in found]


@pytest.mark.usefixtures("jobs")
class TestRows:
    def test_what_they_say(self, admin_client: Client) -> None:
        text = page(admin_client)
        for status in ("success", "failed", "in_progress", "deferred"):
            assert f'<span class="dct-badge dct-badge-{status}"><svg class="dct-icon"' in text
        assert re.search(r'<progress class="dct-bar" max="1" value="0.400" aria-label="Progress of send_email">', text)
        assert "400 of 1,000" in text
        assert re.search(r'title="Steady: 1 to 10 seconds">1.5 s</span>', text)
        assert re.search(r'title="Still running. Long: a minute or more">\d+ h', text)
        assert "ConnectionError" in text
        assert ">ann</td>" in text
        assert [re.sub(r"\s", "", one) for one in re.findall(r'nowrap">(\d of \d)<', text)] == [
            "0of4",
            "1of4",
            "3of4",
            "1of4",
        ]
        assert "4 jobs" in text

    def test_a_user_who_is_gone(self, admin_client: Client) -> None:
        TaskLog.objects.filter(job_id="fine").update(user_id=987_654)  # no constraint forbids it
        assert "#987654" in page(admin_client)
        assert "User: <b>987654</b>" in page(admin_client, user="987654")

    def test_no_inline_script_or_style(self, admin_client: Client) -> None:
        text = page(admin_client, status="failed", start_time="2025-10-30")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)

    def test_nothing_large_is_read_and_no_row_costs_a_query(
        self, admin_client: Client, django_user_model: Any, django_assert_max_num_queries: Any
    ) -> None:
        users = [django_user_model.objects.create_user(f"user-{n}") for n in range(10)]
        upsert([succeeded(f"job-{n}", options={"user": users[n % 10].pk}) for n in range(49)])
        with django_assert_max_num_queries(6) as few:
            page(admin_client)
        upsert([succeeded(f"job-{n}", options={"user": users[n % 10].pk}) for n in range(49, 120)])
        with django_assert_max_num_queries(6) as many:
            page(admin_client)
        assert len(few) == len(many)
        [rows] = [query["sql"] for query in many if "LIMIT 51" in query["sql"]]
        for large in ("traceback", "kwargs", "error_message", "attempts", '"result"'):
            assert large not in rows

    def test_at_most_eight_queries_for_one_who_has_but_the_permission(
        self, client: Client, django_user_model: Any, django_assert_max_num_queries: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(listing, "EXACT", 2)  # so that there is an estimate as well
        client.force_login(viewer(django_user_model))
        for query in ({}, {"q": "mail"}, {"q": "mail", "task_name__icontains": "e"}, {"status": "expired"}):
            with django_assert_max_num_queries(8):
                page(client, **query)


@pytest.mark.usefixtures("jobs")
class TestFilters:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"status": "failed"}, {"broken"}), ({"status": "failed,success"}, {"broken", "fine"}),
            ({"task_name": "import_orders"}, {"broken"}), ({"queue_name": "low"}, {"late"}),
            ({"worker_id": "other:7"}, {"broken"}), ({"error_class": "ConnectionError"}, {"broken"}),
            ({"is_failed": "true"}, {"broken"}), ({"is_completed": "false"}, {"at-work", "late"}),
            ({"start_time": "2025-11-01"}, {"late"}), ({"end_time": "2025-10-31T00:00"}, {"fine", "broken", "at-work"}),
            ({"duration_min": "2000"}, {"broken"}), ({"duration_max": "2000"}, {"fine"}),
            ({"job_id": "fine", "status": ""}, {"fine"}), ({"worker_id": "", "queue_name": " "}, ALL),
            (
                {"status": "failed", "task_name": "import_orders", "error_class": "ConnectionError",
                 "start_time": "2025-10-30T00:00:00Z"},
                {"broken"},
            ),
        ],
    )  # fmt: skip
    def test_have_the_names_of_the_api(self, admin_client: Client, query: dict[str, str], found: set[str]) -> None:
        assert set(listed(admin_client, **query)) == found

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("fine", {"fine"}), ("orders", {"broken"}), ("server said", {"broken"}), ("other:7", {"broken"}),
            ("ann", {"fine"}), (" ann ", {"fine"}), ("nothing of it", set()), ("", ALL),
        ],
    )  # fmt: skip
    def test_search(self, admin_client: Client, text: str, found: set[str]) -> None:
        assert set(listed(admin_client, q=text)) == found
        assert set(listed(admin_client, search=text)) == found

    @pytest.mark.parametrize(
        ("query", "named"),
        [
            ({"status": "done"}, "Status"), ({"start_time": "soon"}, "Enqueued from"),
            ({"duration_min": "1.5"}, "Ran at least"), ({"is_failed": "maybe"}, "Failed"), ({"user": "ann"}, "User"),
            ({"staus": "failed"}, "staus"), ({"status__exact": "failed"}, "status__exact"),
            ({"task_name": "a,,b"}, "Task"), ({"q": "x" * 201}, "Search"),
            ({"q": "a", "search": "b"}, "Search"), ({"p": "0"}, "Page"), ({"p": "-1"}, "Page"), ({"p": "3"}, "Page"),
            ({"p": "99999999999999999999"}, "Page"), ({"job_id": "a\x00"}, "Job ID"), ({"q": "a\x00"}, ""),
            ({EVIL: "1"}, EVIL), ({"password": "x"}, "password"),
        ],
    )  # fmt: skip
    def test_what_can_not_be_used_is_said(self, admin_client: Client, query: dict[str, str], named: str) -> None:
        assert any(named in text for text in said(admin_client, **query))
        post = admin_client.post(
            f"{LIST}?staus=failed", {"action": "cancel", "select_across": "1", TICKED: "", "index": 0}
        )
        assert (post.status_code, LogEntry.objects.count()) == (302, 0)

    def test_what_is_on_is_said_in_words_and_can_be_taken_off(self, admin_client: Client) -> None:
        query = {"status": "failed,expired", "duration_min": "100", "has_error": "true", "queue_name": "default"}
        answer = admin_client.get(LIST, query | {"o": "-5"})
        shown = {condition.label: condition for condition in answer.context["cl"].conditions}
        assert {label: one.value for label, one in shown.items()} == {
            "Status": "Failed, Expired", "Ran at least": "100 ms", "Has an error": "yes", "Queue": "default",
        }  # fmt: skip
        without = dict(parse_qsl(shown["Status"].link.removeprefix("?")))
        assert without == {name: value for name, value in query.items() if name != "status"} | {"o": "-5"}
        assert dict(parse_qsl(answer.context["cl"].clear_all_filters_qs.removeprefix("?"))) == {"o": "-5"}
        assert set(FILTERS) <= set(LABELS)

    def test_beside_the_list(self, admin_client: Client) -> None:
        assert {"status": "failed", "queue_name": "low"} in links(admin_client, "Failed", queue_name="low")
        assert links(admin_client, "Failed only", is_completed="false") == [{"is_failed": "true"}]
        assert links(admin_client, "low", q="x", p="1") == [{"queue_name": "low", "q": "x"}]
        assert links(admin_client, "ConnectionError") == [{"error_class": "ConnectionError"}]
        text = page(admin_client, status="failed", start_time="2025-10-30T12:00:00.5Z", worker_id=EVIL)
        assert 'name="start_time" value="2025-10-30T12:00:00.500"' in text
        assert f'name="worker_id" value="{html.escape(EVIL)}"' in text
        assert '<input type="hidden" name="status" value="failed">' in text
        assert "Times are those of UTC" in text

    def test_a_name_of_many_is_typed(self, admin_client: Client) -> None:
        upsert([queued(f"job-{n}", task=f"task-{n}") for n in range(MOST_LINKS)])
        text = page(admin_client, task_name="task-3", q="job")
        assert '<input id="filter-task_name" type="text" name="task_name" value="task-3"' in text
        assert '<datalist id="filter-task_name-names"><option value="import_orders">' in text
        assert '<input type="hidden" name="q" value="job">' in text

    def test_in_the_time_zone_of_the_server(self, admin_client: Client, settings: Any) -> None:
        settings.TIME_ZONE = "Asia/Tokyo"
        assert "late" in listed(admin_client, start_time="2025-11-01T21:00:00")
        assert "late" not in listed(admin_client, start_time="2025-11-01T21:00:01")
        assert "Times are those of Asia/Tokyo" in page(admin_client)


@pytest.mark.usefixtures("jobs")
class TestDates:
    def test_from_years_to_days_and_back(self, admin_client: Client) -> None:
        upsert([queued("old", enqueue_time=dt.datetime(2023, 5, 31, 23, 59, 59, 999_999, dt.UTC))])
        assert len(links(admin_client, "2024")) == 1  # what lies between is not looked at
        [year] = links(admin_client, "2023", status="queued")
        assert year == {
            "status": "queued",
            "start_time": "2023-01-01T00:00:00",
            "end_time": "2023-12-31T23:59:59.999999",
        }
        assert listed(admin_client, **year) == ["old"]
        assert not links(admin_client, "April 2023", **year)
        [month] = links(admin_client, "May 2023", **year)
        [day] = links(admin_client, "May 31", **month)
        assert listed(admin_client, **day) == ["old"]
        assert links(admin_client, "May 30", **month) == []
        assert "May 31" in page(admin_client, **day)
        assert links(admin_client, "&lsaquo; May 2023", **day) == [month]
        assert links(admin_client, "&lsaquo; All dates", **year) == [{"status": "queued"}]

    def test_of_one_year_its_months_at_once_and_of_one_month_its_days(self, admin_client: Client) -> None:
        assert links(admin_client, "October 2025")
        TaskLog.objects.filter(job_id="late").delete()
        [day] = links(admin_client, "October 30")
        assert day == {"start_time": "2025-10-30T00:00:00", "end_time": "2025-10-30T23:59:59.999999"}

    def test_of_days_of_the_current_time_zone(self, admin_client: Client, settings: Any) -> None:
        settings.TIME_ZONE = "Pacific/Auckland"
        TaskLog.objects.filter(job_id="late").delete()
        [day] = links(admin_client, "October 31")
        assert len(listed(admin_client, **day)) == 3

    def test_where_no_row_is_found_or_there_is_none(self, admin_client: Client) -> None:
        assert links(admin_client, "October 2025", status="expired")
        TaskLog.objects.all().delete()
        assert "No job has been enqueued yet." in page(admin_client)


@pytest.mark.django_db
class TestPages:
    def test_counts_end_and_say_so(self, admin_client: Client, monkeypatch: Any) -> None:
        upsert([queued(f"job-{n}") for n in range(130)])
        assert "130 jobs" in page(admin_client)
        monkeypatch.setattr(listing, "EXACT", 60)
        monkeypatch.setattr("django_cfg_tasks.history.counts.EXACT", 60)
        answer = admin_client.get(LIST)
        logs = answer.context["cl"]
        if connection.vendor == "sqlite":
            assert (logs.count_text, logs.result_count) == ("60 jobs or more", 60)
        assert "61" not in logs.count_text
        assert len(listed(admin_client, p=2)) == 50
        assert len(listed(admin_client, p=3)) == 30

    def test_every_row_is_on_one_page(self, admin_client: Client) -> None:
        upsert([queued(f"job-{n}") for n in range(130)])
        found = [job for number in (1, 2, 3) for job in listed(admin_client, p=number)]
        assert len(found) == len(set(found)) == 130
        assert len(listed(admin_client, all="")) == 130
        assert ">Show all</a>" in page(admin_client)
        upsert([queued(f"more-{n}") for n in range(100)])
        assert len(listed(admin_client, all="")) == 50  # too many for one page

    def test_they_end_and_go_on_by_time(self, admin_client: Client, monkeypatch: Any) -> None:
        upsert([queued(f"job-{n}", enqueue_time=NOON - dt.timedelta(minutes=n)) for n in range(130)])
        monkeypatch.setattr(listing, "MOST_SKIPPED", 50)
        assert any("no such page" in text for text in said(admin_client, p="3"))
        [older] = links(admin_client, "Older", p="2")
        assert set(listed(admin_client, **older)) == {f"job-{n}" for n in range(99, 130)}
        assert links(admin_client, "Older", p="1") == []
        assert links(admin_client, "Older", p="2", o="-8") == []

    @pytest.mark.parametrize(
        ("order", "columns"),
        [
            ("", ["-enqueue_time", "-id"]), ("7", ["enqueue_time", "id"]), ("-8", ["-finish_time", "-id"]),
            ("5.-7", ["duration_ms", "id"]), ("1", ["-enqueue_time", "-id"]), ("3.5", ["duration_ms", "id"]),
            ("99", ["-enqueue_time", "-id"]), ("x", ["-enqueue_time", "-id"]), ("--5", ["-enqueue_time", "-id"]),
            ("9" * 5000, ["-enqueue_time", "-id"]),
        ],
    )  # fmt: skip
    def test_in_no_order_that_no_index_has(self, admin_client: Client, order: str, columns: list[str]) -> None:
        upsert([queued("job")])
        assert list(admin_client.get(LIST, {"o": order}).context["cl"].queryset.query.order_by) == columns

    def test_what_can_be_sorted_by(self, admin_client: Client) -> None:
        upsert([queued("job")])
        heads = re.findall(r'<th scope="col" class="sortable column-(\w+)', page(admin_client))
        assert heads == ["ran", "enqueued", "finished"]


@pytest.mark.usefixtures("jobs")
class TestLive:
    def test_the_moving_rows_are_asked_after(self, admin_client: Client) -> None:
        moving = {str(log.pk) for log in TaskLog.objects.exclude(status__in=["success", "failed"])}
        [address] = re.findall(r'data-dct-live="([^"]*)"', page(admin_client))
        assert set(address.removeprefix(f"{LIST}live/?ids=").split(",")) == moving
        text = page(admin_client, address)
        assert set(re.findall(r'data-dct-part="([\w]+)-\d+"', text)) == {"state", "ran", "attempt", "finished"}
        assert 'value="0.400"' in text
        assert "data-dct-done" not in text
        upsert([succeeded("at-work")])
        TaskLog.objects.filter(job_id="late").update(status="canceled")
        text = page(admin_client, address)
        assert "dct-badge-success" in text
        assert "data-dct-done" in text
        assert "data-dct-live" not in page(admin_client)

    @pytest.mark.parametrize("ids", ["", "a", "1,", "1;2", "9" * 19, ",".join(["1"] * 201), "\uff11"])
    def test_what_is_no_list_of_ids(self, admin_client: Client, ids: str) -> None:
        assert admin_client.get(f"{LIST}live/", {"ids": ids}).status_code == 400

    def test_in_one_query_beside_those_for_the_user(self, admin_client: Client, django_assert_num_queries: Any) -> None:
        ids = ",".join(str(log.pk) for log in TaskLog.objects.all())
        with django_assert_num_queries(3):
            page(admin_client, f"{LIST}live/", ids=ids)

    def test_who_may_not_view(self, client: Client, django_user_model: Any) -> None:
        assert client.get(f"{LIST}live/?ids=1").status_code == 302
        client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
        assert client.get(f"{LIST}live/?ids=1").status_code == 403


@pytest.mark.django_db
def test_data_is_inert(admin_client: Client) -> None:
    upsert(
        [
            failed("f", task=EVIL, queue=EVIL, error_class=EVIL, error_message=EVIL, owner=EVIL),
            running(EVIL, task=EVIL, queue=EVIL, progress=0.5, progress_message=EVIL),
        ]
    )
    ids = ",".join(str(log.pk) for log in TaskLog.objects.all())
    for text in (
        page(admin_client),
        page(admin_client, q=EVIL),
        page(admin_client, task_name=EVIL, queue_name=EVIL, error_class=EVIL),
        page(admin_client, f"{LIST}live/", ids=ids),
    ):
        assert EVIL not in text
        assert "&lt;img src=x" in text


# ---------------------------------------------------------------- actions


@pytest.fixture
def engine(tasks_config: Callable[..., Any], transactional_db: None) -> Iterator[ReArqClient]:
    """The engine of this process, and tasks that are known as long as the test lasts."""
    tasks_config()
    with connection.cursor() as cursor:  # no models, so that the test database is not emptied of them
        for table in (schema.RESULTS, schema.JOBS, schema.TASKS):
            cursor.execute(f"DELETE FROM {table}")

    @task(name="send")
    def send(to: str) -> None: ...

    yield get_rearq_client()
    tasks.remove("send")
    get_rearq_client().close()


@pytest.fixture
def boss(django_user_model: Any) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("boss"))
    return client


def viewer(users: Any, *permissions: str) -> Any:
    user = users.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_tasklog", *permissions]))
    return user


def sent(count: int, to: str = "a") -> list[TaskLog]:
    """Enqueue jobs, and return their rows."""
    ids = [tasks["send"].enqueue(to).job_id for _ in range(count)]
    assert recorder.flush(10)
    found = TaskLog.objects.filter(job_id__in=ids).order_by("pk")
    return wait_until(lambda: rows if len(rows := list(found.all())) == count else None, "the jobs are in the log")


def act(client: Client, action: str, logs: list[TaskLog] | None = None, query: str = "", **more: str) -> Any:
    """Post an action for rows, or for all that match."""
    data: dict[str, Any] = {
        "action": action,
        "select_across": "0",
        "index": "0",
        TICKED: [log.pk for log in logs or []],
    }
    if logs is None:
        data |= {"select_across": ["0", "1"], TICKED: ""}
    return client.post(f"{LIST}{query}", data | more)


def result(client: Client, answer: Any) -> list[str]:
    """Return what the list says after an action."""
    assert answer.status_code == 302, answer.content
    return _texts(client.get(answer["Location"]))


def bulk_job(engine: ReArqClient) -> Any:
    [job] = [job for job in engine.read_records(0, 100) if job.task == "django_cfg_tasks.bulk"]
    return job


class TestSelected:
    def test_are_canceled_and_run_again_and_the_others_are_said(self, boss: Client, engine: ReArqClient) -> None:
        logs = sent(3)
        texts = result(boss, act(boss, "cancel", logs[:2]))
        assert texts == ["2 jobs are canceled."]
        assert {log.status for log in TaskLog.objects.filter(pk__in=[log.pk for log in logs[:2]])} == {"canceled"}
        texts = result(boss, act(boss, "cancel", logs))
        assert texts == ["1 job is canceled.", "2 jobs are not: The job has ended already: canceled."]
        [new] = sent(1)
        upsert([queued("gone")])
        chosen = [logs[0], new, TaskLog.objects.get(job_id="gone")]
        texts = result(boss, act(boss, "retry", chosen))
        assert texts[0] == "1 job is run again."
        assert set(texts[1:]) == {
            "1 job is not: The job is queued: only one that has ended can be run again.",
            "1 job is not: The job itself was deleted, only its history is left: it can't be run again.",
        }
        again = TaskLog.objects.get(retry_of=logs[0].job_id)  # in the list at once
        assert again.status == "queued"
        notes = list(LogEntry.objects.order_by("id").values_list("object_repr", "change_message", "object_id"))
        assert len(notes) == 4
        assert notes[-1] == (f"Job {logs[0].job_id}", f"run again as {again.job_id}", str(logs[0].pk))
        assert notes[0][1] == "canceled"

    def test_that_the_filters_let_through_no_more(self, boss: Client, engine: ReArqClient) -> None:
        [log] = sent(1)
        engine.cancel(log.job_id)
        assert recorder.flush(10)
        texts = result(boss, act(boss, "cancel", [log], "?status=queued"))
        assert texts == ["1 job is not: The job has ended already: canceled."]

    def test_none_or_what_is_no_row(self, boss: Client, engine: ReArqClient) -> None:
        sent(1)
        for ticked in ([], [""], ["a"], ["9" * 30], [str(number) for number in range(1, list_page.MOST_AT_ONCE + 2)]):
            answer = boss.post(LIST, {"action": "cancel", "select_across": "0", "index": "0", TICKED: ticked})
            assert "elect" in result(boss, answer)[0]
        answer = boss.post(LIST, {"action": "cancel", "index": "0", TICKED: "987654"})
        assert result(boss, answer) == ["None of these jobs is in the log any more."]
        for index in ("x", "7", "-1"):
            answer = boss.post(LIST, {"action": "cancel", "index": index, TICKED: "987654"})
            assert result(boss, answer) == ["None of these jobs is in the log any more."]
        assert result(boss, boss.post(LIST, {"action": "nonsense", "index": "0", TICKED: "1"})) == [
            "No action selected."
        ]
        assert LogEntry.objects.count() == 0

    def test_while_sql_is_away(self, boss: Client, engine: ReArqClient, tasks_config: Callable[..., Any]) -> None:
        logs = sent(1)
        tasks_config(rearq={"db_url": "postgres://nobody@127.0.0.1:1/jobs"})
        for action in ("retry", "cancel"):
            [text] = result(boss, act(boss, action, logs))
            assert text.startswith("Not done, or not in full: ")
            [text] = result(boss, act(boss, action, query="?status=queued"))
            assert text.startswith("Not done, or not in full: ")
        assert LogEntry.objects.count() == 0

    def test_inside_atomic_requests_nothing_waits_for_itself(self, boss: Client, engine: ReArqClient) -> None:
        logs = sent(2)
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert result(boss, act(boss, "cancel", logs)) == ["2 jobs are canceled."]
            assert result(boss, act(boss, "retry", logs)) == ["2 jobs are run again."]
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False


class TestAllThatMatch:
    def test_are_done_by_a_job_with_the_list_s_filters(self, boss: Client, engine: ReArqClient) -> None:
        logs = sent(2)
        answer = act(boss, "cancel", query="?status=queued&q=send&duration_min=")
        job = bulk_job(engine)
        assert job.args == ["cancel", {"status": "queued", "search": "send"}, logs[-1].pk]
        text = boss.get(answer["Location"]).content.decode()
        row = TaskLog.objects.get(job_id=job.job_id)
        [address] = re.findall(rf'href="([^"]*)">{job.job_id}</a>', text)
        assert job.job_id in page(boss, address)
        [note] = LogEntry.objects.all()
        assert note.change_message == f"cancel, by the job {job.job_id}"
        assert row.user.get_username() == "boss"

    def test_of_everything_only_after_a_question(self, boss: Client, engine: ReArqClient) -> None:
        sent(2)
        answer = act(boss, "retry")
        assert answer.status_code == 200
        text = answer.content.decode()
        assert "There is no filter" in text
        assert "2 jobs" in text
        assert len(engine.read_records(0, 10)) == 2
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
        fields.pop("csrfmiddlewaretoken")
        assert result(boss, boss.post(LIST, fields))[0].startswith("The job ")
        assert bulk_job(engine).args[:2] == ["retry", {}]

    def test_of_very_many_as_well(self, boss: Client, engine: ReArqClient, monkeypatch: Any) -> None:
        monkeypatch.setattr(list_page, "CONFIRMED_FROM", 2)
        sent(2)
        text = act(boss, "cancel", query="?task_name=send").content.decode()
        assert "Yes, cancel them" in text
        assert "Task: <b>send</b>" in text
        assert "There is no filter" not in text
        act(boss, "cancel", query="?task_name=send", confirmed="yes")
        assert bulk_job(engine).args[:2] == ["cancel", {"task_name": "send"}]

    def test_without_a_script_there_is_a_box_to_tick(self, boss: Client, engine: ReArqClient) -> None:
        sent(1)
        text = page(boss)
        [fallback] = re.findall(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
        assert '<input type="checkbox" name="select_across" value="1">' in fallback
        fields = dict(re.findall(r'name="(\w+)" value="(\w*)"', fallback))
        both = {"select_across": ["1", "0"], TICKED: fields[TICKED]}
        assert "Yes, cancel them" in boss.post(LIST, {"action": "cancel", "index": "0"} | both).content.decode()


class TestExport:
    def test_the_selected(self, admin_client: Client, jobs: None) -> None:
        logs = list(TaskLog.objects.filter(job_id__in=["fine", "broken"]))
        answer = act(admin_client, "export_csv", logs)
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
        assert {row["job_id"]: row["error_class"] for row in rows} == {"fine": "", "broken": "ConnectionError"}

    def test_all_that_match_in_the_list_s_order(self, admin_client: Client, jobs: None) -> None:
        answer = act(admin_client, "export_json", query="?is_completed=true&o=5")
        rows = json.loads(b"".join(answer.streaming_content))
        assert [row["job_id"] for row in rows] == ["fine", "broken"]
        assert len(json.loads(b"".join(act(admin_client, "export_json").streaming_content))) == 4


@pytest.mark.usefixtures("jobs")
class TestPermissions:
    @pytest.mark.parametrize(
        ("permissions", "offered"),
        [
            ((), {"export_csv", "export_json"}), (("retry_tasklog",), {"retry", "export_csv", "export_json"}),
            (("cancel_tasklog",), {"cancel", "export_csv", "export_json"}),
        ],
    )  # fmt: skip
    def test_each_act_has_its_own(
        self, client: Client, django_user_model: Any, permissions: tuple[str, ...], offered: set[str]
    ) -> None:
        client.force_login(viewer(django_user_model, *permissions))
        choices = re.findall(r'<option value="(\w+)">', re.findall(r"<select.*?</select>", page(client), re.DOTALL)[0])
        assert set(choices) == offered
        for action in {"retry", "cancel"} - offered:
            assert act(client, action, list(TaskLog.objects.all())).status_code == 403
            assert act(client, action).status_code == 403
        assert act(client, "export_csv").status_code == 200

    def test_without_the_token_nothing_is_done(self, django_user_model: Any) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(viewer(django_user_model, "cancel_tasklog"))
        assert act(client, "cancel", list(TaskLog.objects.all())).status_code == 403

    def test_who_may_not_view_may_do_nothing(self, client: Client, django_user_model: Any) -> None:
        assert act(client, "export_csv").status_code == 302
        client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
        assert act(client, "export_csv").status_code == 403
