"""Enqueueing inside ``transaction.atomic()``: the job shares the transaction's fate, and nothing waits for a lock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.project import TaskProject

TASKS = """\
from django_cfg_tasks import task

@task
async def greet(name: str):
    return name
"""

STORY = """
import time
from django.contrib.auth.models import User
from django.db import transaction
from django_cfg_tasks import get_rearq_client
from shop.tasks import greet

client = get_rearq_client()
known = lambda *jobs: sorted(client.load([job.job_id for job in jobs]))
story = {}

began = time.monotonic()
with transaction.atomic():
    User.objects.create(username="kept")
    kept = greet.enqueue("kept")
    story["seen outside before the commit"] = len(known(kept))
story["seconds in the transaction"] = time.monotonic() - began
story["seen after the commit"] = len(known(kept))

try:
    with transaction.atomic():
        User.objects.create(username="undone")
        undone = greet.enqueue("undone")
        many = greet.enqueue_many([["a"], ["b"]])
        raise RuntimeError
except RuntimeError:
    pass
story["left of the rollback"] = len(known(undone, *many))

with transaction.atomic():
    inner = greet.using(job_id="twice").enqueue("first")
    second = greet.using(job_id="twice").enqueue("second")
    story["created"] = [inner.created, second.created]
story["twins"] = greet.using(job_id="twice").enqueue("third").created

try:
    with transaction.atomic():
        # Nothing was written yet, so that SQLite's lock is free.
        opted_out = greet.using(on_commit=False).enqueue("at once")
        raise RuntimeError
except RuntimeError:
    pass
story["opted out"] = len(known(opted_out))
emit(story)
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
@pytest.mark.parametrize("own", [False, True], ids=["django-db", "db_url"])
def test_the_job_shares_the_transactions_fate(
    make_project: Callable[..., TaskProject], database: str, own: bool
) -> None:
    rearq = {"db_url": "sqlite:///./jobs.db"} if own else {}
    project = make_project(TASKS, database=database, rearq=rearq)
    story = project.json(STORY)
    assert story.pop("seconds in the transaction") < 3
    # Where the jobs have a database of their own, all of the enqueueing waits for the commit.
    created = [True, True] if own else [True, False]
    assert story == {
        "seen outside before the commit": 0,
        "seen after the commit": 1,
        "left of the rollback": 0,
        "created": created,
        "twins": False,
        "opted out": 1,
    }


def test_jobs_of_a_transaction_run_after_its_commit(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    project.worker().wait_for_log("consumes default")
    answer = project.json(
        "from django.db import transaction\nfrom shop.tasks import greet\n"
        "with transaction.atomic():\n"
        "    job = greet.enqueue('x')\n"
        "emit(job.wait(timeout=10).result)"
    )
    assert answer == "x"
