"""Jobs that wait are changed, and those that have ended deleted: in each database, truth and history alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.project import TaskProject

TASKS = """\
from django_cfg_tasks import task

@task
async def pay(order: str, token: str = "") -> str:
    return order

@task(unique=True)
async def once(order: str) -> str:
    return order
"""

CHANGES = """
import datetime as dt
from django.utils import timezone
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.acts import changes, jobs
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.history.lifetime import lifetime
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
from shop.tasks import once, pay

client = get_rearq_client()
until = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
job = pay.using(countdown=3600, expire=7200).enqueue("A-1", token="secret")
held, other, done = once.enqueue("A-2"), pay.enqueue("A-3"), pay.enqueue("A-4")
done.cancel()

def refused(*arguments, **changed):
    try:
        changes.edit(*arguments, **changed)
    except TasksError as error:
        return f"{type(error).__name__}: {error}"

before = client.load([job.job_id])[job.job_id]
changes.edit(job.job_id, job_retry=9)
kept = client.load([job.job_id])[job.job_id]
changes.edit(job.job_id, args=["B-1"], kwargs={}, job_retry_after=1, expire=until)
after = client.load([job.job_id])[job.job_id]
answers = [
    refused(job.job_id, args=[]),
    refused(job.job_id, kwargs={"order": "B-1", "token": "********"}, args=[]),
    refused(held.job_id, args=["B-2"]),
    refused(done.job_id, job_retry=1),
    refused("unheard of", job_retry=1),
    refused(other.job_id, job_retry=-1),
]
changes.edit(held.job_id, job_retry=1)
recorder.flush(10)
log = TaskLog.objects.get(job_id=job.job_id)
ever = lifetime("default")
outcome = changes.remove_many([job.job_id, done.job_id, "unheard of"])
emit({
    "kept": [kept.args, kept.kwargs, kept.job_retry,
             kept.expire_time == before.expire_time, kept.due_time == before.due_time],
    "after": [after.args, after.kwargs, after.job_retry, after.job_retry_after,
              after.expire_time == until, after.status],
    "log": [log.args, log.kwargs, log.job_retry, log.job_retry_after, log.expire_time == until],
    "answers": answers,
    "removed": [sorted(outcome.done - {done.job_id}), list(outcome.refused.values())],
    "counted": [lifetime("default") == ever, ever.total()],
    "left": [sorted(client.load([job.job_id, done.job_id])) == [job.job_id], TaskLog.objects.count()],
})
"""


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
def test_jobs_are_changed_and_deleted(make_project: Callable[..., TaskProject], database: str) -> None:
    said = make_project(TASKS, database=database).json(CHANGES)
    assert said["kept"] == [["A-1"], {"token": "secret"}, 9, True, True]
    assert said["after"] == [["B-1"], {}, 9, 1, True, "deferred"]
    assert said["log"] == [["B-1"], {}, 9, 1, True]
    beginnings = (
        "ArgumentsError",
        "WrongStateError: ********",
        "WrongStateError: The job is unique",
        "WrongStateError: The job is canceled",
        "JobNotFoundError",
        "InvalidOptionError: job_retry=-1",
    )
    assert [answer[: len(each)] for answer, each in zip(said["answers"], beginnings, strict=True)] == list(beginnings)
    assert said["removed"] == [["unheard of"], ["The job is deferred: cancel it first."]]
    assert said["counted"] == [True, 4], "metrics count what is deleted too"
    assert said["left"] == [True, 3]
