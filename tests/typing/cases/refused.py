"""What users get wrong. Each marked line, and no other, must be an error of that kind to mypy. Never run."""

from __future__ import annotations

from typing import Any

from django_cfg_tasks import RearqConfig, TaskConfig, cron_task, get_rearq_client, on_worker_start, task


@task
def resize(width: int, height: int = 1) -> float:
    return width / height


@task(queue="mail")
async def send(to: str, *, subject: str = "") -> None: ...


@task(bind=True)
async def pay(ctx: Any, payment: int) -> str:
    return ""


@cron_task("@hourly")
def sweep(days: int = 7) -> None: ...


@cron_task("@hourly", bind=True, catch_up="all")
def counted(ctx: Any, days: int = 7) -> None: ...


async def arguments() -> None:
    await resize.delay("3")  # E: call-overload
    await resize.delay(widht=3)  # E: call-overload
    await resize.delay()  # E: call-overload
    await resize.delay(1, 2, 3)  # E: call-overload
    await resize.delay(1, width=1)  # E: call-overload
    await send.delay("a", "subject")  # E: call-overload
    await send.delay(to=None)  # E: call-overload
    resize.enqueue("3")  # E: call-overload
    resize.enqueue(widht=3)  # E: call-overload
    resize.enqueue()  # E: call-overload
    sweep.enqueue(days="7")  # E: call-overload
    await resize.aenqueue("3")  # E: arg-type
    await resize.aenqueue(widht=3)  # E: call-arg
    await resize.aenqueue()  # E: call-arg
    await resize.aenqueue(3, countdown=60)  # E: call-arg


async def the_context_is_not_given() -> None:
    await pay.delay(None, 7)  # E: call-overload
    await pay.aenqueue(7, 7)  # E: call-arg
    pay.enqueue("7")  # E: call-overload
    counted.enqueue(days="7")  # E: call-overload


async def calls() -> None:
    resize("3")  # E: arg-type
    resize()  # E: call-arg
    await send(subject="x")  # E: call-arg
    send("a")  # E: unused-coroutine


async def options() -> None:
    resize.using(queu="mail")  # E: call-arg
    resize.using(queue=5)  # E: arg-type
    resize.using(countdown="60")  # E: arg-type
    resize.using(even_if_disabled="yes")  # E: arg-type
    resize.using(lock_key="x")  # E: call-arg
    await resize.using(queue="slow").aenqueue("3")  # E: arg-type
    await resize.delay(3, countdown="60")  # E: call-overload


async def results() -> list[Any]:
    job = await resize.delay(3)
    result = await job.result()
    return [
        result.success,  # E: union-attr
        result.result + "" if result else None,  # E: operator
        job.wait().success,  # E: union-attr
        job.resulted,  # E: attr-defined
        get_rearq_client().nothing,  # E: attr-defined
        get_rearq_client().cancel_task(5),  # E: arg-type
        get_rearq_client().lock("x", wait="1"),  # E: arg-type
    ]


@task(queue=5)  # E: call-overload, untyped-decorator
def wrong_queue() -> None: ...


@task(retries=5)  # E: call-overload, untyped-decorator
def wrong_option() -> None: ...


@task(lock_key=7)  # E: call-overload, untyped-decorator
def wrong_lock() -> None: ...


@task(max_concurrent="5")  # E: call-overload, untyped-decorator
def wrong_number() -> None: ...


@task(rate_limit=10)  # E: call-overload, untyped-decorator
def wrong_rate() -> None: ...


@task(unique=1.5)  # E: call-overload, untyped-decorator
def wrong_unique() -> None: ...


@task(bind=True, unique_for="until_tomorrow")  # E: call-overload, untyped-decorator
def wrong_time(ctx: Any) -> None: ...


@task(timezone="Europe/Paris")  # E: call-overload, untyped-decorator
def no_cron_task() -> None: ...


@cron_task("@daily", catch_up="some")  # E: call-overload, untyped-decorator
def wrong_choice() -> None: ...


@cron_task("@daily", bind=True, overlap=True)  # E: call-overload, untyped-decorator
def wrong_overlap(ctx: Any) -> None: ...


@cron_task("@daily", timezone=1, misfire_grace="1h")  # E: call-overload, untyped-decorator
def wrong_zone() -> None: ...


@task(bind=True)  # E: arg-type
def no_context() -> None: ...


@cron_task()  # E: call-overload, untyped-decorator
def no_cron() -> None: ...


@on_worker_start  # E: type-var
async def needs_a_pool(pool: Any) -> None: ...


RearqConfig(max_job=5)  # E: call-arg
RearqConfig(redis_url=5)  # E: arg-type
RearqConfig().max_jobs = 5  # E: misc
TaskConfig(rearq="redis://localhost")  # E: arg-type
