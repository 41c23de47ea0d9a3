"""Cancelling: jobs that wait never start, running ones are told, and a late end changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
import asyncio, time
from django_cfg_tasks import task
from shop.ledger import note

@task
async def patient(line: str):
    note(f"start {line}")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        note(f"told {line}")
        raise

@task
def patient_thread(line: str):
    note(f"start {line}")
    try:
        for _ in range(3000):
            time.sleep(0.01)
    finally:
        note(f"told {line}")
"""

# How a function can end once it was told to; each notes when it has begun, and what it did then.
ENDINGS = """\
import asyncio, time
from django_cfg_tasks import Retry, task
from django_cfg_tasks.worker import runner
from shop.ledger import note

runner.ASKED_SECONDS = 1.0  # for `stubborn`; the others end at once

@task(bind=True, job_retry=0)
def willing(ctx, line: str):
    note(f"start {line}")
    while not ctx.canceled:
        time.sleep(0.01)
    note(f"ends {line}")
    return "ended by itself"

@task(bind=True)
def raising(ctx, line: str):
    note(f"start {line}")
    while not ctx.canceled:
        time.sleep(0.01)
    note(f"ends {line}")
    raise Retry("told to stop")

@task(bind=True)
async def catching(ctx, line: str):
    note(f"start {line}")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        note(f"ends {line}" if ctx.canceled else f"was not told {line}")
    return "ended by itself"

@task(bind=True, job_retry=0)
def stubborn(ctx, line: str):
    note(f"start {line}")
    began = None
    try:
        for _ in range(3000):
            time.sleep(0.01)
            if ctx.canceled and began is None:
                began = time.monotonic()
    finally:
        note(f"ends {line}" if began and time.monotonic() - began > 0.8 else f"was given no time {line}")
"""

ROWS = """
from django.db import connection
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
cursor = connection.cursor()
cursor.execute("SELECT status, owner, job_retries FROM rearq_job ORDER BY id")
jobs = cursor.fetchall()
cursor.execute("SELECT outcome, error_class FROM rearq_job_results ORDER BY id")
results = cursor.fetchall()
emit([jobs, results, list(TaskLog.objects.order_by("id").values_list("status", "result"))])
"""


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(make_project: Callable[..., TaskProject]) -> Callable[..., TaskProject]:
    return lambda tasks, **options: make_project(tasks, **options, files={"shop/ledger.py": LEDGER})


def started(project: TaskProject, task: str, *lines: str) -> list[str]:
    """Enqueue a job of ``task`` for each of ``lines``, and return their ids once all of them run."""
    ids: list[str] = project.json(
        f"from shop.tasks import {task} as t\nemit([t.enqueue(line).job_id for line in {lines!r}])"
    )
    wait_until(lambda: all(f"start {line}" in runs(project.folder) for line in lines), "the jobs run")
    return ids


def cancel(project: TaskProject, job_id: str) -> bool:
    return bool(project.json(f"from django_cfg_tasks import get_rearq_client as c\nemit(c().cancel({job_id!r}))"))


@pytest.mark.parametrize("task", ["patient", "patient_thread"])
def test_waiting_and_running_jobs(make_project: Callable[..., TaskProject], task: str, database: str) -> None:
    project = make_project(TASKS, database=database, rearq={"max_jobs": 1}, files={"shop/ledger.py": LEDGER})
    waiting = project.json(
        f"from shop.tasks import {task} as t\njob = t.enqueue('never')\n"
        "emit([job.cancel(), job.cancel(), job.refresh().status])"
    )
    assert waiting == [True, False, "canceled"]
    worker = project.worker()
    running = project.start_code(
        f"from shop.tasks import {task} as t\n"
        "import asyncio, time\nfrom pathlib import Path\n"
        "job = t.enqueue('now')\n"
        "while job.refresh().status != 'in_progress' or not Path('shop/ledger.txt').exists(): time.sleep(0.05)\n"
        "print(asyncio.run(job.acancel()), flush=True)\n"
        "result = job.wait(timeout=10)\n"
        "print(result.status, result.error, flush=True)",
        name="canceler",
    )
    running.wait_for_log("canceled The job was canceled.")
    wait_until(lambda: "told now" in runs(project.folder), "the running job is told")
    worker.sigterm()
    assert worker.wait() == 0
    assert set(runs(project.folder)) == {"start now", "told now"}
    statuses = project.json(
        "from django_cfg_tasks.models import TaskLog\nemit(list(TaskLog.objects.values_list('status', flat=True)))"
    )
    assert statuses == ["canceled", "canceled"]


@pytest.mark.parametrize("task", ["willing", "raising", "catching", "stubborn"])
def test_however_a_canceled_job_ends_it_stays_canceled(
    make: Callable[..., TaskProject], task: str, database: str
) -> None:
    project = make(ENDINGS, database=database)
    worker = project.worker()
    [job_id] = started(project, task, "x")
    assert cancel(project, job_id)
    wait_until(lambda: len(runs(project.folder)) == 2, "the job has ended")
    assert worker.stop() == 0
    assert runs(project.folder) == {"start x": 1, "ends x": 1}
    [[status, _, retries]], results, log = project.json(ROWS)
    assert [status, retries, results, log] == ["canceled", 0, [["canceled", None]], [["canceled", None]]]


def test_all_jobs_of_a_task(make: Callable[..., TaskProject], database: str) -> None:
    project = make(TASKS, database=database, rearq={"max_jobs": 4, "shutdown_timeout": 0.5})
    worker = project.worker("--with-timer")
    started(project, "patient", "a", "b")
    started(project, "patient_thread", "kept")
    story = project.json(
        "from shop.tasks import patient, patient_thread\nfrom django_cfg_tasks import get_rearq_client\n"
        "client = get_rearq_client()\n"
        "jobs = patient.enqueue_many([str(n)] for n in range(400))\n"
        "later = [patient.using(countdown=n).enqueue(f'later {n}') for n in (1, 3600)]\n"
        "other = patient_thread.using(countdown=3600).enqueue('other')\n"
        "counts = [client.cancel_task('patient'), client.cancel_task(patient)]\n"
        "ended = jobs[-1].wait(timeout=5)\n"
        "left = {r.status for r in client.load([job.job_id for job in [*jobs, *later]]).values()}\n"
        "emit([counts, ended.status, sorted(left), other.refresh().status])"
    )
    assert story == [[404, 0], "canceled", ["canceled"], "deferred"]
    wait_until(lambda: {"told a", "told b"} <= set(runs(project.folder)), "the running jobs are told")
    assert "told kept" not in runs(project.folder)
    assert worker.stop() == 0
    # Two slots and the read-ahead are the most that had begun when the word came.
    assert len([line for line in runs(project.folder) if line.startswith("start")]) < 20
    jobs, _, log = project.json(ROWS)
    statuses = [row[0] for row in jobs]
    assert sorted(set(statuses)) == ["canceled", "deferred", "queued"], "the last two: of the other task"
    assert [row[0] for row in log].count("canceled") == statuses.count("canceled") == 404


def test_pages_of_a_large_task_are_canceled_in_async_code(make: Callable[..., TaskProject], database: str) -> None:
    story = make(TASKS, database=database).json(
        "import asyncio\nfrom shop.tasks import patient, patient_thread\n"
        "from django_cfg_tasks import client as room\n"
        "room.CANCEL_PAGE, client = 100, room.get_rearq_client()\n"
        "patient.enqueue_many([str(n)] for n in range(250))\nkept = patient_thread.enqueue('kept')\n"
        "count = asyncio.run(client.acancel_task(patient))\n"
        "emit([count, len({r.job_id for r in client.read_records(0, 999) if r.status == 'canceled'}), "
        "kept.refresh().status])"
    )
    assert story == [250, 250, "queued"]


def test_an_unknown_task_is_refused(make: Callable[..., TaskProject]) -> None:
    message = make(TASKS).json(
        "from django_cfg_tasks import get_rearq_client\nfrom django_cfg_tasks.exceptions import UnknownTaskError\n"
        "try:\n    get_rearq_client().cancel_task('pateint')\nexcept UnknownTaskError as error:\n    emit(str(error))"
    )
    assert message == "No task is called 'pateint'. Known: patient, patient_thread."


@pytest.mark.parametrize("task", ["willing", "raising", "stubborn"])
def test_a_timeout_is_told_first_and_is_a_timeout_however_it_ends(make: Callable[..., TaskProject], task: str) -> None:
    project = make(ENDINGS)
    worker = project.worker()
    result = project.json(
        f"from shop.tasks import {task} as t\n"
        "result = t.using(job_timeout=0.5, job_retry=0).enqueue('x').wait(timeout=15)\n"
        "emit([result.status, result.error])"
    )
    assert result == ["failed", "JobTimeoutError: The job ran longer than its job_timeout of 0.5 s."]
    assert runs(project.folder) == {"start x": 1, "ends x": 1}
    assert worker.stop() == 0


def test_a_shutdown_is_told_first(make: Callable[..., TaskProject]) -> None:
    """A result counts, whoever raises is put back without a retry used."""
    project = make(ENDINGS, rearq={"shutdown_timeout": 0.5})
    worker = project.worker()
    for task in ("willing", "raising", "stubborn"):
        started(project, task, task)
    worker.sigterm()
    assert worker.wait() == 0
    tasks = ("willing", "raising", "stubborn")
    assert runs(project.folder) == {f"{what} {task}": 1 for what in ("start", "ends") for task in tasks}
    jobs, results, _ = project.json(ROWS)
    assert jobs == [["success", None, 0], ["queued", None, 0], ["queued", None, 0]]
    assert sorted(outcome for outcome, _ in results) == ["released", "released", "success"]


def test_a_worker_that_could_not_be_told_finds_out(make: Callable[..., TaskProject], redis_server: RedisServer) -> None:
    project = make(TASKS)
    worker = project.worker()
    [job_id] = started(project, "patient", "x")
    redis_server.stop()
    worker.wait_for_log("Not consuming")
    assert cancel(project, job_id)
    assert "told x" not in runs(project.folder)
    redis_server.start()
    wait_until(lambda: "told x" in runs(project.folder), "the worker has looked", timeout=20)
    assert worker.stop() == 0
    [[status, *_]], _, _ = project.json(ROWS)
    assert status == "canceled"


def test_jobs_that_are_canceled_in_the_moment_of_their_start(make: Callable[..., TaskProject], database: str) -> None:
    project = make(TASKS, database=database)
    worker = project.worker()
    worker.wait_for_log("consumes default")
    project.run(
        "import time\nfrom shop.tasks import patient\n"
        "jobs = []\n"
        "for number in range(150):\n"
        "    jobs.append(patient.enqueue(str(number)))\n"
        "    time.sleep(number % 10 / 1000)\n"
        "    assert jobs[-1].cancel()"
    )

    def untold() -> set[str]:
        seen = runs(project.folder)
        return {line for line in seen if line.startswith("start") and line.replace("start", "told") not in seen}

    wait_until(lambda: not untold(), "every job that had started is told")
    assert worker.stop() == 0
    jobs, _, _ = project.json(ROWS)
    assert {row[0] for row in jobs} == {"canceled"}
