"""The backend for Django's task framework: its levels, what a job looks like there, and what is never imported."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_cfg_tasks import attribution, get_rearq_client
from django_cfg_tasks import task as declare
from django_cfg_tasks.contrib.django_tasks import ReArqBackend, declared, priorities
from django_cfg_tasks.contrib.django_tasks.framework import InvalidTask, InvalidTaskBackend, Task, TaskResultStatus
from django_cfg_tasks.contrib.django_tasks.results import result_of, task_of
from django_cfg_tasks.exceptions import PoisonedJobError, UnknownTaskError, WorkerLostError
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.registry import tasks

BACKEND = "django_cfg_tasks.contrib.django_tasks.ReArqBackend"
MOMENT = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


def receipt(order: int, password: str = "") -> str:
    return f"receipt {order}"


def made(function: Callable[..., Any]) -> Any:
    return Task(func=function, priority=0, backend="default", queue_name="default", run_after=None, takes_context=False)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(priorities, "_levels", {})
    monkeypatch.setattr(tasks, "_queues", set())
    yield
    tasks.remove(f"{__name__}.receipt")


@pytest.fixture
def task(settings: Any) -> Any:
    settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mails"]}}
    return made(receipt)


def a_job(status: JobStatus, attempts: list[Attempt] = [], **fields: Any) -> JobRecord:  # noqa: B006 - copied
    known = {"job_retry": 0, "job_retry_after": 0, "enqueue_time": MOMENT, "args": [7], "kwargs": {}}
    record = JobRecord("one", f"{__name__}.receipt", status=status, **{"queue": "default", **known, **fields})
    record.attempts = list(attempts)
    record.attempt = record.attempt or len(attempts)
    return record


def a_run(number: int, outcome: AttemptOutcome, error: type[BaseException] | None = None) -> Attempt:
    start = MOMENT + dt.timedelta(minutes=number)
    name = error.__qualname__ if error else None
    return Attempt(number, f"worker-{number}", start, start, outcome, name, "gone" if error else None, None)


@pytest.mark.parametrize(
    ("priority", "level"),
    [(100, 50), (50, 50), (49, 1), (1, 1), (0, 0), (-1, -50), (-50, -50), (-51, -100), (-100, -100)],
)
def test_each_priority_has_a_lane(priority: int, level: int) -> None:
    lane = priorities.lane_of("mails", priority, priorities.LEVELS)
    assert lane == ("mails" if level == 0 else f"mails@{level}")
    assert priorities.queue_and_level(lane) == ("mails", level)


def test_the_lowest_level_holds_what_lies_below() -> None:
    assert priorities.lane_of("mails", -100, [10, -5]) == "mails@-5"
    assert priorities.lane_of("mails", -100, [10]) == "mails"
    assert priorities.lane_of("mails", 9, [10]) == "mails"


def test_a_worker_consumes_the_lanes_in_the_place_of_the_queue(task: Any) -> None:
    assert tasks.in_lanes(["old", "mails", "mails@1"]) == [
        "old", "mails@50", "mails@1", "mails", "mails@-50", "mails@-100"
    ]  # fmt: skip
    assert "mails" in tasks.queues()
    assert tasks.is_lane("mails@1")
    assert not tasks.is_lane("mails")
    assert not tasks.is_lane("mails@7")


def test_without_backends_a_queue_is_one_lane() -> None:
    assert tasks.in_lanes(["default", "high", "default"]) == ["default", "high"]


def test_backends_share_their_lanes(settings: Any) -> None:
    ReArqBackend("one", {"QUEUES": ["mails"], "OPTIONS": {"priority_levels": [10]}})
    ReArqBackend("two", {"QUEUES": ["mails", "other"], "OPTIONS": {"priority_levels": [20]}})
    ReArqBackend("any", {"QUEUES": [], "OPTIONS": {"priority_levels": [-1]}})
    assert tasks.in_lanes(["mails"]) == ["mails@20", "mails@10", "mails"]
    assert tasks.in_lanes(["whatever"]) == ["whatever", "whatever@-1"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"OPTIONS": {"job_retries": 3}}, r"OPTIONS\['job_retries'\] = 3: there are expire, job_retry, "),
        ({"OPTIONS": {"job_retry": -1}}, r"TASKS\['default'\]: OPTIONS: job_retry=-1: it takes how often"),
        ({"OPTIONS": {"retry_backoff": "x"}}, r"OPTIONS: retry_backoff='x': it takes True, or seconds"),
        ({"OPTIONS": {"priority_levels": [101]}}, r"= \[101\]: it takes a list of whole numbers from -100 to 100"),
        ({"OPTIONS": {"priority_levels": 5}}, r"= 5: it takes a list of whole numbers"),
        ({"QUEUES": ["a@1"]}, r"TASKS\['default'\]: queue='a@1': a queue's name holds no '@'"),
        ({"QUEUES": ["a b"]}, r"TASKS\['default'\]: queue='a b': a queue's name holds no spaces"),
    ],
)
def test_what_a_backend_can_not_be_given(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTaskBackend, match=message):
        ReArqBackend("default", params)


def test_the_engine_knows_the_task_and_the_names_of_its_parameters(task: Any) -> None:
    engine = tasks[f"{__name__}.receipt"]
    assert engine.path == task.module_path
    assert engine.parameters == ("order", "password")  # so that a secret is masked wherever it stands
    assert engine.codec.decode(["5"], {}) == (["5"], {})
    assert engine(5) == "receipt 5"
    assert engine.options.job_retry == 0  # also of a job that somebody enqueues past Django


def test_a_name_that_is_taken_is_no_task(task: Any) -> None:
    def other() -> None: ...

    other.__module__, other.__qualname__ = __name__, "clash"
    declare(name=f"{__name__}.clash")(receipt)
    try:
        with pytest.raises(InvalidTask, match=r"Two tasks are called .*clash'"):
            made(other)
    finally:
        tasks.remove(f"{__name__}.clash")


def test_what_became_of_a_job(task: Any) -> None:
    dead = a_run(1, AttemptOutcome.orphaned, WorkerLostError)
    stopped = a_run(2, AttemptOutcome.released)
    running = result_of(a_job(JobStatus.in_progress, [dead, stopped], attempt=3, owner="worker-3"), task)
    assert (running.status, running.attempts) == (TaskResultStatus.RUNNING, 3)
    assert running.worker_ids == ["worker-1", "worker-2", "worker-3"]
    assert [error.exception_class for error in running.errors] == [WorkerLostError]
    assert "gone" in running.errors[0].traceback

    poison = a_run(3, AttemptOutcome.failed, PoisonedJobError)
    failed = result_of(a_job(JobStatus.failed, [dead, stopped, poison]), task)
    assert (failed.status, failed.errors[-1].exception_class) == (TaskResultStatus.FAILED, PoisonedJobError)
    assert failed.started_at == dead.start_time

    again = result_of(a_job(JobStatus.queued, [dead]), task)
    assert (again.status, again.attempts, again.finished_at) == (TaskResultStatus.READY, 1, None)


def test_times_are_djangos(task: Any, settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    assert result_of(a_job(JobStatus.queued), task).enqueued_at == dt.datetime(2030, 1, 1, 21)


def test_a_queue_that_the_backend_has_no_more_is_none_of_its_tasks(task: Any) -> None:
    assert task_of(a_job(JobStatus.queued, queue="mails@50"), task) == task.using(queue_name="mails", priority=50)
    assert task_of(a_job(JobStatus.queued, queue="gone"), task) == task


def test_nothing_is_imported_by_the_name_of_a_task(task: Any, settings: Any) -> None:
    for name in ("this.s", "antigravity.fly_id", "tests.no_such_module.run", ""):
        assert declared.declared(name) is None
    assert {"this", "antigravity"}.isdisjoint(sys.modules)
    assert declared.declared("add") is None  # a task, but none of Django's
    settings.ROOT_URLCONF = "tests.no_urls"
    with pytest.raises(UnknownTaskError, match=r"tests.no_urls \(ROOT_URLCONF\) .*No module named 'tests.no_urls'"):
        tasks.find("this.s")
    assert declared.declared("this.s") is None


class AskedInTime:
    """A user who can't be looked up where the event loop would wait for it, as a request's."""

    def key(self) -> Any:
        raise AssertionError("the loop would have been blocked")

    async def akey(self) -> Any:
        return 7


async def test_an_async_view_enqueues_for_its_user(settings: Any, task: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"backend": "memory"}
    with attribution.attributed_to(AskedInTime()):
        result = await task.aenqueue(5)
    found = await get_rearq_client().aload([result.id])
    assert found[result.id].options["user"] == 7
