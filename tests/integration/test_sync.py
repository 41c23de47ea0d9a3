"""``manage.py tasks_sync`` rebuilds the task log from the jobs' own tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from django_cfg_tasks.management.commands.tasks_sync import parse_since
from tests.project import CommandFailed, TaskProject

TASKS = """
from django_cfg_tasks import task

@task(queue="low", mask=["iban"])
async def pay(amount: int, iban: str, password: str = ""): ...

@task(log_args=False)
async def private(text: str): ...
"""

# The jobs are enqueued here, and nothing listens: their rows of the log are as if they had been lost.
ENQUEUE = """
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
from shop.tasks import pay, private
pay.enqueue_many([[number, "DE89", "hunter2"] for number in range(1203)])
private.enqueue("x")
recorder.flush(30)
emit(TaskLog.objects.count())
TaskLog.objects.all().delete()
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_lost_history_is_rebuilt(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database)
    assert project.json(ENQUEUE) == 1_204

    assert "1,204 jobs read (in all), 1,204 rows up to date." in project.manage("tasks_sync")
    rows = project.json(
        """
        from django_cfg_tasks.models import TaskLog
        private = TaskLog.objects.get(task_name="private")
        masked = TaskLog.objects.filter(task_name="pay", status="queued", queue_name="low", args__2="********")
        emit([masked.filter(args__1="********").count(), private.args, TaskLog.objects.count()])
        """.replace("\n        ", "\n")
    )
    assert rows == [1_203, [], 1_204]

    assert "1,204 rows up to date" in project.manage("tasks_sync", "--since", "2h", "--verbosity", "2")
    assert "0 jobs read (enqueued since 2100-01-01 00:00:00 UTC)" in project.manage(
        "tasks_sync", "--since", "2100-01-01"
    )


def test_what_can_go_wrong_is_said_in_a_line(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, migrate=False)
    for arguments, text in [(["--since", "yesterday"], "neither an age such as 2h"), ([], "")]:
        with pytest.raises(CommandFailed) as failed:
            project.manage("tasks_sync", *arguments)
        assert text in str(failed.value)
        assert "Traceback" not in str(failed.value)


class TestSince:
    @pytest.mark.parametrize(
        ("text", "age"),
        [
            ("30s", dt.timedelta(seconds=30)),
            ("15m", dt.timedelta(minutes=15)),
            ("2h", dt.timedelta(hours=2)),
            (" 3D ", dt.timedelta(days=3)),
            ("1w", dt.timedelta(weeks=1)),
        ],
    )
    def test_an_age(self, text: str, age: dt.timedelta) -> None:
        assert abs(dt.datetime.now(dt.UTC) - age - parse_since(text)) < dt.timedelta(seconds=5)

    def test_a_moment(self) -> None:
        noon = dt.datetime(2025, 10, 30, 12, tzinfo=dt.UTC)
        assert parse_since("2025-10-30T12:00:00Z") == noon
        assert parse_since("2025-10-30 14:00+02:00") == noon
        with timezone.override("America/New_York"):  # a request's; the project's own is what counts
            assert parse_since("2025-10-30T12:00") == noon
        assert parse_since("2025-10-30").time() == dt.time(0)

    @pytest.mark.parametrize("text", ["", "2", "h", "-1h", "999999999w", "2025-13-01", "yesterday", "2 hours"])
    def test_what_is_neither(self, text: str) -> None:
        with pytest.raises(CommandError, match="neither an age"):
            parse_since(text)
