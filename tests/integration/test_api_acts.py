"""What can be done over the API, with the real engine; no worker runs, so that jobs stay where they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client

from django_cfg_tasks import cron_task, get_rearq_client, task
from django_cfg_tasks.acts.bulk import act_on_logs
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder, upsert
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import schema
from tests.records import queued
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
API = "/cfg/tasks/"


@pytest.fixture(autouse=True)
def engine(tasks_config: Callable[..., Any], transactional_db: None) -> Iterator[ReArqClient]:
    """The engine of this process, and tasks that are known as long as the test lasts."""
    tasks_config()
    with connection.cursor() as cursor:  # no models, so that the test database is not emptied of them
        for table in (schema.RESULTS, schema.JOBS, schema.TASKS):
            cursor.execute(f"DELETE FROM {table}")

    @task(name="send", allow_api=True, mask=["secret"])
    def send(to: str, count: int = 1, secret: str = "") -> None: ...

    @task(name="private")
    def private() -> None: ...

    @task(name="once", unique=True, allow_api=True)
    def once() -> None: ...

    @cron_task("0 4 * * *", name="nightly")
    def nightly() -> None: ...

    yield get_rearq_client()
    for name in ("send", "private", "once", "nightly"):
        tasks.remove(name)
    get_rearq_client().close()


@pytest.fixture
def boss(django_user_model: Any) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("boss"))
    return client


def post(client: Client, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    answer = client.post(API + path, json.dumps(body or {}), content_type="application/json", headers=headers)
    return answer.status_code, answer.json()


def logged(name: str, *args: Any, **kwargs: Any) -> TaskLog:
    """Enqueue a job, and return its row."""
    job = tasks[name].enqueue(*args, **kwargs)
    assert recorder.flush(10)
    return wait_until(lambda: TaskLog.objects.filter(job_id=job.job_id).first(), "the job is in the log")


def acts() -> list[tuple[str, str]]:
    return list(LogEntry.objects.order_by("id").values_list("object_repr", "change_message"))


class TestRetry:
    def test_with_the_arguments_that_were_given_and_not_those_that_are_shown(
        self, boss: Client, engine: ReArqClient
    ) -> None:
        log = logged("send", "a", 2, secret="hunter2")
        assert "hunter2" not in str(log.kwargs)
        engine.cancel(log.job_id)
        status, answer = post(boss, f"logs/{log.pk}/retry/")
        assert (status, answer["status"], answer["retry_of"]) == (201, "queued", log.job_id)
        new = engine.load([answer["job_id"]])[answer["job_id"]]
        assert (new.args, new.kwargs, new.task, new.queue) == (["a", 2], {"secret": "hunter2"}, "send", "default")
        assert acts() == [(f"Job {log.job_id}", f"run again as {new.job_id}")]
        assert LogEntry.objects.get().object_id == str(log.pk)

    def test_not_one_that_goes_on(self, boss: Client) -> None:
        log = logged("send", "a")
        status, answer = post(boss, f"logs/{log.job_id}/retry/")
        assert (status, answer["detail"]) == (
            409, "The job is queued: only one that has ended can be run again.",
        )  # fmt: skip
        assert acts() == []

    def test_not_one_of_which_only_the_history_is_left(self, boss: Client) -> None:
        upsert([queued("gone")])
        for act in ("retry", "cancel"):
            status, answer = post(boss, f"logs/gone/{act}/")
            assert status == 409
            assert "was deleted" in answer["detail"]
            assert post(boss, f"logs/nobody/{act}/")[0] == 404

    def test_not_one_whose_task_is_gone_disabled_or_unique(self, boss: Client, engine: ReArqClient) -> None:
        log, once = logged("private"), logged("once")
        for each in (log, once):
            engine.cancel(each.job_id)
        engine.disable("private")
        assert "is disabled" in post(boss, f"logs/{log.pk}/retry/")[1]["detail"]
        tasks.remove("private")
        assert "is not declared any more" in post(boss, f"logs/{log.pk}/retry/")[1]["detail"]
        assert post(boss, f"logs/{once.pk}/retry/")[0] == 201
        assert "an equal job is not done" in post(boss, f"logs/{once.pk}/retry/")[1]["detail"]


class TestCancel:
    def test_once(self, boss: Client, engine: ReArqClient) -> None:
        log = logged("send", "a")
        status, answer = post(boss, f"logs/{log.pk}/cancel/")
        assert (status, answer["job_id"], answer["status"]) == (200, log.job_id, "canceled")
        assert engine.load([log.job_id])[log.job_id].status == "canceled"
        ended = TaskLog.objects.filter(job_id=log.job_id, finish_time__gte=log.enqueue_time, duration_ms=None)
        wait_until(ended.exists, "the log says when it ended")
        status, answer = post(boss, f"logs/{log.pk}/cancel/")
        assert (status, answer["detail"]) == (409, "The job has ended already: canceled.")
        assert acts() == [(f"Job {log.job_id}", "canceled")]


class Context:
    """What the bulk task asks of its context."""

    job_id, canceled = "bulk-1", False

    def progress(self, fraction: float, message: str) -> None:
        assert 0 <= fraction <= 1


class TestBulk:
    def test_what_is_asked_for_is_enqueued_and_what_can_not_be_is_refused(
        self, boss: Client, engine: ReArqClient
    ) -> None:
        last = logged("send", "a").pk
        status, answer = post(boss, "logs/bulk/", {"action": "cancel", "filter": {"task_name": "send"}})
        assert status == 202
        job = engine.load([answer["job_id"]])[answer["job_id"]]
        assert (job.task, job.args) == ("django_cfg_tasks.bulk", ["cancel", {"task_name": "send"}, last])
        assert acts()[0][1] == f"cancel, by the job {job.job_id}"
        for body in (
            {"action": "cancel", "filter": {}},
            {"action": "cancel"},
            {"action": "delete", "filter": {"status": "failed"}},
            {"action": "cancel", "filter": {"status": "done"}},
            {"action": "cancel", "filter": {"staus": "failed"}},
            {"action": "cancel", "filter": {"status": ["failed"]}},
            {"action": "cancel", "filter": {"status": "failed"}, "dry_run": True},
            ["cancel"],
        ):
            assert post(boss, "logs/bulk/", body)[0] == 400, body

    def test_it_cancels_and_retries_all_that_match_and_each_once(self, engine: ReArqClient) -> None:
        logs = [logged("send", str(number)) for number in range(5)]
        other = logged("private")
        report = act_on_logs(Context(), "cancel", {"task_name": "send"}, logs[-1].pk)  # type: ignore[arg-type]
        assert report == {"action": "cancel", "met": 5, "acted_on": 5, "refused": {}, "complete": True}
        again = act_on_logs(Context(), "cancel", {"task_name": "send"}, logs[-1].pk)  # type: ignore[arg-type]
        assert (again["acted_on"], again["refused"]) == (0, {"The job has ended already: canceled.": 5})
        assert recorder.flush(10)
        for _ in range(2):  # as after a crash
            report = act_on_logs(Context(), "retry", {"task_name": "send"}, logs[-1].pk)  # type: ignore[arg-type]
            assert (report["met"], report["acted_on"]) == (5, 5)
        jobs = engine.read_records(0, 100)
        assert [job.options.get("retry_of") for job in jobs[6:]] == [log.job_id for log in logs]
        assert engine.load([other.job_id])[other.job_id].status == "queued"

    def test_it_is_known_to_workers_and_not_among_the_project_s_tasks(self) -> None:
        assert tasks["django_cfg_tasks.bulk"].name not in {each.name for each in tasks}
        assert "django_cfg_tasks.bulk" not in tasks


class TestSwitches:
    def test_a_task(self, boss: Client, engine: ReArqClient) -> None:
        assert post(boss, "tasks/send/disable/") == (200, {"name": "send", "enabled": False})
        assert engine.disabled() == {"send"}
        assert post(boss, "tasks/send/enqueue/", {"args": ["a"]})[0] == 409
        assert post(boss, "tasks/send/enable/") == (200, {"name": "send", "enabled": True})
        assert engine.disabled() == set()
        assert acts() == [("Task send", "disabled"), ("Task send", "enabled")]

    def test_a_schedule(self, boss: Client) -> None:
        def shown() -> dict[str, Any]:
            answer = boss.get(API + "schedules/").json()
            return next(schedule for schedule in answer if schedule["task"] == "nightly")  # type: ignore[no-any-return]

        assert shown()["next_run"]
        assert post(boss, "schedules/nightly/pause/") == (200, {"task": "nightly", "paused": True})
        assert (shown()["paused"], shown()["next_run"]) == (True, None)
        status, job = post(boss, "schedules/nightly/run/")
        assert (status, job["task_name"], job["status"]) == (201, "nightly", "queued")
        assert post(boss, "schedules/nightly/resume/") == (200, {"task": "nightly", "paused": False})
        assert [act for _, act in acts()] == ["paused", f"run as {job['job_id']}", "resumed"]

    @pytest.mark.parametrize(
        "path",
        [
            "tasks/nobody/enable/", "tasks/nobody/enqueue/", "tasks/django_cfg_tasks.bulk/enqueue/",
            "tasks/a/b/disable/", "schedules/nobody/run/", "schedules/send/run/", "schedules/send/pause/",
            "schedules/send/resume/", "tasks/%00/enable/",
        ],
    )  # fmt: skip
    def test_what_is_unknown_or_no_schedule(self, boss: Client, path: str) -> None:
        assert post(boss, path)[0] == 404
        assert acts() == []


class TestEnqueue:
    def test_a_job_for_the_user(self, boss: Client, engine: ReArqClient, django_user_model: Any) -> None:
        body = {"args": ["a"], "kwargs": {"count": 3}, "countdown": 600}
        status, answer = post(boss, "tasks/send/enqueue/", body)
        assert (status, answer["task_name"], answer["status"]) == (201, "send", "deferred")
        job = engine.load([answer["job_id"]])[answer["job_id"]]
        assert (job.args, job.kwargs) == (["a"], {"count": 3})
        assert job.options["user"] == django_user_model.objects.get().pk

    def test_not_of_a_task_that_does_not_allow_it(self, boss: Client) -> None:
        status, answer = post(boss, "tasks/private/enqueue/")
        assert (status, answer["detail"]) == (403, "The task 'private' is not declared with allow_api=True.")

    @pytest.mark.parametrize(
        "body",
        [
            {}, {"args": []}, {"args": [1]}, {"args": "a"}, {"args": ["a", "many"]},
            {"args": ["a"], "kwargs": {"to": "b"}}, {"args": ["a"], "kwargs": {"cc": "b"}},
            {"args": ["a"], "eta": "soon"}, {"args": ["a"], "countdown": -1},
            {"args": ["a"], "countdown": 1, "eta": "2030-01-01"}, {"args": ["a"], "queue": "x"}, {"args": ["a\x00"]},
            {"args": ["a"], "countdown": "nan"}, {"args": ["a", 1e999]}, {"args": ["\ud800"]}, {"args": [[[]] * 9]},
        ],
    )  # fmt: skip
    def test_what_can_not_be_used_is_refused(self, boss: Client, engine: ReArqClient, body: Any) -> None:
        assert post(boss, "tasks/send/enqueue/", body)[0] == 400
        assert engine.read_records(0, 10) == []

    def test_an_idempotency_key(self, boss: Client, django_user_model: Any, engine: ReArqClient) -> None:
        body, key = {"args": ["a"]}, {"Idempotency-Key": "order-17"}
        first, second = (post(boss, "tasks/send/enqueue/", body, **key) for _ in range(2))
        assert (first[0], second[0]) == (201, 200)
        assert first[1]["job_id"] == second[1]["job_id"]
        assert post(boss, "tasks/send/enqueue/", {"args": ["b"]}, **key)[0] == 409
        other = Client()
        other.force_login(django_user_model.objects.create_superuser("other"))
        assert post(other, "tasks/send/enqueue/", body, **key)[0] == 201
        assert post(boss, "tasks/send/enqueue/", body, **{"Idempotency-Key": "x" * 256})[0] == 400
        assert len(engine.read_records(0, 10)) == len(acts()) == 2

    def test_a_unique_task(self, boss: Client) -> None:
        assert post(boss, "tasks/once/enqueue/")[0] == 201
        assert post(boss, "tasks/once/enqueue/")[0] == 409

    def test_a_body_that_is_no_json_or_has_no_bottom(self, boss: Client) -> None:
        path = API + "tasks/send/enqueue/"
        assert boss.post(path, {"args": "a"}).status_code == 415
        for text in ("{", "[1]", '"a"', '{"args": [NaN]}', '{"args": ' + "[" * 100_000 + "]" * 100_000 + "}"):
            assert boss.post(path, text, content_type="application/json").status_code == 400


def test_while_sql_is_away(boss: Client, tasks_config: Callable[..., Any]) -> None:
    tasks_config(rearq={"db_url": "postgres://nobody@127.0.0.1:1/jobs"})
    upsert([queued("some")])
    for path in ("tasks/send/disable/", "tasks/private/enable/", "schedules/nightly/run/", "logs/some/cancel/"):
        assert post(boss, path)[0] == 503
    assert post(boss, "tasks/send/enqueue/", {"args": ["a"]})[0] == 503
    assert post(boss, "logs/bulk/", {"action": "retry", "filter": {"status": "failed"}})[0] == 503
    assert acts() == []


def test_inside_atomic_requests_nothing_waits_for_itself(boss: Client, engine: ReArqClient) -> None:
    log = logged("send", "a")
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert post(boss, f"logs/{log.pk}/cancel/")[0] == 200
        assert post(boss, f"logs/{log.pk}/retry/")[0] == 201
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
