"""What the testing kit says of a job is what a real worker says of it: one script, run against both, one answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.project import TaskProject

pytestmark = pytest.mark.long

TASKS = """\
import asyncio, datetime as dt, time
from decimal import Decimal
from uuid import UUID
from django.contrib.auth.models import Group
from django.db import transaction
from pydantic import BaseModel
from django_cfg_tasks import Retry, task

class Report(BaseModel):
    rows: int
    day: dt.date

@task
def typed(day: dt.date, price: Decimal, key: UUID, many: tuple[int, ...] = (1, 2), plain=None) -> Report:
    assert type(price) is Decimal and type(many) is tuple
    return Report(rows=len(many), day=day)

@task
async def plain(first, *rest, **more):
    return {"first": first, "rest": rest, "more": more}

@task
def saves(name: str) -> str:
    with transaction.atomic():
        Group.objects.create(name=name)
        plain.using(job_id=f"after {name}").enqueue(name)
    return name

@task
async def asaves(name: str) -> int:
    group = await Group.objects.acreate(name=name)
    return await Group.objects.filter(pk=group.pk).acount()

@task(job_retry=1, job_retry_after=0)
def fails(text: str):
    raise ValueError(text)

@task(job_retry=2, job_retry_after=0, retry_on=(ConnectionError,))
async def choosy(kind: str):
    raise {"retry": ConnectionError, "not": KeyError}[kind]("no")

@task(bind=True, job_retry=2, job_retry_after=0)
async def patient(ctx):
    ctx.progress(0.25 * ctx.attempt, f"run {ctx.attempt}")
    if ctx.attempt == 1:
        raise Retry("not yet", count=False)
    if ctx.attempt == 2:
        raise Retry("nor now", countdown=0.01)
    return [ctx.attempt, ctx.job_retries, ctx.queue]

@task
def unwritable():
    return object()

@task
def instance():
    return Group(name="x")

@task(job_timeout=0.2, job_retry=0)
async def slow():
    await asyncio.sleep(30)

@task(job_timeout=0.2, job_retry=0)
def slow_thread():
    while True:
        time.sleep(0.01)

@task(job_retry=0)
def leaves():
    raise SystemExit(3)

@task(job_retry=0)
async def blocks():
    plain.enqueue(1)

@task(job_retry=0)
async def canceled_by_itself():
    raise asyncio.CancelledError

@task(log_args=False)
def secret(password: str):
    return password

@task(mask=["pin"])
def masked(pin: str, token: str, open: str):
    return {"token": token, "open": open}

@task(unique=True)
def once(number: int): ...

@task(unique="{number}", unique_for=3600)
def hourly(number: int): ...

@task(lock_key="{number}")
def locked(number: int): ...
"""

SCRIPT = """\
import datetime as dt, threading, time
from decimal import Decimal
from uuid import UUID
from django.contrib.auth.models import Group, User
from django.db import transaction
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.jobs import FINAL
from django_cfg_tasks.models import TaskLog
from shop import tasks

SKIPPED = {"id", "job_id", "worker_id", "enqueue_time", "start_time", "finish_time", "expire_time", "duration_ms",
           "created_at", "updated_at", "traceback", "attempts"}

def of_job(job):
    result = job.wait(30)
    job.refresh()
    [record] = get_rearq_client().load([job.job_id]).values()
    return {
        "created": job.created, "status": job.status, "result": repr(result.result), "error": result.error,
        "retries": job.job_retries, "progress": (job.progress, job.progress_message), "queue": job.queue,
        "arguments": (job.args, job.kwargs), "deliveries": record.deliveries, "attempt": record.attempt,
        "revision": record.revision, "unique": record.unique_key, "options": record.options,
        "attempts": [attempt_of(each.as_dict()) for each in record.attempts],
        "last line": (result.traceback or "").strip().splitlines()[-1:],
        "ran": (record.start_time is None, record.finish_time is None, record.owner is None),
    }

def attempt_of(each):
    kept = {name: each[name] for name in ("attempt", "outcome", "error_class", "error_message")}
    return kept | {"last line": (each["traceback"] or "").strip().splitlines()[-1:],
                   "times": (each["start_time"] is None, each["finish_time"] is None)}

def of_log(job):
    until = time.monotonic() + 30
    while True:
        row = TaskLog.objects.filter(job_id=job.job_id).values().first()
        if row and row["status"] in FINAL:
            break
        assert time.monotonic() < until, (job, row)
        time.sleep(0.02)
    kept = {name: value for name, value in row.items() if name not in SKIPPED}
    return kept | {"attempts": [attempt_of(each) for each in row["attempts"]]}

def refused(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "accepted"

def scenarios():
    user = User.objects.create(username="ada")
    key = UUID(int=7)
    yield "typed", tasks.typed.enqueue(dt.date(2026, 1, 2), Decimal("1.10"), key, many=(3, 4, 5))
    yield "plain", tasks.plain.using(user=user, queue="other").enqueue(1, (2, 3), {"a": {4: 5}}, six={7})
    yield "saves", tasks.saves.enqueue("red")
    yield "asaves", tasks.asaves.enqueue("green")
    yield "fails", tasks.fails.enqueue("quite wrong")
    yield "fails at once", tasks.fails.using(job_retry=0).enqueue("wrong")
    yield "worth a retry", tasks.choosy.enqueue("retry")
    yield "not worth it", tasks.choosy.enqueue("not")
    yield "patient", tasks.patient.enqueue()
    yield "unwritable", tasks.unwritable.enqueue()
    yield "instance", tasks.instance.enqueue()
    yield "slow", tasks.slow.enqueue()
    yield "slow thread", tasks.slow_thread.enqueue()
    yield "leaves", tasks.leaves.enqueue()
    yield "blocks", tasks.blocks.enqueue()
    yield "canceled by itself", tasks.canceled_by_itself.enqueue()
    yield "secret", tasks.secret.enqueue("hunter2")
    yield "masked", tasks.masked.enqueue("1234", token="abc", open="yes")
    yield "expired", tasks.plain.using(expire=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)).enqueue(1)
    yield "hourly", tasks.hourly.enqueue(1)
    yield "locked", tasks.locked.enqueue(1)
    late = tasks.plain.using(countdown=600).enqueue(1)
    assert late.cancel() and not late.cancel()
    yield "canceled", late
    yield "canceled, once more", tasks.plain.using(job_id=late.job_id).enqueue(2)
    with transaction.atomic():
        inside = tasks.plain.enqueue("inside")
        assert refused(inside.refresh)[0] == "JobNotFoundError"
    yield "inside", inside
    yield "not on commit", at_once()

def at_once():
    with transaction.atomic():
        return tasks.plain.using(on_commit=False, job_id="at once").enqueue(1)

def undone():
    try:
        with transaction.atomic():
            job = tasks.plain.enqueue("undone")
            raise KeyError
    except KeyError:
        return refused(job.refresh)[0], refused(lambda: job.wait(1))[0]

def seen_twice():
    later = tasks.once.using(countdown=600).enqueue(1)
    again = tasks.once.enqueue(1)
    other = tasks.once.enqueue(2)
    named = tasks.plain.using(job_id="seen", countdown=600).enqueue(1)
    second = tasks.plain.using(job_id="seen").enqueue(5)
    many = tasks.plain.enqueue_many([(1,), {"first": 2}])
    return [again.created, again.job_id == later.job_id, other.created, second.created, second.args,
            tasks.hourly.enqueue(1).created, [job.wait(30).result for job in many]]

def switched():
    client = get_rearq_client()
    client.disable(tasks.plain)
    before = refused(lambda: tasks.plain.enqueue(1)), client.disabled()
    job = tasks.plain.using(even_if_disabled=True, job_id="waits").enqueue(1)
    waits = str(job.refresh().status)
    client.enable("plain")
    return [*before, waits, job.wait(30).result]

def answers():
    found = {name: (of_job(job), of_log(job)) for name, job in scenarios()}
    if found["saves"]:
        after = get_rearq_client().load(["after red"])["after red"]
        found["after"] = after.args
    found["not unique"] = seen_twice()
    found["switched"] = switched()
    found["undone"] = undone()
    found["refused"] = {
        "too many": refused(lambda: tasks.fails.enqueue(1, 2)),
        "unknown": refused(lambda: tasks.fails.enqueue(txt="a")),
        "object": refused(lambda: tasks.fails.enqueue(object())),
        "model": refused(lambda: tasks.plain.enqueue(first={"user": [User.objects.first()]})),
        "function": refused(lambda: tasks.plain.enqueue(len)),
        "large": refused(lambda: tasks.fails.enqueue("x" * 3000)),
        "nan": refused(lambda: tasks.plain.enqueue(float("nan"))),
        "nul": refused(lambda: tasks.fails.enqueue("\\0")),
        "option": refused(lambda: tasks.fails.using(speed=1)),
        "queue": refused(lambda: tasks.fails.using(queue="a b")),
        "job id": refused(lambda: tasks.fails.using(job_id="")),
        "lock key": refused(lambda: tasks.locked.enqueue(None)),
        "no job": refused(lambda: get_rearq_client().wait_final("no such job", 1)),
        "cancel": refused(lambda: get_rearq_client().cancel("no such job")),
        "no task": refused(lambda: get_rearq_client().disable("no such task")),
        "no schedule": refused(lambda: get_rearq_client().pause("plain")),
    }
    found["groups"] = sorted(Group.objects.values_list("name", flat=True))
    return found
"""

RUN = "import script\nemit(script.answers())"
RUN_WITH_KIT = """\
from django_cfg_tasks.testing import use_backend
import script
with use_backend("immediate"):
    answers = script.answers()
emit(answers)
"""


def test_all_that_can_become_of_a_job(make_project: Callable[..., TaskProject]) -> None:
    rearq = {"max_argument_bytes": 2048, "job_retry": 1, "job_retry_after": 0}
    real = make_project(TASKS, rearq=rearq, files={"script.py": SCRIPT})
    real.worker("--queue", "default", "--queue", "other", "--with-timer").wait_for_log("consumes ")
    told = real.json(RUN)
    # No Redis listens there.
    kit = make_project(TASKS, rearq=rearq, files={"script.py": SCRIPT}, name="kit", redis_url="redis://127.0.0.1:1/0")
    seen = kit.json(RUN_WITH_KIT)
    assert seen.keys() == told.keys()
    differing = {name: (seen[name], answer) for name, answer in told.items() if seen[name] != answer}
    assert not differing, json.dumps(differing, indent=1)
