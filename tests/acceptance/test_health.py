"""``manage.py tasks_health`` tells whether jobs get done, within seconds, whatever is down."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.postgres_server import PASSWORD, PostgresServer
from tests.project import CommandFailed, TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
import time
from django_cfg_tasks import task

@task
async def block(seconds: float):
    time.sleep(seconds)

@task(queue="mail")
async def send(): ...
"""

SOON = 12
"""Seconds: five for an answer that does not come, the rest for the process to start and end."""


@dataclass(frozen=True)
class Answer:
    """What the command said: its exit code, the checks that failed and what they say, the report, its duration."""

    code: int
    failed: dict[str, str]
    report: dict[str, Any]
    output: str
    seconds: float


@pytest.fixture
def project(make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS, rearq={"lease": 2})


def health(project: TaskProject, *arguments: str) -> Answer:
    started = time.monotonic()
    process = project.start(sys.executable, "manage.py", "tasks_health", "--json", *arguments, name="health")
    code, seconds = process.wait(60), time.monotonic() - started
    report, _ = json.JSONDecoder().raw_decode(process.output[process.output.index("{\n") :])
    failed = {check["name"]: check["detail"] for check in report["checks"] if not check["healthy"]}
    assert report["healthy"] is (code == 0) is (not failed)
    return Answer(code, failed, report, process.output, seconds)


def becomes(project: TaskProject, failed: set[str]) -> Answer:
    """Wait until exactly these checks fail."""
    answers: list[Answer] = []

    def asked() -> bool:
        answers.append(health(project))
        return set(answers[-1].failed) == failed

    wait_until(asked, f"these checks fail: {failed or 'none'}", timeout=30)
    return answers[-1]


def test_all_well(project: TaskProject) -> None:
    project.worker("--with-timer").wait_for_log("consumes ")
    answer = becomes(project, set())
    assert answer.code == 0
    assert [check["name"] for check in answer.report["checks"]] == [
        "redis", "sql", "timer", "queue:default", "queue:mail",
    ]  # fmt: skip
    assert answer.report["queues"] == {"default": 0, "mail": 0}
    (worker,) = answer.report["workers"]
    assert (worker["state"], worker["queues"], worker["running"]) == ("consuming", ["default", "mail"], 0)
    assert answer.seconds < 5
    text = project.manage("tasks_health")
    assert "ok    redis          Redis " in text
    assert "ok    queue:mail     1 worker(s) consume it. 0 jobs wait or run.\n" in text


def test_a_queue_without_a_worker(project: TaskProject) -> None:
    project.worker("--queue", "default", "--with-timer").wait_for_log("consumes ")
    project.run("from shop.tasks import send\nsend.enqueue_many([[]] * 3)")
    answer = becomes(project, {"queue:mail"})
    assert answer.code == 1
    assert answer.failed["queue:mail"] == (
        "No worker is alive. Start one: rearq main:rearq worker --queue mail. 3 jobs wait or run."
    )
    assert set(health(project, "--queue", "default", "--queue", "extra").failed) == {"queue:mail", "queue:extra"}
    with pytest.raises(CommandFailed, match=r"FAIL  queue:mail .*\n[^$]*CommandError: Not healthy: queue:mail\."):
        project.manage("tasks_health")


def test_no_timer(project: TaskProject) -> None:
    worker = project.worker()
    worker.wait_for_log("consumes ")
    assert "Start one: rearq main:rearq timer" in becomes(project, {"timer"}).failed["timer"]
    project.timer()
    becomes(project, set())


def test_two_timers_of_which_the_leader_dies(project: TaskProject) -> None:
    project.worker().wait_for_log("consumes ")
    timers = [project.timer(name=f"timer-{number}") for number in range(2)]
    for timer in timers:
        timer.wait_for_log("started")
    becomes(project, set())
    for timer in timers:
        timer.sigkill()
        if timer is timers[0]:
            becomes(project, set())
    becomes(project, {"timer"})


@pytest.mark.parametrize("fault", ["stop", "pause"])
def test_redis_is_away(project: TaskProject, redis_server: RedisServer, fault: str) -> None:
    project.worker("--with-timer").wait_for_log("consumes ")
    becomes(project, set())
    getattr(redis_server, fault)()
    answer = health(project)
    assert answer.code == 1
    assert set(answer.failed) == {"redis", "timer", "queue:default", "queue:mail"}
    assert ("can't be used now" if fault == "stop" else "No answer in 5 s") in answer.failed["redis"]
    assert answer.seconds < SOON
    redis_server.resume()
    redis_server.start()
    becomes(project, set())


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_sql_is_away(make_project: Callable[..., TaskProject], postgres_server: PostgresServer, fault: str) -> None:
    project = make_project(TASKS, rearq={"lease": 2}, database="postgres")
    project.worker("--with-timer").wait_for_log("consumes ")
    becomes(project, set())
    if fault == "stop":
        postgres_server.stop()
    else:
        pid = int((postgres_server.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGSTOP)
    try:
        answer = health(project)
    finally:
        if fault == "freeze":
            os.kill(pid, signal.SIGCONT)
    assert answer.code == 1
    assert "sql" in answer.failed
    assert "redis" not in answer.failed
    assert PASSWORD not in answer.output
    assert answer.seconds < SOON
    postgres_server.start()
    becomes(project, set())


def test_a_worker_that_stands_still(project: TaskProject) -> None:
    # Without a timer, which would take the dead worker off the list.
    worker = project.worker()
    worker.wait_for_log("consumes ")
    becomes(project, {"timer"})
    project.freeze(worker)
    answer = becomes(project, {"timer", "queue:default", "queue:mail"})
    assert "No worker is alive." in answer.failed["queue:default"]
    assert f"Last seen: rearq-{os.uname().nodename}-{worker.pid}-" in answer.failed["queue:default"]
    worker.send(signal.SIGCONT)
    becomes(project, {"timer"})


def test_a_worker_that_is_alive_but_blocked(project: TaskProject) -> None:
    project.timer()
    worker = project.worker()
    worker.wait_for_log("consumes ")
    becomes(project, set())
    project.run("from shop.tasks import block\nblock.enqueue(60)")
    answer = becomes(project, {"queue:default", "queue:mail"})
    assert f"{worker.pid}-" in answer.failed["queue:mail"]
    assert "(blocked)" in answer.failed["queue:mail"]
    (blocked,) = answer.report["workers"]
    assert (blocked["healthy"], blocked["state"]) == (False, "blocked")
    # Another that reads makes the queues well; the first is still named.
    project.worker(name="second").wait_for_log("consumes ")
    well = becomes(project, set())
    assert [w["healthy"] for w in well.report["workers"]].count(False) == 1
    assert "Alive, but not reading: " in well.output


def test_passwords_are_not_shown(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., RedisServer], postgres_server: PostgresServer
) -> None:
    url = postgres_server.url("nowhere").replace(PASSWORD, "hunter2")
    redis = make_redis(password="swordfish")
    for redis_url in (redis.url, redis.url.replace("swordfish", "tunafish")):
        project = make_project(TASKS, redis_url=redis_url, rearq={"db_url": url}, name=f"site{len(redis_url)}")
        answer = health(project)
        assert answer.code == 1
        assert "password authentication failed" in answer.failed["sql"]
        assert ("redis" in answer.failed) is ("tunafish" in redis_url)
        assert not [secret for secret in ("swordfish", "tunafish", "hunter2") if secret in answer.output]


@pytest.mark.parametrize(("rearq", "way_out"), [({}, "migrate tasks"), ({"db_url": "sqlite:///./jobs.db"}, "A worker")])
def test_tables_that_are_missing(make_project: Callable[..., TaskProject], rearq: dict[str, str], way_out: str) -> None:
    project = make_project(TASKS, rearq=rearq, migrate=False)
    for _ in range(2):  # the first must not have made them
        answer = health(project)
        assert "lacks the tables that hold jobs" in answer.failed["sql"]
        assert way_out in answer.failed["sql"]


def test_names_that_no_queue_can_have(project: TaskProject) -> None:
    with pytest.raises(CommandFailed) as failed:
        project.manage("tasks_health", "--queue", "two words")
    assert "a queue's name holds no spaces" in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_it_can_be_asked_on_any_event_loop(project: TaskProject) -> None:
    project.worker("--with-timer").wait_for_log("consumes ")
    becomes(project, set())
    both = project.json(
        "import asyncio\nfrom django_cfg_tasks.health import acheck_health, check_health\n"
        "emit([asyncio.run(acheck_health()).healthy, check_health(['extra']).as_dict()])"
    )
    assert both[0] is True
    assert both[1]["healthy"] is False
    assert both[1]["checks"][-2]["name"] == "queue:extra"
