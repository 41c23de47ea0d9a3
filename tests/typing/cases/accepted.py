"""What users write, with the types that they get. Checked by mypy, never run."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Coroutine
from typing import Any, assert_type
from unittest import TestCase

from django.dispatch import receiver

from django_cfg_tasks import (
    Job,
    JobContext,
    JobResult,
    JobStatus,
    RearqConfig,
    Retry,
    TaskConfig,
    cron_task,
    get_rearq_client,
    on_worker_start,
    on_worker_stop,
    task,
)
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.signals import task_failed, task_succeeded
from django_cfg_tasks.task import AsyncTask, Task
from django_cfg_tasks.testing import (
    CapturedTasks,
    EnqueuedTask,
    TaskTestMixin,
    arun_enqueued,
    assert_enqueued,
    capture_tasks,
    run_enqueued,
    use_backend,
)


@task
def bare(width: int, height: int = 1) -> float:
    return width / height


@task
async def bare_async(url: str, *, retries: int = 3) -> bytes:
    return url.encode() * retries


@task()
async def called(url: str) -> None: ...


@task(
    queue="mail", name="send", job_retry=0, job_retry_after=5, job_timeout=math.inf, expire=dt.timedelta(hours=1),
    run_with_lock=True, lock_timeout=30, mask=["token"], log_args=False, retry_backoff=True, retry_backoff_max=60,
    retry_jitter=True, retry_on=(OSError, TimeoutError), do_not_retry=PermissionError,
)  # fmt: skip
def optioned(to: str, *cc: str, **headers: str) -> dict[str, int]:
    return {to: len(cc) + len(headers)}


@task(lock_key="account:{account}", max_concurrent=5, rate_limit="10/s", unique=True, unique_for=dt.timedelta(hours=1))
def limited(account: int) -> str:
    return str(account)


@task(bind=True, lock_key="{account}", unique="statement:{account}", unique_for="until_start", rate_limit=None)
async def limited_bound(ctx: JobContext, account: int) -> str:
    return str(account)


@task(bind=True, queue="payments")
async def bound(ctx: Any, payment: int) -> str:
    raise Retry(countdown=30)


@task(bind=True)
def bound_sync(ctx: Any, payment: int) -> str:
    return str(payment)


@cron_task(cron="0 * * * *")
async def hourly() -> int:
    return 1


@cron_task("@daily", run_at_start={"mode": "startup"}, queue="nightly")
def daily(mode: str = "normal") -> str:
    return mode


@cron_task(
    "@daily", timezone="Europe/Paris", misfire_grace=dt.timedelta(hours=1), catch_up="all", overlap="skip",
    unique_for=60, max_concurrent=1,
)  # fmt: skip
async def caught_up() -> None: ...


@cron_task("@daily", bind=True, timezone=dt.UTC, misfire_grace=60, catch_up="none", overlap="allow", unique=True)
def caught_up_bound(ctx: JobContext, days: int = 1) -> int:
    return days


@cron_task("@daily", bind=True)
def daily_bound(ctx: Any) -> None: ...


@on_worker_start
async def open_pool(size: int = 10) -> None: ...


@on_worker_stop
def close_pool() -> None: ...


@receiver(task_failed)
def on_failure(job_id: str, exception: BaseException | None, **kwargs: Any) -> None: ...


@receiver(task_succeeded, sender=bare)
async def on_success(record: JobRecord, duration: float, **kwargs: Any) -> None: ...


@task
def clashing(countdown: int, args: list[str]) -> None: ...


def declared(any_task: Task[..., Any]) -> list[Task[..., Any]]:
    assert_type(hourly, AsyncTask[[], int])
    assert_type(daily_bound, Task[[], None])
    assert_type(bound_sync.name, str)
    assert_type(caught_up, AsyncTask[[], None])
    return [any_task, bare, bare_async, called, optioned, bound, daily]


def calling() -> None:
    assert_type(bare(3, height=2), float)
    assert_type(optioned("a", "b", subject="c"), dict[str, int])
    assert_type(daily("now"), str)


async def awaiting() -> None:
    coroutine: Coroutine[Any, Any, bytes] = bare_async("u", retries=1)
    assert_type(await coroutine, bytes)
    assert_type(await hourly(), int)


def enqueueing() -> None:
    job = bare.enqueue(3, height=2)
    assert_type(job, Job[float])
    assert_type(job.job_id, str)
    assert_type(job.status, JobStatus)
    assert_type(job.wait(timeout=5), JobResult[float] | None)
    assert_type(job.refresh(), Job[float])
    assert_type(job.cancel(), bool)
    assert_type(bare_async.enqueue("u", retries=1), Job[bytes])
    assert_type(optioned.enqueue("a", "b", "c", subject="d"), Job[dict[str, int]])
    assert_type(hourly.enqueue(), Job[int])
    assert_type(bare.enqueue_many([{"width": 1}, (1, 2)]), list[Job[float]])


async def delaying() -> None:
    job = await bare_async.delay("u", retries=1)
    assert_type(job, Job[bytes])
    result = await job.result(timeout=5)
    assert_type(result, JobResult[bytes] | None)
    if result is not None:
        assert_type(result.result, bytes | None)
        assert_type(result.success, bool)
        assert_type(result.error, str | None)
        assert_type(result.finish_time, dt.datetime | None)
    assert_type(await bare.delay(width=3), Job[float])
    assert_type(await bare.aenqueue(3), Job[float])
    assert_type(await bare.delay_many([[1], [2]]), list[Job[float]])


async def bound_tasks_lose_the_context() -> None:
    assert_type(await bound.delay(7), Job[str])
    assert_type(await bound.delay(payment=7), Job[str])
    assert_type(bound_sync.enqueue(7), Job[str])
    assert_type(daily_bound.enqueue(), Job[None])
    assert_type(await limited_bound.delay(account=7), Job[str])
    assert_type(caught_up_bound.enqueue(days=2), Job[int])


async def controlling() -> None:
    client = get_rearq_client()
    assert_type(client.cancel("id"), bool)
    assert_type(client.cancel_task(bare), int)
    assert_type(await client.acancel_task("bare"), int)
    client.disable(bare)
    await client.aenable("bare")
    assert_type(client.disabled(), set[str])
    client.pause(bare)
    await client.aresume("bare")
    with client.lock("x", timeout=60):
        pass
    async with client.lock("x", wait=0.5) as lock:
        assert_type(lock.name, str)


@task(bind=True, unique="{payment}", unique_for=dt.timedelta(hours=1))
def watched(ctx: JobContext, payment: int) -> None:
    assert_type(ctx.canceled, bool)
    ctx.progress(0.5, "half")


def watching() -> None:
    job = watched.using(even_if_disabled=True).enqueue(7)
    assert_type(job.created, bool)
    assert_type(job.progress, float | None)
    assert_type(job.progress_message, str)


async def options() -> None:
    eta = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    late = bare.using(queue="slow", countdown=60, job_id="one", job_retry=0, job_timeout=math.inf, user=7)
    assert_type(late.enqueue(3), Job[float])
    assert_type(limited.using(even_if_disabled=True, expire=60).enqueue(7), Job[str])
    assert_type(limited.enqueue(7).created, bool)
    assert_type(late(3), float)
    assert_type(await bound.using(eta=eta, on_commit=False).delay(7), Job[str])
    # ReArq's own options among the arguments.
    assert_type(await bare.delay(3, countdown=60), Job[float])
    assert_type(await bare.delay(3, height=2, eta=eta, job_id="one"), Job[float])
    assert_type(await bare.delay(args=[3], kwargs={"height": 2}, expire=60), Job[float])
    assert_type(await bare.delay(kwargs={"width": 2}), Job[float])
    assert_type(bare.enqueue(3, job_retry=0, job_retry_after=5), Job[float])
    assert_type(bare.enqueue(3, countdown=dt.timedelta(minutes=1)), Job[float])
    # A task's own parameter of such a name is the task's.
    assert_type(clashing.enqueue(countdown=3, args=["a"]), Job[None])


def a_job_of_something_is_a_job_of_its_base(job: Job[bool]) -> Job[int]:
    return job


configured = TaskConfig(
    enabled=True,
    rearq=RearqConfig(redis_url="redis://localhost:6379/0", db_url=None, max_jobs=20, sentinels=["s1:26379"]),
)


class Tests(TaskTestMixin, TestCase):
    tasks_backend = "memory"

    @use_backend("immediate")
    def test_sync(self) -> None:
        with capture_tasks() as enqueued:
            bare.enqueue(1)
        assert_type(enqueued, CapturedTasks)
        assert_type(enqueued[0], EnqueuedTask)
        assert_type(assert_enqueued(bare.using(queue="mail"), width=1), EnqueuedTask)
        assert_type(run_enqueued(until=dt.timedelta(hours=1), check=False), list[Job[Any]])

    async def test_async(self) -> None:
        assert_type(await arun_enqueued(until=60), list[Job[Any]])


TaskConfig(backend="memory")
TaskConfig(backend="immediate", rearq=RearqConfig(job_retry=0))
