"""What schemathesis makes of the schema, asked of a server: no 5xx, and no answer that is not as described."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from tests.project import TaskProject
from tests.servers import free_port

TASKS = """
from django_cfg_tasks import cron_task, task

@task(allow_api=True)
async def add(*args, **kwargs) -> int:
    return len(args) + len(kwargs)

@task(job_retry=0)
async def broken(password: str = "") -> None:
    raise ValueError("no paper")

@cron_task(cron="0 4 * * *")
async def nightly() -> None: ...
"""
SETTINGS = """
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # each request brings the password
"""
PREPARE = """
from django.contrib.auth import get_user_model
from shop.tasks import add, broken, nightly
from django_cfg_tasks.models import TaskLog
from tests.waiting import wait_until

get_user_model().objects.create_superuser("staff", password="pw")
jobs = [add.enqueue(n) for n in range(20)] + [broken.enqueue("x") for _ in range(3)] + [nightly.enqueue()]
add.enqueue(1, countdown=3600)
wait_until(lambda: TaskLog.objects.completed().count() == len(jobs), "all are done")
"""
CONFIG = """
[parameters]
"path.id" = "1"
"path.key" = "1"
"path.name" = "add"

[[operations]]
include-path-regex = "/schedules/"
[operations.parameters]
"path.name" = "nightly"

[checks]
# What no schema can say is refused as well: a cursor with a page, years that no database has, a column named twice.
positive_data_acceptance.enabled = false
"""
SCHEMATHESIS = (sys.executable, "-m", "schemathesis.cli", "run")
OPTIONS = ("--phases=examples,coverage,fuzzing", "--max-examples=5", "--seed=1", "--no-shrink", "--workers=1")


@pytest.mark.timeout(300)  # two thousand requests, in less than a minute on an idle machine
@pytest.mark.long
def test_answers_are_as_described(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, settings=SETTINGS, api_aggregate_rate="100000/s")
    project.worker("--with-timer").wait_for_log("consumes ")
    project.run(PREPARE)
    project.write("schemathesis.toml", CONFIG)
    port = free_port()
    server = project.start(
        *(sys.executable, "manage.py", "runserver", "--noreload", "--nothreading", f"127.0.0.1:{port}"),
        name="runserver",
    )
    server.wait_for_log("Quit the server")
    asking = project.start(
        *SCHEMATHESIS, *OPTIONS, "--auth=staff:pw", f"http://127.0.0.1:{port}/cfg/tasks/schema/", name="schemathesis"
    )
    assert asking.wait(timeout=240) == 0, asking.output
    for answer in ("GET /cfg/tasks/logs/1/ ", "POST /cfg/tasks/tasks/add/enqueue/ ", "POST /cfg/tasks/logs/1/retry/ "):
        assert re.search(rf'"{answer}[^"]*" 20\d', server.output), f"{answer} was never answered well"
