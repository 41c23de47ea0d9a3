"""The tests' throw-away project: written, migrated, asked in fresh processes, reached by ReArq's command."""

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.project import CommandFailed, TaskProject

TASKS = """\
from django_cfg_tasks import task

@task()
async def add(first: int, second: int) -> int:
    return first + second
"""


@pytest.mark.parametrize(("database", "vendor"), [("sqlite", "sqlite"), ("postgres", "postgresql")])
def test_it_is_migrated_in_the_database_asked_for(
    make_project: Callable[..., TaskProject], database: str, vendor: str
) -> None:
    project = make_project(TASKS, database=database)
    answer = project.json(
        "from django.contrib.auth.models import User\n"
        "from django.db import connection\n"
        "emit([connection.vendor, User.objects.count()])"
    )
    assert answer == [vendor, 0]


def test_it_is_configured_as_asked(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS, rearq={"job_retry": 0}, settings="DEBUG = True\n", migrate=False)
    answer = project.json(
        "from django.conf import settings\nemit([settings.DJANGO_CFG_TASKS, settings.DEBUG])", setup=False
    )
    assert answer == [{"rearq": {"redis_url": redis_server.url, "job_retry": 0}}, True]


def test_a_failing_snippet_shows_its_traceback(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(migrate=False)
    with pytest.raises(CommandFailed, match="ZeroDivisionError"):
        project.run("1 / 0", setup=False)
    with pytest.raises(CommandFailed, match="not JSON"):
        project.json("print('hello')", setup=False)


def test_rearqs_command_runs_there(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    helped = project.worker("--help")
    helped.wait_for_log("--with-timer")
    assert helped.wait() == 0


def test_a_process_that_is_frozen_keeps_nobody_from_writing(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    busy = project.start_code(
        "from django.contrib.auth.models import User\n"
        "from django.db import transaction\n"
        "while True:\n"
        "    with transaction.atomic():\n"
        "        User.objects.create(username='a')\n"
        "        User.objects.all().delete()\n"
        "    print('round')"
    )
    busy.wait_for_log("round")
    for _ in range(20):
        project.freeze(busy)
        with closing(sqlite3.connect(project.databases["default"]["NAME"], timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        busy.send(signal.SIGCONT)
        busy.wait_for_log("round", count=busy.output.count("round") + 1)


def test_in_process_settings_name_the_tests_redis(
    tasks_config: Callable[..., Any], settings: Any, redis_server: Any
) -> None:
    tasks_config(rearq={"job_retry": 0}, enabled=False)
    assert {
        "enabled": False,
        "rearq": {"redis_url": redis_server.url, "job_retry": 0},
    } == settings.DJANGO_CFG_TASKS
