"""The dashboard as a browser gets it, with the real engine, and with real workers where they are to be seen."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.utils import timezone

from django_cfg_tasks import cron_task, get_rearq_client, health, live, task
from django_cfg_tasks.admin.dashboard import overview, sections
from django_cfg_tasks.admin.display import NOTHING
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder, upsert
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import schema
from tests.project import TaskProject
from tests.records import failure, queued, running, succeeded
from tests.redis_server import RedisServer
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/tasks/dashboard/"
PATHS = (PAGE, f"{PAGE}now/", f"{PAGE}past/")
EVIL = "<img src=x onerror=alert(1)>"
NAMES = ("send", "nightly", EVIL)


@pytest.fixture(autouse=True)
def engine(tasks_config: Callable[..., Any], transactional_db: None) -> Iterator[ReArqClient]:
    """The engine of this process, and tasks that are known as long as the test lasts."""
    tasks_config()
    overview.forget()
    with connection.cursor() as cursor:  # no models, so that the test database is not emptied of them
        for table in (schema.RESULTS, schema.JOBS, schema.TASKS):
            cursor.execute(f"DELETE FROM {table}")

    @task(name="send", queue="mail")
    def send(to: str) -> None: ...

    @task(name=EVIL)
    def evil() -> None: ...

    @cron_task("0 4 * * *", name="nightly")
    def nightly() -> None: ...

    yield get_rearq_client()
    for name in NAMES:
        tasks.remove(name)
    get_rearq_client().close()
    overview.forget()


@pytest.fixture
def staff_with(django_user_model: Any) -> Callable[..., Client]:
    """Log a member of staff in who has these permissions."""

    def log_in(*codenames: str) -> Client:
        user = django_user_model.objects.create_user(f"staff-{'-'.join(codenames)}", is_staff=True)
        user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def boss(admin_client: Client) -> Client:
    return admin_client


def shown(client: Client, path: str = PAGE, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return answer.content.decode()


def text(page: str) -> str:
    """What is to be read."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def section(page: str, part: str) -> str:
    """The section that is replaced under this name."""
    return re.split(r'<(?:section|ul|div)[^>]* data-dct-part="', page.split(f'data-dct-part="{part}"', 1)[1])[0]


def row(page: str, part: str, name: str) -> str:
    """What the line of a table says."""
    [found] = [line for line in section(page, part).split("<tr")[1:] if name in text("<tr" + line)]
    return text("<tr" + found.split("</tr>")[0])


def links(page: str, part: str) -> list[str]:
    return [html.unescape(url) for url in re.findall(r'<a[^>]* href="([^"]*)"', section(page, part))]


def ago(minutes: float) -> dt.datetime:
    return timezone.now() - dt.timedelta(minutes=minutes)


def failed(job_id: str, minutes: float = 5, **changes: Any) -> JobRecord:
    fields: dict[str, Any] = {
        "status": JobStatus.failed,
        "enqueue_time": ago(minutes),
        "start_time": ago(minutes),
        "finish_time": ago(minutes - 1),
        "error_class": "ConnectionError",
        "error_message": f"Mail server said 451 to {job_id}",
        "attempts": [failure(1)],
    }
    return queued(job_id, **fields | changes)


def done(job_id: str, minutes: float = 5, **changes: Any) -> JobRecord:
    return succeeded(
        job_id, enqueue_time=ago(minutes), start_time=ago(minutes), finish_time=ago(minutes - 1), attempts=[], **changes
    )


class TestPage:
    def test_it_is_found_from_the_admin_s_index(self, boss: Client, staff_with: Callable[..., Client]) -> None:
        assert f'href="{PAGE}"' in shown(boss, "/admin/")
        assert re.search(rf'<ul class="object-tools[^>]*>\s*<li><a href="{PAGE}"', shown(boss, "/admin/tasks/tasklog/"))
        assert f'href="{PAGE}"' not in shown(staff_with(), "/admin/")

    def test_jobs_that_wait(self, boss: Client) -> None:
        tasks["send"].enqueue_many([("a",), ("b",)])
        tasks["send"].using(countdown=600).enqueue("c")
        assert recorder.flush(10)
        page = shown(boss)
        assert re.search(r"Waiting 2 Waiting the oldest for [\d.]+ m?s · 1 deferred", text(section(page, "cards-now")))
        assert "Running 0" in text(section(page, "cards-now"))
        assert re.search(r"mail 2 [\d.]+ m?s 0 1 0 none", row(page, "queues", "mail"))
        assert "No worker is alive: jobs wait." in text(section(page, "state"))
        assert "None has been seen" in text(section(page, "workers"))
        assert f"send mail 3 0.1 {NOTHING} {NOTHING} {NOTHING} 3 Disable" in row(page, "tasks", "send")

    def test_how_the_range_went(self, boss: Client) -> None:
        upsert(
            [
                *(done(f"good-{n}", task="send") for n in range(7)),
                *(failed(f"bad-{n}", task="send", queue="mail") for n in range(2)),
                failed("gone", 30, task="retired", error_class="KeyError", error_message="a\nb " * 200),
                queued("no", task="send", status=JobStatus.canceled, enqueue_time=ago(4)),
                failed("old", 60 * 30, task="older"),
            ]
        )
        page = shown(boss)
        cards = text(section(page, "cards-past"))
        assert "Success rate 63.6% of 11 jobs that ended" in cards
        assert "Failures 3 Failures 27.3%" in cards
        assert "Run time, p95 1 min median 1 min" in cards
        assert "Failed 3 Succeeded 7 Canceled or expired 1 Not ended 0" in text(section(page, "chart"))
        assert row(page, "tasks", "send").startswith(" send mail 10 0.4 20.0% failed jobs of send 1 min 1 min 0")
        assert f"retired {NOTHING} 1 < 0.1 100% failed jobs of retired" in row(page, "tasks", "retired")
        assert "not declared any more" in row(page, "tasks", "retired")
        assert "older" not in text(page)
        assert "older" in text(section(shown(boss, range="7d"), "tasks"))
        assert "gone" not in text(shown(boss, range="1h").replace("KeyError", ""))

    def test_failures_lead_to_their_rows(self, boss: Client) -> None:
        upsert(
            [*(failed(f"bad-{n}", 5 + n, task="send") for n in range(3)), failed("odd", error_class="", task="send")]
        )
        page = shown(boss)
        line = row(page, "failures", "ConnectionError")
        assert re.search(r"3 failed jobs of send: ConnectionError send ConnectionError Mail server said 451", line)
        queries = [parse_qs(urlsplit(url).query) for url in links(page, "failures")]
        [edge] = {query.pop("start_time")[0] for query in queries}
        assert dt.datetime.fromisoformat(edge) <= ago(23 * 60)
        assert queries == [
            {"status": ["failed"], "task_name": ["send"], "error_class": ["ConnectionError"]},
            {"status": ["failed"], "task_name": ["send"]},
        ]

    def test_bars_lead_to_their_time_and_say_their_numbers(self, boss: Client) -> None:
        upsert([failed("bad", 90, task="send"), done("good", 90)])
        log = TaskLog.objects.get(job_id="bad")
        page = section(shown(boss), "chart")
        [title] = [one for one in re.findall(r"<title>([^<]*)</title>", page) if "Failed" in one]
        assert re.fullmatch(rf"\d\d:[03]0 {NOTHING} \d\d:[03]0 UTC\nFailed: 1\nSucceeded: 1", title)
        column = next(one for one in page.split("<a ") if title in one)
        query = parse_qs(urlsplit(html.unescape(re.search(r'href="([^"]*)"', column)[1])).query)  # type: ignore[index]
        start, end = (dt.datetime.fromisoformat(query[name][0]) for name in ("start_time", "end_time"))
        assert start <= log.enqueue_time <= end
        assert end - start == dt.timedelta(minutes=30, microseconds=-1)
        assert page.count("<title>") == 48
        [line] = re.findall(r"<tbody>(.*)</tbody>", page, re.DOTALL)
        assert text(line).split()[-5:] == ["2", "1", "1", "0", "0"]

    def test_ranges(self, boss: Client) -> None:
        for key, name, bars in (
            ("1h", "hour", 60),
            ("6h", "6 hours", 72),
            ("24h", "24 hours", 48),
            ("7d", "7 days", 56),
        ):
            page = shown(boss, range=key)
            assert f"Jobs enqueued in the last {name}" in text(page)
            assert page.count("<title>") - 1 == bars
            assert re.search(rf'href="{PAGE}\?range={key}" aria-current="page"', page)
            assert f'data-dct-live="{PAGE}past/?range={key}"' in page
        assert "the last 24 hours" in text(shown(boss, range="9y"))

    def test_schedules(self, boss: Client, engine: ReArqClient) -> None:
        line = row(shown(boss), "schedules", "nightly")
        assert re.search(
            r"nightly At 04:00 0 4 \* \* \* UTC [\d :-]*04:00:00 never Pause nightly Run now nightly", line
        )
        engine.pause("nightly")
        overview.forget()
        page = shown(boss)
        assert "paused never Resume nightly Run now nightly" in row(page, "schedules", "nightly")
        assert "Paused schedules: nightly." in text(section(page, "state"))

    def test_a_queue_that_no_task_declares_any_more(self, boss: Client, engine: ReArqClient) -> None:
        tasks["send"].using(queue="retired").enqueue("a")
        assert re.search(r"retired 1 [\d.]+ m?s 0 0 0 none", row(shown(boss), "queues", "retired"))

    def test_switched_off_altogether(self, boss: Client, tasks_config: Callable[..., Any]) -> None:
        tasks_config(enabled=False)
        overview.forget()
        assert "Tasks are switched off." in text(section(shown(boss), "state"))

    def test_it_is_live_without_script_in_the_page(self, boss: Client) -> None:
        upsert([failed("bad", task="send"), running("r", task="send")])
        page = shown(boss)
        assert f'data-dct-live="{PAGE}now/" data-dct-every="3"' in page
        whole = set(re.findall(r'data-dct-part="([^"]*)"', page))
        parts = [set(re.findall(r'data-dct-part="([^"]*)"', shown(boss, path))) for path in PATHS[1:]]
        assert parts[0] | parts[1] == whole
        assert parts[0] & parts[1] == set()
        for path in PATHS:
            content = shown(boss, path).split('id="content-main"')[-1].split("</main>")[0]
            assert not re.search(r"<script|<style|javascript:|\son\w+\s*=\s*[\"']|\sstyle\s*=", content)

    def test_numbers_of_drawings_stay_those_of_svg(self, boss: Client, settings: Any) -> None:
        settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
        upsert([failed("bad", task="send"), done("good"), done("better")])
        chart = section(shown(boss), "chart")
        numbers = re.findall(r'\s(?:x|y|x1|x2|y1|y2|width|height)="([^"]*)"', chart)
        assert len(numbers) > 100
        assert [number for number in numbers if not re.fullmatch(r"\d+(\.\d+)?", number)] == []
        assert 'viewBox="0 0 480 200"' in chart
        assert "33,3%" in text(shown(boss))

    @pytest.mark.parametrize("count", [3, 60])
    def test_it_asks_little(
        self, staff_with: Callable[..., Client], django_assert_max_num_queries: Any, count: int
    ) -> None:
        client = staff_with("view_tasklog")
        upsert([failed(f"bad-{n}", n % 7, task=f"task-{n}", owner=f"host:{n}") for n in range(count)])
        upsert([running(f"run-{n}", task=f"task-{n}", owner=f"host:{n}") for n in range(count)])
        with django_assert_max_num_queries(13):  # with the beginning and the end of a transaction
            shown(client)
        with django_assert_max_num_queries(4):  # who asks, and what they may do
            shown(client, f"{PAGE}past/")

    def test_what_many_ask_for_is_summed_up_once(self, boss: Client, django_assert_num_queries: Any) -> None:
        shown(boss)
        with django_assert_num_queries(2):
            for _ in range(1):
                shown(boss, f"{PAGE}past/")


class TestActs:
    def test_a_schedule(self, boss: Client, engine: ReArqClient) -> None:
        def paused() -> bool:
            overview.forget()
            return "paused" in row(shown(boss), "schedules", "nightly")

        assert "is paused" in act(boss, "pause", "nightly")
        assert paused()
        assert "A job of nightly is enqueued: " in act(boss, "run", "nightly")
        assert "is resumed" in act(boss, "resume", "nightly")
        assert not paused()
        [job] = engine.read_records(0, 10)
        assert (job.task, job.options["user"]) == ("nightly", admin_pk())
        assert done_acts() == [
            ("Schedule of nightly", "paused"),
            ("Schedule of nightly", f"run as {job.job_id}"),
            ("Schedule of nightly", "resumed"),
        ]

    def test_a_task(self, boss: Client, engine: ReArqClient) -> None:
        assert "is disabled" in act(boss, "disable", "send")
        assert engine.disabled() == {"send"}
        page = shown(boss)
        assert "disabled Enable send" in row(page, "tasks", "send")
        assert "Disabled tasks: send." in text(section(page, "state"))
        assert "is enabled" in act(boss, "enable", "send")
        assert engine.disabled() == set()
        assert done_acts() == [("Task send", "disabled"), ("Task send", "enabled")]

    def test_the_page_does_not_show_what_was_before(self, boss: Client) -> None:
        shown(boss)
        answer = boss.post(f"{PAGE}act/pause/", {"name": "nightly", "range": "6h"})
        assert (answer.status_code, answer["Location"]) == (302, f"{PAGE}?range=6h")
        assert "Resume nightly" in row(shown(boss), "schedules", "nightly")

    @pytest.mark.parametrize(
        ("name", "posted", "reason"),
        [
            ("pause", "nobody", "No task is called 'nobody'."),
            ("pause", "send", "The task 'send' has no schedule"),
            ("run", "send", "The task 'send' has no schedule."),
            ("run", "", "No task is called ''."),
            ("disable", EVIL[1:], "No task is called"),
            ("disable", "django_cfg_tasks.bulk", "No task is called"),
        ],
    )
    def test_what_can_not_be_done_is_said(self, boss: Client, name: str, posted: str, reason: str) -> None:
        assert reason in act(boss, name, posted)
        assert done_acts() == []

    def test_one_whose_task_is_disabled_is_not_run(self, boss: Client, engine: ReArqClient) -> None:
        engine.disable("nightly")
        assert "is disabled" in act(boss, "run", "nightly")
        assert engine.read_records(0, 10) == []

    @pytest.mark.parametrize("name", ["pause", "resume", "run", "enable", "disable"])
    def test_who_may_and_how(self, staff_with: Callable[..., Client], name: str) -> None:
        needed = "run_tasklog" if name == "run" else "manage_tasklog"
        others = {"view_tasklog", "retry_tasklog", "cancel_tasklog", "run_tasklog", "manage_tasklog"} - {needed}
        path = f"{PAGE}act/{name}/"
        assert staff_with(*sorted(others)).post(path, {"name": "nightly"}).status_code == 403
        assert staff_with(needed).post(path, {"name": "nightly"}).status_code == 403  # may not see the page
        may = staff_with("view_tasklog", needed)
        assert may.get(path).status_code == 405
        assert may.post(path, {"name": "nightly"}).status_code == 302
        assert Client().post(path, {"name": "nightly"})["Location"].startswith("/admin/login/")
        assert len(done_acts()) == 1

    def test_unknown_acts_and_forged_requests(self, boss: Client) -> None:
        assert boss.post(f"{PAGE}act/drop/").status_code == 404
        boss.handler.enforce_csrf_checks = True
        assert boss.post(f"{PAGE}act/pause/", {"name": "nightly"}).status_code == 403
        assert done_acts() == []

    @pytest.mark.parametrize(
        ("codename", "buttons"),
        [
            ("retry_tasklog", set()),
            ("run_tasklog", {"run"}),
            ("manage_tasklog", {"pause", "disable"}),
        ],
    )
    def test_buttons_for_those_who_may(
        self, staff_with: Callable[..., Client], codename: str, buttons: set[str]
    ) -> None:
        client = staff_with("view_tasklog", codename)
        for page in (shown(client), shown(client, PATHS[1]) + shown(client, PATHS[2])):
            assert set(re.findall(rf'formaction="{PAGE}act/(\w+)/"', page)) == buttons

    def test_they_are_in_no_transaction(self, boss: Client, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        assert "is enqueued" in act(boss, "run", "nightly")
        assert shown(boss)


def act(client: Client, name: str, subject: str) -> str:
    """Do it, and return the message on the page that follows."""
    answer = client.post(f"{PAGE}act/{name}/", {"name": subject}, follow=True)
    assert answer.status_code == 200
    [said] = re.findall(r'<ul class="messagelist">(.*?)</ul>', answer.content.decode(), re.DOTALL)
    return text(said)


def done_acts() -> list[tuple[str, str]]:
    return list(LogEntry.objects.order_by("id").values_list("object_repr", "change_message"))


def admin_pk() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get(username="admin").pk


class TestPermissions:
    @pytest.mark.parametrize("path", PATHS)
    def test_all_of_it_is_for_those_who_may_view(self, staff_with: Callable[..., Client], path: str) -> None:
        assert staff_with("manage_tasklog", "run_tasklog").get(path).status_code == 403
        assert staff_with("view_tasklog").get(path).status_code == 200
        assert Client().get(path).status_code == 302


class TestData:
    def test_is_inert(self, boss: Client, engine: ReArqClient) -> None:
        tasks[EVIL].enqueue()
        upsert(
            [
                failed("bad", task=EVIL, queue=EVIL, error_class=EVIL, error_message=EVIL),
                running("r", task=EVIL, queue=EVIL, progress=0.5, progress_message=EVIL),
            ]
        )
        engine.disable(EVIL)
        for path in PATHS:
            page = shown(boss, path)
            assert EVIL not in page
            assert "&lt;img src=x onerror=alert(1)&gt;" in page
        assert EVIL in act(boss, "enable", EVIL)
        answer = boss.post(f"{PAGE}act/enable/", {"name": EVIL + EVIL}, follow=True).content.decode()
        assert EVIL not in answer


class TestOutages:
    def test_redis_is_away(self, boss: Client, redis_server: RedisServer) -> None:
        tasks["send"].enqueue("a")
        upsert([failed("bad", task="send")])
        redis_server.stop()
        page = shown(boss)
        assert "Redis can't be asked. Jobs are accepted, and wait." in text(section(page, "state"))
        assert "Unknown as long as Redis" in text(section(page, "queues"))
        assert "Unknown as long as Redis" in text(section(page, "workers"))
        assert "Waiting 1" in text(section(page, "cards-now"))  # by SQL
        assert "Pause" in row(page, "schedules", "nightly")
        assert "Disable" in row(page, "tasks", "send")
        assert "ConnectionError" in row(page, "failures", "send")
        assert "is paused" in act(boss, "pause", "nightly")
        assert "is enqueued" in act(boss, "run", "nightly")

    def test_redis_does_not_answer(
        self, boss: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (health, live):
            monkeypatch.setattr(module, "PATIENCE", 0.3)
        redis_server.pause()
        page = shown(boss)
        assert "Redis can't be asked." in text(section(page, "state"))
        assert "Pause" in row(page, "schedules", "nightly")

    def test_the_jobs_database_is_away(self, boss: Client, tasks_config: Callable[..., Any]) -> None:
        tasks_config(rearq={"db_url": "postgres://nobody:secret@127.0.0.1:1/nothing"})
        overview.forget()
        upsert([failed("bad", task="send")])
        page = shown(boss)
        assert "The jobs' database can't be asked. Nothing is accepted." in text(section(page, "state"))
        assert "secret" not in page
        assert "Unknown as long as SQL" in text(section(page, "schedules"))
        assert "unknown" in row(page, "tasks", "send")
        assert "ConnectionError" in row(page, "failures", "send")
        for name in ("pause", "run", "disable"):
            assert "The database that holds the jobs (postgresql://127.0.0.1/nothing) can't be used now" in act(
                boss, name, "nightly"
            )
        assert done_acts() == []

    def test_a_configuration_that_can_not_be_used(
        self, boss: Client, tasks_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.dummy")
        tasks_config()
        overview.forget()
        upsert([failed("bad", task="send")])
        page = shown(boss)
        assert "The configuration can't be used. DATABASES['default'] uses django.db.backends.dummy" in text(
            section(page, "state")
        )
        assert "ConnectionError" in row(page, "failures", "send")
        assert "which can't hold jobs" in act(boss, "pause", "nightly")

    def test_the_task_log_can_not_be_read(self, boss: Client) -> None:
        table = TaskLog._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME TO kept")
        try:
            page = shown(boss)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE kept RENAME TO {table}")
        assert "The history is not complete." in text(section(page, "state"))
        assert "The task log can't be read" in text(section(page, "chart"))
        assert "Pause" in row(page, "schedules", "nightly")


TASKS = """\
import asyncio
from django_cfg_tasks import cron_task, task

@task(queue="slow", bind=True)
async def report(ctx, seconds: float):
    ctx.progress(0.25, "a quarter")
    await asyncio.sleep(seconds)

@cron_task("* * * * * *")
async def beat(): ...
"""

ASK = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
user, _ = User.objects.get_or_create(username="boss", is_superuser=True, is_staff=True)
client.force_login(user)
answer = client.get("/admin/tasks/dashboard/")
assert answer.status_code == 200, answer
emit(answer.content.decode())
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_workers_and_what_they_run(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database, rearq={"lease": 2})
    worker = project.worker("--with-timer")
    worker.wait_for_log("consumes ")
    job, pk = project.json(
        "from shop.tasks import report\nfrom django_cfg_tasks.models import TaskLog\n"
        "from tests.waiting import wait_until\n"
        "job = report.enqueue(60)\n"
        "log = wait_until(lambda: TaskLog.objects.filter(job_id=job.job_id, progress=0.25).first(), 'it runs', 30)\n"
        "emit([job.job_id, log.pk])"
    )
    assert job

    def runs_and_beats() -> str:
        page: str = project.json(ASK)
        ready = "report" in section(page, "workers") and "Success" in row(page, "schedules", "beat")
        # Now and then a beat runs too.
        ready &= "Running 1 Running of 10 slots" in text(section(page, "cards-now"))
        return page if ready and "All is well." in section(page, "state") else ""

    page = wait_until(runs_and_beats, "what runs is shown, and a schedule's last run", timeout=30)
    [line] = [line for line in section(page, "workers").split("<tr")[1:] if "report" in line]
    assert f'href="/admin/tasks/tasklog/{pk}/change/"' in line
    assert re.search(r"worker, \S+, pid \d+ consuming [\d.]+ m?s 1 of 10 report 25%, since", text("<tr" + line))
    assert "leads" in text(section(page, "workers"))
    assert "Workers online 1 Workers online a timer leads" in text(section(page, "cards-now"))
    assert re.search(rf"slow 0 {NOTHING} 1 0 0 1", row(page, "queues", "slow"))
    assert re.search(r"tasklog/\?job_id=cron%3Abeat%3A", section(page, "schedules"))
    project.run("from shop.tasks import report\nreport.using(queue='retired').enqueue(1)")
    page = project.json(ASK)
    assert "No worker consumes the queue retired. It is declared by no task any more, and 1 job waits in it." in text(
        page
    )
    worker.sigkill()

    def all_dead() -> str:
        page: str = project.json(ASK)
        return page if "No worker is alive" in text(section(page, "state")) else ""

    page = wait_until(all_dead, "they are known to be dead", timeout=30)
    assert "No timer leads." in text(section(page, "state"))
    assert "dct-dead" in section(page, "workers")


class TestWords:
    @pytest.mark.parametrize(
        ("share", "words"),
        [
            (None, NOTHING),
            (0, "0%"),
            (1, "100%"),
            (0.5, "50.0%"),
            (0.0004, "< 0.1%"),
            (0.9999, "> 99.9%"),
            (0.001, "0.1%"),
        ],
    )
    def test_shares(self, share: float | None, words: str) -> None:
        assert sections.percent(share) == words

    def test_thousands(self) -> None:
        assert sections.count(1_234_567) == "1,234,567"
