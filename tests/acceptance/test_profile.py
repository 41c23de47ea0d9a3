"""``worker --profile``: what jobs cost, by stage."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task

@task
async def nothing(number: int):
    return None
"""
DONE = """
from django_cfg_tasks.models import TaskLog
emit(TaskLog.objects.successful().count())
"""
STAGES = ("fetch", "load", "claim", "run", "record", "TaskLog", "ack")


def test_what_jobs_cost_is_printed_by_stage(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    project.run("from shop.tasks import nothing\nnothing.enqueue_many([[number] for number in range(50)])")
    worker = project.worker("--profile")
    wait_until(lambda: project.json(DONE) == 50, "all are in the history", 30)
    worker.sigterm()
    assert worker.wait() == 0
    assert re.search(r"50 jobs in [\d.]+ s, \d+ us of this process's CPU time each", worker.output)
    rows = dict(re.findall(r"^(\w+) +\d+ +(\d+) +[\d.]+ +[\d.]+ +\d+$", worker.output, re.MULTILINE))
    assert tuple(rows) == STAGES
    assert {rows[name] for name in ("fetch", "claim", "run", "record", "ack")} == {"50"}
    assert int(rows["TaskLog"]) >= 50


def test_it_is_an_option_of_the_command(make_project: Callable[..., TaskProject]) -> None:
    worker = make_project(TASKS).worker("--help")
    assert worker.wait() == 0
    assert "--profile" in worker.output
    assert "--with-timer" in worker.output
