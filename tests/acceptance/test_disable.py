"""Disabled tasks: nothing of them is accepted unless asked for, nothing of them starts, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.project import TaskProject

TASKS = """\
from django_cfg_tasks import task

@task
async def greet(name: str):
    return name

@task
def other():
    return 1
"""

PRELUDE = """
import asyncio
from django.db import transaction
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.exceptions import TaskDisabledError, UnknownTaskError
from shop.tasks import greet, other

client = get_rearq_client()

def refused(call):
    try:
        call()
    except TaskDisabledError as error:
        return str(error).startswith("The task 'greet' is disabled")
    return False

def count():
    return len(client.read_records(0, 1000))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_way_to_enqueue_is_refused(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database)
    story = project.json(
        PRELUDE
        + """
def in_transaction():
    with transaction.atomic():
        greet.enqueue("x")

client.disable(greet)
answers = {
    "enqueue": refused(lambda: greet.enqueue("x")),
    "delay": refused(lambda: asyncio.run(greet.delay("x"))),
    "enqueue_many": refused(lambda: greet.enqueue_many([["x"], ["y"]])),
    "delay_many": refused(lambda: asyncio.run(greet.delay_many([["x"], ["y"]]))),
    "transaction": refused(in_transaction),
    "another task": other.enqueue().created,
}
emit([answers, count()])
"""
    )
    ways = ["enqueue", "delay", "enqueue_many", "delay_many", "transaction", "another task"]
    assert story == [dict.fromkeys(ways, True), 1]


def test_jobs_of_their_own_database_are_refused_at_the_commit(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, rearq={"db_url": "sqlite:///./jobs.db"})
    story = project.json(
        PRELUDE
        + """
def in_transaction():
    with transaction.atomic():
        greet.enqueue("x")
        inside.append(True)  # the jobs' database was not asked yet

inside = []
client.disable("greet")
emit([refused(in_transaction), inside, count()])
"""
    )
    assert story == [True, [True], 0]


def test_a_refusal_leaves_the_transaction_usable(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database)
    story = project.json(
        PRELUDE
        + """
client.disable(greet)
with transaction.atomic():
    was_refused = refused(lambda: greet.enqueue("x"))
    kept = other.enqueue()
    asked = greet.using(even_if_disabled=True).enqueue("y")
emit([was_refused, kept.refresh().status, asked.refresh().status, count()])
"""
    )
    assert story == [True, "queued", "queued", 2]


def test_jobs_accepted_all_the_same_wait_and_run_once_enabled(
    make_project: Callable[..., TaskProject], database: str
) -> None:
    project = make_project(TASKS, database=database)
    jobs = project.json(
        PRELUDE
        + """
before = greet.enqueue("before")
client.disable(greet)
willing = greet.using(even_if_disabled=True)
jobs = [before, willing.enqueue("one"), *willing.enqueue_many([["two"]]), asyncio.run(willing.delay("three"))]
emit([job.job_id for job in jobs])
"""
    )
    project.worker("--with-timer").wait_for_log("consumes default")
    statuses = project.json(
        PRELUDE + f"other.enqueue().wait(timeout=10)\nemit([r.status for r in client.load({jobs!r}).values()])"
    )
    assert statuses == ["queued"] * 4
    after = project.json(
        PRELUDE
        + f"client.enable(greet)\njobs = {jobs!r}\n"
        + "emit([client.wait_final(job_id, 10).status for job_id in jobs] + [greet.enqueue('x').created])"
    )
    assert after == ["success"] * 4 + [True]


def test_disabling_is_shared_and_undone(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database)
    assert project.json(PRELUDE + "client.disable('greet')\nclient.disable(greet)\nemit(list(client.disabled()))") == [
        "greet"
    ]
    story = project.json(
        PRELUDE
        + """
async def toggled():
    seen = [sorted(await client.adisabled())]
    await client.adisable(other)
    seen.append(sorted(await client.adisabled()))
    await client.aenable("greet")
    await client.aenable(other)
    await client.aenable(other)
    return [*seen, sorted(await client.adisabled())]

seen = asyncio.run(toggled())
client.enable("greet")
emit([*seen, greet.enqueue("x").created])
"""
    )
    assert story == [["greet"], ["greet", "other"], [], True]


@pytest.mark.parametrize("call", ["disable", "enable"])
def test_an_unknown_name_is_refused(make_project: Callable[..., TaskProject], call: str) -> None:
    code = f"try:\n    client.{call}('gret')\nexcept UnknownTaskError as error:\n    emit([str(error), count()])"
    message, count = make_project(TASKS).json(PRELUDE + code)
    assert message == "No task is called 'gret'. Known: greet, other."
    assert count == 0
