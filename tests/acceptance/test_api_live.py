"""What the API says of live workers, queues, tasks and schedules, with real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
import asyncio
from django_cfg_tasks import cron_task, task

@task(queue="mail", do_not_retry=[ValueError], expire=60)
async def send(to: str): ...

@task(queue="slow")
async def wait(seconds: float):
    await asyncio.sleep(seconds)

@task(run_with_lock=True)
async def alone(seconds: float):
    await asyncio.sleep(seconds)

@cron_task("* * * * * *")
async def beat(): ...

@cron_task("30 9 * * mon-fri", timezone="America/New_York", overlap="skip")
async def bell(): ...
"""

ASK = """
from django.contrib.auth.models import User
from django.test import Client
client = Client(raise_request_exception=False)
user, _ = User.objects.get_or_create(username="boss", is_superuser=True, is_staff=True)
client.force_login(user)
answers = {}
for path in %s:
    answer = client.get("/cfg/tasks/" + path)
    answers[path] = [answer.status_code, answer.json()]
emit(answers)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS, database=request.param, rearq={"lease": 2})


def ask(project: TaskProject, *paths: str) -> Any:
    """The answers of these endpoints, in order."""
    answers: dict[str, tuple[int, Any]] = project.json(ASK % json.dumps(paths))
    assert all(status == 200 for status, _ in answers.values()), answers
    return [answer for _, answer in answers.values()]


def named(rows: list[dict[str, Any]], key: str = "name") -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


def test_workers_and_what_they_run(project: TaskProject) -> None:
    worker = project.worker("--with-timer")
    worker.wait_for_log("consumes ")
    [job] = project.json("from shop.tasks import wait\nemit([wait.enqueue(60).job_id])")

    def shown() -> Any:
        [rows] = ask(project, "workers/")
        running = [row for row in rows if row["jobs"] and row["running"]]
        return rows if running and any(row["state"] == "leads" for row in rows) else None

    rows = wait_until(shown, "the job is shown with its worker", timeout=30)
    [timer] = [row for row in rows if row["kind"] == "timer"]
    [busy] = [row for row in rows if row["kind"] == "worker"]
    assert [each["job_id"] for each in busy["jobs"]] == [job]
    assert (busy["running"], busy["slots"], busy["state"], busy["alive"]) == (1, 10, "consuming", True)
    assert busy["queues"] == ["default", "mail", "slow"]
    assert busy["pid"] == timer["pid"] == worker.pid
    assert 0 <= busy["heartbeat_age"] < 30
    assert busy["python"] == timer["python"] != ""
    worker.sigkill()

    def all_dead() -> bool:
        return {row["state"] for row in ask(project, "workers/")[0]} == {"dead"}

    wait_until(all_dead, "they are known to be dead", timeout=30)


def test_queues_before_and_while_there_is_a_worker(project: TaskProject) -> None:
    project.run(
        "from shop.tasks import alone, send, wait\n"
        "send.enqueue_many([['a'], ['b']])\n"
        "send.using(countdown=600).enqueue('c')\n"
        "wait.enqueue(60)\n"
        "alone.enqueue_many([[60], [60], [60]])"
    )
    queues = named(ask(project, "queues/")[0])
    assert list(queues) == ["default", "mail", "slow"]
    mail = queues["mail"]
    assert (mail["ready"], mail["queued"], mail["deferred"], mail["running"], mail["workers"]) == (2, 2, 1, 0, 0)
    assert 0 <= mail["oldest_ready_seconds"] < 60
    project.worker().wait_for_log("consumes ")

    def settled() -> Any:
        found = named(ask(project, "queues/")[0])
        return found if found["default"]["waiting_at_gates"] == 2 and found["slow"]["running"] == 1 else None

    queues = wait_until(settled, "jobs run, and wait for the lock", timeout=30)
    default, mail, slow = queues.values()
    assert (default["ready"], default["delivered"], default["queued"], default["running"]) == (0, 1, 2, 1)
    assert (mail["ready"], mail["oldest_ready_seconds"], mail["deferred"], mail["workers"]) == (0, None, 1, 1)
    assert (slow["ready"], slow["delivered"]) == (0, 1)


def test_tasks_and_schedules(project: TaskProject) -> None:
    project.run(
        "from django_cfg_tasks import get_rearq_client\nfrom shop.tasks import send\n"
        "send.using(countdown=600).enqueue('c')\n"
        "get_rearq_client().disable('send')\nget_rearq_client().pause('bell')"
    )
    tasks, schedules = ask(project, "tasks/", "schedules/")
    send = named(tasks)["send"]
    assert (send["path"], send["queue"], send["signature"]) == ("shop.tasks.send", "mail", "(to: str)")
    assert (send["enabled"], send["deferred"], send["queued"], send["running"]) == (False, 1, 0, 0)
    assert send["options"]["do_not_retry"] == ["ValueError"]
    assert send["options"]["expire"] == 60
    assert named(tasks)["beat"]["cron"] == "* * * * * *"
    bell = named(schedules, "task")["bell"]
    assert bell["description"] == "At 09:30, Monday through Friday"
    assert (bell["timezone"], bell["overlap"], bell["paused"]) == ("America/New_York", "skip", True)
    assert bell["next_run"] is bell["last_run"] is None
    project.worker("--with-timer").wait_for_log("consumes ")

    def ran() -> Any:
        beat = named(ask(project, "schedules/")[0], "task")["beat"]
        return beat if beat["last_run"] and beat["last_run"]["success"] else None

    beat = wait_until(ran, "a schedule's last run is shown", timeout=30)
    assert beat["last_run"]["job_id"].startswith("cron:beat:")
    assert beat["next_run"] > beat["last_run"]["enqueue_time"]


def test_health_and_what_can_not_be_told_while_redis_is_away(
    make_project: Callable[..., TaskProject], redis_server: RedisServer
) -> None:
    project = make_project(TASKS, public_health=True)
    project.worker("--with-timer").wait_for_log("consumes ")
    paths = ("health/", "workers/", "queues/", "tasks/", "schedules/")
    anonymous = ASK.replace("client.force_login(user)", "") % '["health/"]'
    wait_until(lambda: project.json(anonymous) == {"health/": [200, {"healthy": True}]}, "all is well", timeout=30)
    assert project.json(ASK % '["health/"]')["health/"][1]["checks"][0]["name"] == "redis"
    redis_server.stop()
    assert project.json(anonymous) == {"health/": [503, {"healthy": False}]}
    answers = project.json(ASK % json.dumps(paths))
    assert [status for status, _ in answers.values()] == [503, 503, 503, 200, 200]
    assert "can't be used now" in answers["queues/"][1]["detail"]
