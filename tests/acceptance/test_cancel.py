"""Cancelling: jobs that wait never start, running ones are told, and a late end changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
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


@pytest.mark.parametrize("task", ["patient", "patient_thread"])
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
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
