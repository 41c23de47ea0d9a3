"""Cron through real timers and workers: no due time twice, and the right ones while no timer could see to them."""

from __future__ import annotations

import datetime as dt
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.ledger import LEDGER, runs
from tests.postgres_server import PostgresServer
from tests.processes import Process
from tests.project import TaskProject
from tests.waiting import wait_until

HEAD = """\
import asyncio, datetime as dt
from django_cfg_tasks import task, cron_task
from shop.ledger import note
"""
MakeProject = Callable[..., TaskProject]


def make(make_project: MakeProject, tasks: str, *, database: str = "sqlite") -> TaskProject:
    return make_project(HEAD + tasks, database=database, rearq={"lease": 2}, files={"shop/ledger.py": LEDGER})


def jobs(project: TaskProject) -> list[tuple[str, str, str]]:
    """Task, job id and status of all jobs, oldest first."""
    found = project.json(
        "from django_cfg_tasks import get_rearq_client\n"
        "records = get_rearq_client().read_records(0, 100_000)\n"
        "emit([(record.task, record.job_id, record.status) for record in records])"
    )
    return [tuple(row) for row in found]


def due_times(project: TaskProject, task: str) -> list[dt.datetime]:
    """The due times whose jobs of ``task`` there are."""
    prefix = f"cron:{task}:"
    ids = [job_id for name, job_id, _ in jobs(project) if name == task and job_id.startswith(prefix)]
    return sorted(dt.datetime.fromisoformat(job_id.removeprefix(prefix)) for job_id in ids)


def is_each_second(moments: list[dt.datetime]) -> bool:
    return moments == [moments[0] + dt.timedelta(seconds=number) for number in range(len(moments))]


def leader_of(timers: list[Process]) -> Process:
    return wait_until(
        lambda: next((t for t in timers if t.running and "leads." in t.output), None), "a timer leads", 30
    )


def end(*processes: Process) -> None:
    for process in processes:
        process.sigterm()
    assert [process.wait() for process in processes] == [0] * len(processes)


def lines_of(folder: Path, start: str) -> int:
    return sum(count for line, count in runs(folder).items() if line.startswith(start))


EACH_SECOND = """
@cron_task("* * * * * *", catch_up="all", bind=True)
async def every(ctx):
    note(ctx.job_id)

@cron_task("* * * * * *", bind=True)
async def latest(ctx):
    note(ctx.job_id)
"""


def test_a_leader_that_is_frozen_for_longer_than_its_lease(make_project: MakeProject) -> None:
    project = make(make_project, EACH_SECOND)
    worker = project.worker()
    timers = [project.timer(name=f"timer-{number}") for number in range(3)]
    leader = leader_of(timers)
    wait_until(lambda: lines_of(project.folder, "cron:every:") >= 3, "three firings", 20)
    project.freeze(leader)
    try:
        others = [timer for timer in timers if timer is not leader]
        leader_of(others)
        seen = lines_of(project.folder, "cron:every:")
        wait_until(lambda: lines_of(project.folder, "cron:every:") >= seen + 3, "another fires", 20)
    finally:
        leader.send(signal.SIGCONT)
    leader.wait_for_log("leads no more")
    seen = lines_of(project.folder, "cron:every:")
    wait_until(lambda: lines_of(project.folder, "cron:every:") >= seen + 2, "firing goes on", 20)
    end(*timers)
    wait_until(lambda: all(status == "success" for *_, status in jobs(project)), "all jobs are done", 20)
    end(worker)
    assert is_each_second(due_times(project, "every"))
    assert len(due_times(project, "latest")) >= 5
    assert runs(project.folder) == Counter(job_id for _, job_id, _ in jobs(project))


def test_sql_that_is_away_costs_no_due_time_not_even_when_the_leader_dies(
    make_project: MakeProject, postgres_server: PostgresServer
) -> None:
    project = make(make_project, EACH_SECOND, database="postgres")
    timers = [project.timer(name=f"timer-{number}") for number in range(2)]
    leader = leader_of(timers)
    other = next(timer for timer in timers if timer is not leader)
    other.wait_for_log("started")
    leader.wait_for_log("Cron: every, due at", count=2)
    postgres_server.stop()
    leader.wait_for_log("The timer waits", count=2)
    leader.sigkill()
    other.wait_for_log("leads")
    other.wait_for_log("The timer waits", count=2)
    postgres_server.start()
    other.wait_for_log(r"Cron: every, due \d+ times")
    other.wait_for_log("Cron: every, due", count=3)
    end(other)
    assert is_each_second(due_times(project, "every"))
    assert "Cron: latest, due at" in other.output


MISSED = """
@cron_task({expression!r}, bind=True)
async def latest(ctx):
    note(ctx.job_id)

@cron_task({expression!r}, catch_up="all", bind=True)
async def every(ctx):
    note(ctx.job_id)

@cron_task({expression!r}, catch_up="none")
async def on_time():
    note("on time")

@cron_task({expression!r}, misfire_grace=1)
async def strict():
    note("strict")
"""


def test_due_times_that_passed_while_no_timer_ran(make_project: MakeProject) -> None:
    project = make(make_project, MISSED.format(expression="0 0 1 1 *"))
    before = project.timer(name="before")
    before.wait_for_log("leads")
    wait_until(lambda: len(known_tasks(project)) == 4, "the timer has met the tasks")
    end(before)
    first = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=1)
    if first.second > 55:
        first += dt.timedelta(seconds=60 - first.second)
    second = first + dt.timedelta(seconds=2)
    due = f"{first.second},{second.second} {first.minute} {first.hour} * * *"
    project.write("shop/tasks.py", HEAD + MISSED.format(expression=due))
    too_late = second + dt.timedelta(seconds=5.5)
    wait_until(lambda: dt.datetime.now(dt.UTC) > too_late, "both due times have passed", 20)
    worker = project.worker("--with-timer")
    for task in ("on_time", "strict"):
        worker.wait_for_log(rf"Cron: {task}, due from .* is left out: it is too late")
    wait_until(lambda: sum(runs(project.folder).values()) >= 3, "the missed jobs are run")
    end(worker)
    firings = [("latest", second), ("every", first), ("every", second)]
    assert runs(project.folder) == Counter(f"cron:{task}:{moment:%Y-%m-%dT%H:%M:%SZ}" for task, moment in firings)
    assert re.search(r"Cron: latest, due at .*, is left out: a later one is due too", worker.output)


def known_tasks(project: TaskProject) -> list[str]:
    found: list[str] = project.json(
        "from django.db import connection\n"
        "cursor = connection.cursor()\n"
        "cursor.execute('SELECT name FROM rearq_task WHERE fired_until IS NOT NULL')\n"
        "emit([name for name, in cursor.fetchall()])"
    )
    return found


SLOW = """
async def work(name):
    note(name + " starts")
    await asyncio.sleep(2.5)
    note(name + " ends")

@cron_task("* * * * * *", overlap="skip")
async def plain():
    await work("plain")

@cron_task("* * * * * *", overlap="skip", unique=True, unique_for="until_start")
async def unique():
    await work("unique")
"""


def test_skipped_while_the_job_before_runs_also_by_the_next_leader(make_project: MakeProject) -> None:
    project = make(make_project, SLOW)
    worker = project.worker()
    timers = [project.timer(name=f"timer-{number}") for number in range(2)]
    leader = leader_of(timers)
    for name in ("plain", "unique"):
        leader.wait_for_log(rf"Cron: {name}, due at .*, is left out: overlap='skip', and its job cron:{name}:")
    starts = lines_of(project.folder, "plain starts")
    wait_until(lambda: lines_of(project.folder, "plain starts") > starts, "the next job runs")
    leader.sigkill()
    leader_of([timer for timer in timers if timer is not leader])
    seen = runs(project.folder)
    more = {"plain ends": 2, "unique ends": 2}
    wait_until(lambda: runs(project.folder) >= seen + Counter(more), "two more of each are done", 30)
    timers.remove(leader)
    end(*timers, worker)
    text = (project.folder / "shop" / "ledger.txt").read_text().splitlines()
    for name in ("plain", "unique"):
        own = [line for line in text if line.startswith(name)]
        assert own == [f"{name} starts", f"{name} ends"] * (len(own) // 2), own


IN_ZONES = """
hour = dt.datetime.now(dt.timezone(dt.timedelta(hours=14))).hour
now_there = f"* * {hour},{(hour + 1) % 24} * * *"

@cron_task(now_there, timezone="Pacific/Kiritimati")
async def on_kiritimati():
    note("Kiritimati")

@cron_task(now_there)
async def here():
    note("here")
"""


def test_a_task_with_a_time_zone_of_its_own(make_project: MakeProject) -> None:
    project = make(make_project, IN_ZONES)
    worker = project.worker("--with-timer")
    wait_until(lambda: runs(project.folder)["Kiritimati"] >= 3, "it is that hour there", 20)
    end(worker)
    assert runs(project.folder)["here"] == 0


OFF = """
@cron_task("* * * * * *", bind=True, run_at_start=True, catch_up="all")
async def switched_off(ctx):
    note("off " + ctx.job_id)

@cron_task("* * * * * *")
async def on():
    note("on")
"""
SWITCH = """\
from django_cfg_tasks import get_rearq_client
get_rearq_client().{word}("switched_off")
"""


def test_a_disabled_task_is_left_out_until_it_is_enabled(make_project: MakeProject) -> None:
    project = make(make_project, OFF)
    project.run(SWITCH.format(word="disable"))
    worker = project.worker("--with-timer")
    wait_until(lambda: runs(project.folder)["on"] >= 4, "the other task runs", 30)
    assert lines_of(project.folder, "off") == 0
    enabled = dt.datetime.now(dt.UTC)
    project.run(SWITCH.format(word="enable"))
    wait_until(lambda: lines_of(project.folder, "off") >= 2, "it runs once it is enabled", 20)
    end(worker)
    assert worker.output.count("switched_off is disabled, so it does not run at this start") == 1
    assert worker.output.count("switched_off is disabled; its due times are left out until it is enabled") == 1
    # The due times before it was enabled are not made up for, but for the second in which it was.
    assert due_times(project, "switched_off")[0] > enabled - dt.timedelta(seconds=1)


BROKEN = """
class Nowhere(dt.tzinfo):
    def utcoffset(self, moment):
        raise RuntimeError("no clock here")

@cron_task("* * * * * *", timezone=Nowhere())
async def broken():
    note("broken")

@cron_task("* * * * * *")
async def sound():
    note("sound")

@task
async def late():
    note("late")
"""


def test_a_task_that_can_not_be_reckoned_keeps_nothing_else_from_running(make_project: MakeProject) -> None:
    project = make(make_project, BROKEN)
    worker = project.worker("--with-timer")
    worker.wait_for_log(r"Cron: broken can't be fired; trying again in 1 s", count=1)
    worker.wait_for_log(r"Cron: broken can't be fired; trying again in 2 s", count=1)
    project.run("from shop.tasks import late\nlate.using(countdown=0.5).enqueue()")
    seen = runs(project.folder)["sound"]
    wait_until(lambda: runs(project.folder)["sound"] >= seen + 2 and runs(project.folder)["late"], "others run", 20)
    end(worker)
    assert "no clock here" in worker.output
    assert runs(project.folder)["broken"] == 0
