"""Progress: readable while the job runs, written once a second at most, and never more than a number and a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.postgres_server import PostgresServer
from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio, time
from pathlib import Path
from django_cfg_tasks import task
from shop.ledger import note

@task(bind=True)
def steps(ctx, name: str):
    ctx.progress(0.1, "the first")
    ctx.progress(0.5, "one right behind it")
    note(f"told {name}")
    while not Path("go").exists():
        time.sleep(0.02)
    ctx.progress(0.75, "the last")
    return name

@task(bind=True)
async def asteps(ctx, name: str):
    ctx.progress(0.1, "the first")
    ctx.progress(0.5, "one right behind it")
    note(f"told {name}")
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    ctx.progress(0.75, "the last")
    return name

@task(bind=True)
def fast(ctx, seconds: float):
    from django_cfg_tasks.signals import jobs_changed

    def receive(records, **_):
        seen.extend(record.progress for record in records if record.progress is not None)

    seen = []
    jobs_changed.connect(receive)
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        ctx.progress((time.monotonic() - began) / seconds)
    jobs_changed.disconnect(receive)
    return [len(seen), time.monotonic() - began]

@task(bind=True, job_retry=1, job_retry_after=0)
def again(ctx):
    if ctx.attempt == 1:
        ctx.progress(0.9, "nearly")
        raise ValueError
    note("second")
    while not Path("go").exists():
        time.sleep(0.02)

@task(bind=True)
def odd(ctx):
    ctx.progress(7, "x" * 300)
    ctx.progress(float("nan"), "a\\x00b\\ud800")
"""

LOOK = """
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.job import Job
from django_cfg_tasks.models import TaskLog
rows = TaskLog.objects.order_by("id").values_list("status", "progress", "progress_message")
emit([[[job.status, job.progress, job.progress_message] for job in map(Job, get_rearq_client().read_records(0, 9))],
      list(rows)])
"""


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS, database=request.param, files={"shop/ledger.py": LEDGER})


def shows(project: TaskProject, *expected: Any, count: int = 1) -> bool:
    """Whether jobs and history both say so of all jobs."""
    return bool(project.json(LOOK) == [[list(expected)] * count] * 2)


def test_the_latest_value_is_read_while_jobs_run_and_the_last_one_stays(project: TaskProject) -> None:
    project.worker()
    project.run(
        "import time\nfrom shop.tasks import asteps, steps\n"
        "jobs = [steps.enqueue('a'), steps.enqueue('b'), asteps.enqueue('c')]\n"
    )
    wait_until(lambda: len(runs(project.folder)) == 3, "all have told")
    wait_until(lambda: shows(project, "in_progress", 0.5, "one right behind it", count=3), "what they told is read")
    project.write("go", "")
    wait_until(lambda: shows(project, "success", 0.75, "the last", count=3), "the last value is kept")


def test_a_handle_shows_it_after_a_refresh(project: TaskProject) -> None:
    project.worker()
    seen = project.json(
        "import time\nfrom pathlib import Path\nfrom shop.tasks import steps\n"
        "job = steps.enqueue('a')\n"
        "seen = [[job.progress, job.progress_message]]\n"
        "deadline = time.monotonic() + 20\n"
        "while job.refresh().progress != 0.5 and time.monotonic() < deadline: time.sleep(0.02)\n"
        "seen.append([job.progress, job.progress_message])\n"
        "Path('go').touch()\n"
        "job.wait(timeout=20)\n"
        "emit([*seen, [job.progress, job.progress_message]])"
    )
    assert seen == [[None, ""], [0.5, "one right behind it"], [0.75, "the last"]]


def test_it_is_written_once_a_second_at_most(project: TaskProject) -> None:
    project.worker()
    written, seconds = project.json("from shop.tasks import fast\nemit(fast.enqueue(2.5).wait(timeout=30).result)")
    assert 1 <= written <= seconds + 1


def test_another_attempt_begins_anew(project: TaskProject) -> None:
    project.worker("--with-timer")
    project.run("from shop.tasks import again\nagain.enqueue()")
    wait_until(lambda: "second" in runs(project.folder), "the second attempt runs")
    wait_until(lambda: shows(project, "in_progress", None, ""), "nothing of the first attempt's is left")
    project.write("go", "")


def test_what_no_database_would_take_is_made_fit(project: TaskProject) -> None:
    project.worker()
    seen = project.json(
        "from shop.tasks import odd\njob = odd.enqueue()\nended = job.wait(timeout=20)\n"
        "emit([ended.success, job.progress, job.progress_message])"
    )
    assert seen == [True, 0.0, "a\ufffdb?"]


def test_an_outage_of_sql_delays_it_and_nothing_else(
    make_project: Callable[..., TaskProject], postgres_server: PostgresServer
) -> None:
    project = make_project(
        """
import time
from pathlib import Path
from django_cfg_tasks import task
from shop.ledger import note

@task(bind=True)
def told(ctx):
    ctx.progress(0.1)
    note("begins")
    while not Path("away").exists():
        time.sleep(0.02)
    ctx.progress(0.6, "told while SQL was away")
    note("told")
    while not Path("go").exists():
        time.sleep(0.02)
""",
        database="postgres",
        files={"shop/ledger.py": LEDGER},
    )
    worker = project.worker()
    project.run("from shop.tasks import told\ntold.enqueue()")
    wait_until(lambda: shows(project, "in_progress", 0.1, ""), "the first value is read")
    postgres_server.stop()
    project.write("away", "")
    wait_until(lambda: "told" in runs(project.folder), "the job goes on")
    postgres_server.start()
    wait_until(
        lambda: shows(project, "in_progress", 0.6, "told while SQL was away"), "the value was kept in mind", timeout=40
    )
    project.write("go", "")
    assert worker.stop() == 0
