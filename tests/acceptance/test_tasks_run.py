"""``manage.py tasks_run`` with a real worker: what it shows while the job runs, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.project import TaskProject

TASKS = """\
import asyncio
from pathlib import Path
from django_cfg_tasks import task

@task(bind=True, job_retry=0)
async def gated(ctx, fail: bool = False) -> dict:
    ctx.progress(0.25, "before the gate")
    while not Path("go").exists():
        await asyncio.sleep(0.05)
    if fail:
        raise ValueError("no paper")
    return {"done": True}
"""


@pytest.fixture
def project(make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS)


def test_a_job_is_followed(project: TaskProject) -> None:
    project.worker()
    good = project.managed("tasks_run", "gated", name="good")
    bad = project.managed("tasks_run", "gated", "--kwargs", '{"fail": true}', name="bad")
    left = project.managed("tasks_run", "gated", name="left")
    for run in (good, bad, left):
        run.wait_for_log("^runs  25% before the gate$", timeout=60)
    left.send(signal.SIGINT)
    assert left.wait() == 130
    assert "The job goes on. To stop it: manage.py tasks_cancel" in left.output
    project.write("go", "")
    assert good.wait() == 0
    assert "success in " in good.output
    assert '"done": true' in good.output
    assert bad.wait() == 1
    assert "CommandError: The job is failed. ValueError: no paper" in bad.output
    assert not any("Traceback" in run.output for run in (good, bad, left))


def test_nobody_takes_the_job(project: TaskProject) -> None:
    run = project.managed("tasks_run", "gated", "--timeout", "6", name="run")
    run.wait_for_log("No worker takes from the queue default. Start one: manage.py rearq worker", timeout=60)
    assert run.wait() == 3
