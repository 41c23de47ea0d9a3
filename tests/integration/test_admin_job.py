"""The admin's page of one job as a browser gets it, and what can be done there; with the real engine, and no worker."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.utils import timezone

from django_cfg_tasks import get_rearq_client, task
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.history.performance import LEAST, RECENT, usual
from django_cfg_tasks.jobs import AttemptOutcome, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder, upsert
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import schema
from tests.records import NOON, failure, queued, running, succeeded
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/tasks/tasklog/"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def engine(tasks_config: Callable[..., Any], transactional_db: None) -> Iterator[ReArqClient]:
    """The engine of this process, and tasks that are known as long as the test lasts."""
    tasks_config()
    with connection.cursor() as cursor:  # no models, so that the test database is not emptied of them
        for table in (schema.RESULTS, schema.JOBS, schema.TASKS):
            cursor.execute(f"DELETE FROM {table}")

    @task(name="send", mask=["secret"])
    def send(to: str, count: int = 1, secret: str = "") -> None: ...

    @task(name="private", log_args=False)
    def private(number: int) -> None: ...

    @task(name="once", unique=True)
    def once() -> None: ...

    yield get_rearq_client()
    for name in ("send", "private", "once"):
        tasks.remove(name)
    get_rearq_client().close()


@pytest.fixture
def boss(django_user_model: Any) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("boss"))
    return client


@pytest.fixture
def staff(django_user_model: Any) -> Callable[..., Client]:
    """Make clients of users with just these permissions."""

    def make(*codenames: str) -> Client:
        user = django_user_model.objects.create_user("-".join(codenames) or "nobody", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make


def url(job_id: str, act: str = "change") -> str:
    return f"{LIST}{TaskLog.objects.get(job_id=job_id).pk}/{act}/"


def page(client: Client, job_id: str, act: str = "change") -> str:
    answer = client.get(url(job_id, act))
    assert answer.status_code == 200
    return answer.content.decode()


def part(html: str, name: str) -> str:
    """Return the text of a part of the page, with tags left out."""
    start = html.index(f'data-dct-part="{name}"')
    text = re.sub(
        r"<title>.*?</title>|<[^>]+>", " ", html[start:].partition("data-dct-part")[2].partition("data-dct-part")[0]
    )
    return " ".join(text.split())


def logged(name: str, *args: Any, **kwargs: Any) -> TaskLog:
    """Enqueue a job, and return its row."""
    return row_of(tasks[name].enqueue(*args, **kwargs).job_id)


def row_of(job_id: str) -> TaskLog:
    assert recorder.flush(10)
    return wait_until(lambda: TaskLog.objects.filter(job_id=job_id).first(), "the job is in the log")


def done(client: Client, log: TaskLog, act: str) -> tuple[str, str]:
    """Press a button; return where it leads to, and what is said there last."""
    answer = client.post(f"{LIST}{log.pk}/{act}/")
    assert answer.status_code == 302, answer.content
    return answer["Location"], [str(message) for message in get_messages(answer.wsgi_request)][-1]


def broken(job_id: str = "broken", **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "task": "import_orders",
        "status": JobStatus.failed,
        "attempt": 2,
        "job_retries": 1,
        "owner": "host:1",
        "error_class": "ValueError",
        "error_message": "row 17: no price",
        "traceback": "Traceback (most recent call last):\n  …\nValueError: row 17: no price",
        "start_time": NOON + dt.timedelta(minutes=2),
        "finish_time": NOON + dt.timedelta(minutes=2, milliseconds=250),
        "attempts": [failure(1), failure(2, AttemptOutcome.failed)],
    }
    return queued(job_id, **fields | changes)


class TestPage:
    def test_a_failed_job(self, boss: Client) -> None:
        upsert([broken()])
        html = page(boss, "broken")
        assert "ValueError: row 17: no price" in part(html, "outcome")
        assert "Traceback (most recent call last)" in part(html, "outcome")
        assert "Failed after 2 attempts and 2 min" in part(html, "state")
        assert html.count("ConnectionError: mail server said 451</summary>") == 2
        assert "dct-badge-retried" in html
        assert "Paused before a retry: 59.8 s" in part(html, "attempts")
        for query in ("task_name=import_orders", "task_name=import_orders&amp;error_class=ValueError&amp;status=failed",
                      "queue_name=default", "worker_id=host%3A1"):  # fmt: skip
            assert f'href="{LIST}?{query}"' in html
        assert "data-dct-live" not in html

    def test_a_running_job(self, boss: Client) -> None:
        upsert([running("at-work", progress=0.4, progress_message="400 of 1,000")])
        html = page(boss, "at-work")
        assert 'max="1" value="0.400"' in html
        assert "40% 400 of 1,000" in part(html, "state")
        assert "In progress has been running for" in part(html, "state")
        assert f'data-dct-live="{url("at-work", "live")}" data-dct-every="2"' in html

    def test_data_that_may_be_shown(self, boss: Client) -> None:
        """Rows may be older than what their task says of them now."""
        upsert([succeeded("old", task="send", args=["a"], result={"password": "x", "sent": True})])
        TaskLog.objects.update(kwargs={"secret": "hunter2", "token": "t0ken"})
        html = page(boss, "old")
        assert "hunter2" not in html
        assert "t0ken" not in html
        assert "&quot;sent&quot;: true" in html
        assert "tasks[&quot;send&quot;].delay(&quot;a&quot;, " in html
        assert "secret=&quot;********&quot;" in html
        assert "Values shown as ******** are masked" in html

    def test_a_task_that_keeps_its_data_out(self, boss: Client) -> None:
        upsert([succeeded("kept", task="private", result="secret result")])
        TaskLog.objects.update(args=[4711], result="secret result")
        html = page(boss, "kept")
        assert "keeps its arguments and its result out of the history" in html
        assert "4711" not in html
        assert "secret result" not in html
        assert "delay(" not in html

    def test_a_task_that_is_gone(self, boss: Client) -> None:
        upsert([broken(task="gone")])
        html = page(boss, "broken")
        assert "This task is not declared any more." in html

    def test_a_user_with_a_link_for_those_who_may_see_users(
        self, boss: Client, staff: Callable[..., Client], django_user_model: Any
    ) -> None:
        ann = django_user_model.objects.create_user("ann")
        upsert([succeeded("fine", options={"user": ann.pk})])
        assert f'href="/admin/auth/user/{ann.pk}/change/"' in page(boss, "fine")
        html = page(staff("view_tasklog"), "fine")
        assert "User ann" in part(html, "facts")
        assert "/admin/auth/user/" not in html

    def test_a_user_who_is_gone(self, boss: Client) -> None:
        upsert([succeeded("fine")])
        TaskLog.objects.filter(job_id="fine").update(user_id=987_654)  # no constraint forbids it
        assert "User 987654 (deleted)" in part(page(boss, "fine"), "facts")

    def test_odd_data_shows(self, boss: Client) -> None:
        upsert([succeeded("fine")])
        TaskLog.objects.update(attempts=[{}, "text", {"start_time": "2025-99-99"}], args={"a": 1}, result=False)
        assert "false" in page(boss, "fine")
        TaskLog.objects.update(attempts={"no": "list"}, kwargs=[1], start_time=None, finish_time=None)
        assert page(boss, "fine")
        TaskLog.objects.update(status="unheard of")
        assert page(boss, "fine")

    def test_by_its_own_id(self, boss: Client) -> None:
        upsert([succeeded("cron:nightly/2025-10-30T00:00:00+00:00")])
        assert boss.get(f"{LIST}cron:nightly_2F2025-10-30T00:00:00+00:00/change/").status_code == 200
        answer = boss.get(f"{LIST}nobody/change/")
        assert answer.status_code == 302
        assert "Perhaps it was deleted" in next(str(message) for message in get_messages(answer.wsgi_request))
        assert boss.get(f"{LIST}nobody/live/").status_code == 404
        assert boss.get(f"{LIST}%00/live/").status_code == 404

    def test_related_jobs(self, boss: Client) -> None:
        upsert([broken(args=[1]), succeeded("again", args=[2], options={"retry_of": "broken"}),
                broken("alike", args=[1]), broken("other", args=[3])])  # fmt: skip
        html = page(boss, "broken")
        related = html[html.index("Related jobs") :]
        assert "runs this one again" in related
        assert "has the same arguments" in related
        assert ">other<" not in related
        html = page(boss, "again")
        assert f'href="{LIST}broken/change/"' in html
        assert "is run again by this one" in html

    def test_its_queries(self, boss: Client, django_assert_max_num_queries: Any) -> None:
        upsert([broken(attempts=[failure(number) for number in range(1, 300)]), *(broken(f"b{n}") for n in range(60))])
        page(boss, "broken")  # content types are asked for once in a process
        path, live_path = url("broken"), url("broken", "live")
        with django_assert_max_num_queries(5):
            html = boss.get(path).content.decode()
        assert "99 earlier attempts are not listed" in part(html, "attempts")
        with django_assert_max_num_queries(4):
            boss.get(live_path)

    def test_nothing_that_a_strict_policy_forbids(self, boss: Client) -> None:
        upsert([broken(), running("at-work", progress=0.5)])
        for job_id in ("broken", "at-work"):
            html = page(boss, job_id)
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)

    def test_numbers_in_attributes_are_the_same_in_every_language(self, boss: Client, settings: Any) -> None:
        settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
        upsert([running("at-work", progress=0.5)])
        html = page(boss, "at-work")
        assert 'value="0.500"' in html
        assert not re.search(r'(?:x|width)="\d+,', html)

    def test_without_its_own_database(self, boss: Client, tasks_config: Callable[..., Any]) -> None:
        tasks_config(rearq={"db_url": "postgres://nobody@127.0.0.1:1/jobs"})
        upsert([broken(task="send")])
        html = page(boss, "broken")
        assert "row 17" in html
        assert "Retry" in part(html, "acts")


def test_data_is_inert(boss: Client) -> None:
    attempt = failure(1)
    attempt.worker = attempt.error_class = attempt.error_message = attempt.traceback = EVIL
    everything = {
        "task": EVIL, "queue": EVIL, "args": [EVIL], "kwargs": {EVIL: EVIL}, "owner": EVIL, "error_class": EVIL,
        "error_message": EVIL, "traceback": EVIL, "attempts": [attempt], "progress": 0.5, "progress_message": EVIL,
        "options": {"retry_of": EVIL},
    }  # fmt: skip
    upsert([succeeded(EVIL, **everything, result={"r": EVIL}), running("r", **everything), broken("b", **everything)])
    TaskLog.objects.filter(job_id="b").update(
        attempts=[{"attempt": EVIL, "outcome": EVIL, "start_time": NOON.isoformat(), "error_class": EVIL}]
    )
    for job_id in (EVIL, "r", "b"):
        for act in ("change", "live"):
            html = page(boss, job_id, act)
            assert "<img" not in html
            assert "&lt;img src=x" in html


class TestPerformance:
    def test_beside_the_median(self, boss: Client) -> None:
        upsert([succeeded(f"job-{n}", finish_time=NOON + dt.timedelta(seconds=2)) for n in range(LEAST)])
        upsert([succeeded("slow", finish_time=NOON + dt.timedelta(seconds=11))])
        words = part(page(boss, "slow"), "pace")
        assert (
            "Run: 10.0 s , 10 \N{MULTIPLICATION SIGN} the median of 1.0 s; slower than 95 % of them (1.0 s) (5 jobs)"
            in words
        )
        assert "Wait: 1.0 s , about the median of 1.0 s" in words

    def test_too_few_say_nothing(self, boss: Client) -> None:
        upsert([succeeded(f"job-{n}") for n in range(LEAST)])
        assert usual(TaskLog.objects.get(job_id="job-0")).run is None
        assert "nothing to compare" in part(page(boss, "job-0"), "pace")

    def test_only_those_that_ended_well_at_once_and_the_newest(self) -> None:
        def made(n: int, seconds: float, age: int, **changes: Any) -> Any:
            enqueued = NOON - dt.timedelta(minutes=age)
            fields: dict[str, Any] = {
                "enqueue_time": enqueued,
                "start_time": enqueued + dt.timedelta(seconds=seconds),
                "finish_time": enqueued + dt.timedelta(seconds=2 * seconds),
            }
            return succeeded(f"job-{n}-{age}", **fields | changes)

        upsert([made(n, 50, 10) for n in range(20)])
        upsert([made(n, 1, 5) for n in range(RECENT - 20)])
        upsert([made(n, 99, 1, status=JobStatus.failed, job_retries=1) for n in range(20)])
        upsert([succeeded("this"), *(succeeded(f"other-{n}", task="other") for n in range(30))])
        found = usual(TaskLog.objects.get(job_id="this"))
        assert found.run is not None
        assert found.wait is not None
        assert (found.run.jobs, found.run.median, found.run.p95) == (RECENT - 20, 1_000, 1_000)
        assert (found.wait.jobs, found.wait.median, found.wait.p95) == (RECENT - 20, 1_000, 1_000)

    def test_one_query_by_the_index(self, django_assert_num_queries: Any) -> None:
        upsert([succeeded(f"job-{n}") for n in range(10)])
        log = TaskLog.objects.get(job_id="job-0")
        with django_assert_num_queries(1) as asked:
            usual(log)
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN QUERY PLAN " + asked.captured_queries[0]["sql"])
                assert "cfg_task_log_task_enqueued" in str(cursor.fetchall())


class TestLive:
    def test_parts_follow_the_job_until_its_end(self, boss: Client) -> None:
        upsert([running("at-work", progress=0.4)])
        html = page(boss, "at-work", "live")
        assert re.findall('data-dct-part="(.*?)"', html) == ["state", "acts", "outcome", "attempts", "facts", "pace"]
        assert set(re.findall('data-dct-part="(.*?)"', page(boss, "at-work"))) == {
            "state", "acts", "outcome", "attempts", "facts", "pace",
        }  # fmt: skip
        assert "data-dct-done" not in html
        assert "<html" not in html
        upsert([succeeded("at-work")])
        html = page(boss, "at-work", "live")
        assert "data-dct-done" in html
        assert "sent" in part(html, "outcome")

    def test_a_run_that_was_canceled_may_still_tell_of_its_end(self, boss: Client) -> None:
        upsert([running("at-work")])
        TaskLog.objects.update(status="canceled", success=False)
        assert "data-dct-done" not in page(boss, "at-work", "live")
        TaskLog.objects.update(updated_at=timezone.now() - dt.timedelta(minutes=5))
        assert "data-dct-done" in page(boss, "at-work", "live")

    def test_the_end_of_a_run_that_only_its_attempt_knows(self, boss: Client) -> None:
        upsert([succeeded("at-work", status=JobStatus.canceled, result=None)])
        TaskLog.objects.update(finish_time=None, duration_ms=None)
        html = page(boss, "at-work", "live")
        assert "data-dct-done" in html
        assert "Canceled after 1 attempt and 2.5 s" in part(html, "state")
        assert "Finished 2025-10-30 12:00:02.500" in part(html, "facts")

    def test_buttons_stay_as_they_are(self, boss: Client) -> None:
        """A button that is replaced between a press and its release does nothing."""
        log = logged("send", "a")
        first, second = (page(boss, log.job_id, "live") for _ in range(2))
        acts = [
            html[html.index('data-dct-part="acts"') : html.index('data-dct-part="outcome"')] for html in (first, second)
        ]
        assert "Cancel" in acts[0]
        assert acts[0] == acts[1]

    def test_when_a_deferred_job_is_due(self, boss: Client) -> None:
        log = row_of(tasks["send"].using(countdown=3_000).enqueue("a").job_id)
        html = page(boss, log.job_id)
        assert re.search("Deferred is due at .* in (49 min 5\\d s|50 min)", part(html, "state"))
        assert "Deferred" in part(html, "attempts")
        assert "Due 20" in part(html, "facts")


class TestPermissions:
    def test_a_posted_change_is_refused(self, boss: Client) -> None:
        upsert([succeeded("fine")])
        assert boss.post(url("fine"), {"task_name": "other", "status": "failed"}).status_code == 403
        assert TaskLog.objects.get(job_id="fine").task_name == "send_email"

    @pytest.mark.parametrize(
        ("codenames", "shown"),
        [
            (["view_tasklog"], set()), (["view_tasklog", "retry_tasklog"], {"retry"}),
            (["view_tasklog", "cancel_tasklog"], {"cancel"}),
            (["view_tasklog", "run_tasklog", "manage_tasklog"], set()),
        ],
    )  # fmt: skip
    def test_buttons_and_addresses(
        self, staff: Callable[..., Client], engine: ReArqClient, codenames: list[str], shown: set[str]
    ) -> None:
        ended, waits = logged("send", "a"), logged("send", "b")
        engine.cancel(ended.job_id)
        assert recorder.flush(10)
        client = staff(*codenames)
        for log, act in ((ended, "retry"), (waits, "cancel")):
            html = page(client, log.job_id)
            assert (f'formaction="{LIST}{log.pk}/{act}/"' in html) == (act in shown)
            assert client.post(f"{LIST}{log.pk}/{act}/").status_code == (302 if act in shown else 403)
        assert len(acts()) == len(shown)

    def test_who_may_not_view_may_do_nothing(self, staff: Callable[..., Client]) -> None:
        log = logged("send", "a")
        client = staff("retry_tasklog", "cancel_tasklog")
        for act in ("change", "live"):
            assert client.get(f"{LIST}{log.pk}/{act}/").status_code == 403
        for act in ("retry", "cancel"):
            assert client.post(f"{LIST}{log.pk}/{act}/").status_code == 403
        assert acts() == []

    def test_acts_are_posts_with_a_token(self, boss: Client) -> None:
        log = logged("send", "a")
        for act in ("retry", "cancel"):
            assert boss.get(f"{LIST}{log.pk}/{act}/").status_code == 405
        careful = Client(enforce_csrf_checks=True)
        careful.cookies = boss.cookies
        assert careful.post(f"{LIST}{log.pk}/cancel/").status_code == 403
        token = re.search('id="dct-act" method="post"><input type="hidden" name="csrfmiddlewaretoken" value="(.*?)"',
                          careful.get(f"{LIST}{log.pk}/change/").content.decode())  # fmt: skip
        assert token is not None
        answer = careful.post(f"{LIST}{log.pk}/cancel/", {"csrfmiddlewaretoken": token[1]})
        assert answer.status_code == 302

    def test_others_are_sent_to_the_login(self, client: Client) -> None:
        log = logged("send", "a")
        for act in ("change", "live"):
            assert "/admin/login/" in client.get(f"{LIST}{log.pk}/{act}/")["Location"]
        assert "/admin/login/" in client.post(f"{LIST}{log.pk}/cancel/")["Location"]
        assert acts() == []


def acts() -> list[tuple[str, str]]:
    return list(LogEntry.objects.order_by("id").values_list("object_repr", "change_message"))


class TestRetry:
    def test_leads_to_the_new_job(self, boss: Client, engine: ReArqClient) -> None:
        log = logged("send", "a", 2, secret="hunter2")
        engine.cancel(log.job_id)
        assert recorder.flush(10)
        location, said = done(boss, log, "retry")
        new = TaskLog.objects.get(retry_of=log.job_id)
        assert location == f"{LIST}{new.pk}/change/"
        assert said == f'This new job runs <a href="{LIST}{log.pk}/change/">{log.job_id}</a> again.'
        record = engine.load([new.job_id])[new.job_id]
        assert (record.args, record.kwargs) == (["a", 2], {"secret": "hunter2"})
        assert acts() == [(f"Job {log.job_id}", f"run again as {new.job_id}")]
        assert new.job_id in page(boss, log.job_id, "history")
        assert log.job_id in part(page(boss, new.job_id), "facts")

    def test_the_link_in_the_message_is_one_and_hostile_ids_are_not(self, boss: Client, engine: ReArqClient) -> None:
        log = row_of(tasks["send"].using(job_id=EVIL).enqueue("a").job_id)
        engine.cancel(log.job_id)
        assert recorder.flush(10)
        html = boss.post(f"{LIST}{log.pk}/retry/", follow=True).content.decode()
        assert f'This new job runs <a href="{LIST}{log.pk}/change/">&lt;img' in html
        assert "<img" not in html

    def test_why_not(self, boss: Client, engine: ReArqClient) -> None:
        waits, gone, once = logged("send", "a"), logged("private", 1), logged("once")
        assert done(boss, waits, "retry") == (
            f"{LIST}{waits.pk}/change/", "The job is queued: only one that has ended can be run again.",
        )  # fmt: skip
        for log in (gone, once):
            engine.cancel(log.job_id)
        engine.disable("private")
        assert "is disabled" in done(boss, gone, "retry")[1]
        tasks.remove("private")
        assert "is not declared any more" in done(boss, gone, "retry")[1]
        assert recorder.flush(10)
        assert "is not declared any more" in part(page(boss, gone.job_id), "acts")
        assert done(boss, once, "retry")[0] != f"{LIST}{once.pk}/change/"
        assert "an equal job is not done" in done(boss, once, "retry")[1]
        assert len(acts()) == 1

        @task(name="private", log_args=False)
        def private(number: int) -> None: ...

    def test_only_the_history_is_left(self, boss: Client) -> None:
        upsert([broken(task="send"), queued("waits", task="send")])
        for job_id, act in (("broken", "retry"), ("waits", "cancel")):
            html = page(boss, job_id)
            assert "Only the history of this job is left" in part(html, "acts")
            assert "formaction" not in html
            location, said = done(boss, TaskLog.objects.get(job_id=job_id), act)
            assert location == url(job_id)
            assert "was deleted" in said
        assert boss.post(f"{LIST}nobody/retry/").status_code == 302

    def test_a_history_that_lags_behind_is_not_waited_for(
        self, boss: Client, engine: ReArqClient, monkeypatch: Any
    ) -> None:
        log = logged("send", "a")
        engine.cancel(log.job_id)
        assert recorder.flush(10)
        monkeypatch.setattr("django_cfg_tasks.admin.base.SECONDS_FOR_HISTORY", 0.1)
        with recorder._at_work:  # it can write nothing
            location, said = done(boss, log, "retry")
        assert location == f"{LIST}{log.pk}/change/"
        assert "of which the history does not know yet" in said
        assert recorder.flush(10)


class TestCancel:
    def test_once(self, boss: Client, engine: ReArqClient) -> None:
        log = logged("send", "a")
        assert done(boss, log, "cancel") == (f"{LIST}{log.pk}/change/", "The job is canceled.")
        assert engine.load([log.job_id])[log.job_id].status == "canceled"
        html = page(boss, log.job_id)
        assert "Canceled before its first run" in part(html, "state")
        assert "/retry/" in html
        assert done(boss, log, "cancel")[1] == "The job has ended already: canceled."
        assert acts() == [(f"Job {log.job_id}", "canceled")]

    def test_one_that_runs(self, boss: Client, engine: ReArqClient) -> None:
        log = logged("send", "a")
        engine.call(engine.store.claim([log.job_id], "host:1"), instead="")
        assert done(boss, log, "cancel")[1] == "The job is canceled; its worker is told to stop it."


@pytest.mark.parametrize("act", ["retry", "cancel"])
def test_while_sql_is_away(boss: Client, tasks_config: Callable[..., Any], act: str) -> None:
    tasks_config(rearq={"db_url": "postgres://nobody@127.0.0.1:1/jobs"})
    upsert([broken("some", task="send")])
    location, said = done(boss, TaskLog.objects.get(), act)
    assert location == url("some")
    assert said.startswith("Nothing was done.")
    assert acts() == []


def test_while_redis_is_away(boss: Client, engine: ReArqClient, redis_server: Any) -> None:
    """What is asked for is kept in SQL, and done once Redis is back."""
    log = logged("send", "a")
    redis_server.stop()
    assert done(boss, log, "cancel")[1] == "The job is canceled."
    assert done(boss, log, "retry")[1].startswith("This new job runs")


def test_inside_atomic_requests_nothing_waits_for_itself(boss: Client) -> None:
    log = logged("send", "a")
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert done(boss, log, "cancel")[1] == "The job is canceled."
        assert done(boss, log, "retry")[1].startswith("This new job runs")
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_another_admin_site_keeps_to_its_own_pages() -> None:
    site = admin.AdminSite(name="tasks-only")
    pages = type(admin.site._registry[TaskLog])(TaskLog, site)
    names = {pattern.name for pattern in pages.get_urls()}
    assert {"tasks_tasklog_retry", "tasks_tasklog_cancel", "tasks_tasklog_live", "tasks_tasklog_change"} <= names
