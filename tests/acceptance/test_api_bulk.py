"""A repair over the API: what failed is run again in bulk, by a real worker, once for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
from pathlib import Path
from django_cfg_tasks import task

@task(job_retry=0, queue="mail")
def send(number: int, password: str):
    if not Path("mended").exists():
        raise ConnectionError("the mail server is down")
    with open("sent", "a") as sent:
        sent.write(f"{number} {password}\\n")
"""

POST = """
import json
from django.contrib.auth.models import User
from django.test import Client
client = Client()
user, _ = User.objects.get_or_create(username="boss", is_superuser=True, is_staff=True)
client.force_login(user)
body = {"action": "retry", "filter": {"task_name": "send", "is_failed": True}}
answer = client.post("/cfg/tasks/logs/bulk/", json.dumps(body), content_type="application/json")
assert answer.status_code == 202, answer.content
emit(answer.json()["job_id"])
"""

LOGS = """
from django_cfg_tasks.models import TaskLog
wanted = TaskLog.objects.filter(task_name=%r).order_by("id")
emit(list(wanted.values("job_id", "status", "retry_of", "result", "queue_name")))
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_what_failed_is_run_again(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database)
    project.worker("--with-timer").wait_for_log("consumes ")
    project.run("from shop.tasks import send\nsend.enqueue_many([[n, f'pw{n}'] for n in range(450)])")

    def rows(status: str, number: int, task: str = "send") -> Callable[[], Any]:
        def found() -> Any:
            logs = [log for log in project.json(LOGS % task) if log["status"] == status]
            return logs if len(logs) == number else None

        return found

    failed = wait_until(rows("failed", 450), "all have failed", timeout=60)
    project.write("mended", "")
    project.json(POST)
    retried = wait_until(rows("success", 450), "all have been run again", timeout=60)
    assert sorted(log["retry_of"] for log in retried) == sorted(log["job_id"] for log in failed)
    assert sorted((project.folder / "sent").read_text().split()) == sorted(
        [str(n) for n in range(450)] + [f"pw{n}" for n in range(450)]
    )
    [bulk] = wait_until(rows("success", 1, "django_cfg_tasks.bulk"), "the bulk job has ended", timeout=30)
    assert bulk["result"] == {"action": "retry", "met": 450, "acted_on": 450, "refused": {}, "complete": True}
    assert bulk["queue_name"] == "mail"  # the project's workers need not serve another
