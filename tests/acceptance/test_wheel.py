"""What users install: the wheel alone, with the newest dependencies it allows, in a fresh environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import TaskProject

ROOT = Path(__file__).resolve().parents[2]

TASKS = """\
from django_cfg_tasks import task

@task
async def greet(name: str):
    return f"hello {name}"
"""


@pytest.mark.timeout(600)
def test_the_wheel_alone_runs_a_job(make_project: Callable[..., TaskProject], tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "fresh", with_pip=True)
    programs = tmp_path / "fresh" / "bin"
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", str(wheel)], check=True, capture_output=True)
    project = make_project(TASKS)
    worker = project.start(programs / "rearq", "main:rearq", "worker", "--queue", "default", "--with-timer", name="w")
    worker.wait_for_log("consumes default", timeout=60)
    caller = project.start(
        *(programs / "python", "-c"),
        "import django; django.setup()\n"
        "import django_cfg_tasks; print(django_cfg_tasks.__file__)\n"
        "from shop.tasks import greet\nprint(greet.enqueue('you').wait(timeout=20).result)",
        name="caller",
    )
    caller.wait_for_log("hello you", timeout=60)
    assert str(tmp_path / "fresh") in caller.output
    worker.sigterm()
    assert worker.wait() == 0
