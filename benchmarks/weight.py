"""What the package weighs where no job runs: its import, Django's checks, the start of a worker, and doing nothing."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.draining import ENDS, moment
from benchmarks.figures import ratio, spread, table
from benchmarks.stage import ROOT, Stage, cpu_seconds, say

IDLE_SECONDS = 10
HEAVY = ("rearq", "fastapi", "tortoise", "pydantic", "django")
IMPORT = f"""\
import json, sys, time
started, cpu = time.perf_counter(), time.process_time()
import {{module}}
spent = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps([*spent, [name for name in {HEAVY} if name in sys.modules]]))
"""
PLAIN_URLS = """\
from django.contrib import admin
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

class View(APIView):
    def get(self, request):
        return Response({})

urlpatterns = [path("admin/", admin.site.urls), path("api/", View.as_view())]
"""
BARE_URLS = """\
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
SETTINGS = """\
from project.settings import *
INSTALLED_APPS = [app for app in INSTALLED_APPS if app not in {without}]
ROOT_URLCONF = "project.{urls}"
"""
CHECKS = {
    "`manage.py check`, with the package": "project.settings",
    "without it, with an API of REST framework": "project.plain",
    "with the package, REST framework not among the apps": "project.alone",
    "without both": "project.bare",
}
PAIRS = {"project.plain": "project.settings", "project.bare": "project.alone"}
"""Which project with the package has what of the one without."""


def measure(stage: Stage, rounds: int) -> str:
    """Measure everything and return the tables."""
    return "\n\n".join((_imports(stage, rounds), _checks(stage, rounds), _starts(stage, rounds), _idle(stage)))


def _environment(stage: Stage, **more: str) -> dict[str, str]:
    """Return one in which what is imported is compiled once, in a first round, as it is where it was installed."""
    inherited = {name: value for name, value in stage.project.env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPYCACHEPREFIX": str(stage.project.folder / "bytecode"), **more}


def _imports(stage: Stage, rounds: int) -> str:
    modules = ("django_cfg_tasks", "django", "pydantic")
    wall: dict[str, list[float]] = {module: [] for module in modules}
    cpu: dict[str, list[float]] = {module: [] for module in modules}
    loaded: dict[str, list[str]] = {}
    env = _environment(stage)
    for number in range(3 * rounds + 1):
        for module in modules:
            code = IMPORT.format(module=module)
            command = [sys.executable, "-c", code]
            output = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, env=env).stdout  # noqa: S603
            seconds, used, loaded[module] = json.loads(output)
            if number:
                wall[module].append(1000 * seconds)
                cpu[module].append(1000 * used)
    say(f"weight  import django_cfg_tasks: {spread(wall['django_cfg_tasks'])} ms")
    return table(
        ["import, in a fresh interpreter", "ms", "ms of CPU", f"what it loads of {', '.join(HEAVY)}"],
        [
            [f"`import {module}`", spread(wall[module]), spread(cpu[module]), ", ".join(loaded[module]) or "none"]
            for module in modules
        ],
    )


def _checks(stage: Stage, rounds: int) -> str:
    ours = ["django_cfg_tasks", "shop"]
    stage.project.write("project/plain_urls.py", PLAIN_URLS)
    stage.project.write("project/bare_urls.py", BARE_URLS)
    stage.project.write("project/plain.py", SETTINGS.format(without=ours, urls="plain_urls"))
    stage.project.write("project/alone.py", SETTINGS.format(without=["rest_framework"], urls="urls"))
    stage.project.write("project/bare.py", SETTINGS.format(without=[*ours, "rest_framework"], urls="bare_urls"))
    wall: dict[str, list[float]] = {settings: [] for settings in CHECKS.values()}
    cpu: dict[str, list[float]] = {settings: [] for settings in CHECKS.values()}
    for number in range(rounds + 2):
        for settings in CHECKS.values():
            env = _environment(stage, DJANGO_SETTINGS_MODULE=settings)
            seconds, used = _run([sys.executable, "manage.py", "check"], stage.project.folder, env)
            if number:
                wall[settings].append(1000 * seconds)
                cpu[settings].append(1000 * used)
    say(f"weight  check: {spread(wall['project.settings'])} ms")
    return table(
        ["check", "ms", "ms of CPU", "CPU with the package, times this"],
        [
            [row, spread(wall[settings]), spread(cpu[settings]),
             ratio(cpu[PAIRS[settings]], cpu[settings]) if settings in PAIRS else ""]
            for row, settings in CHECKS.items()
        ],
    )  # fmt: skip


def _run(command: list[str], folder: Path, env: Mapping[str, str]) -> tuple[float, float]:
    """Run a command; return its seconds, and its seconds of CPU."""
    before, started = _children(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=dict(env), check=True, capture_output=True)  # noqa: S603
    return time.perf_counter() - started, _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _starts(stage: Stage, rounds: int) -> str:
    seconds, cpu = [], []
    for _ in range(rounds):
        stage.add_waiting(1)
        started = time.time()
        with stage.worker() as worker:
            stage.wait_for(lambda: not stage.waiting(), "the job is done")
            cpu.append(cpu_seconds(worker.pid))
        [[first, _, _]] = stage.execute(ENDS)
        seconds.append(moment(first) - started)
        stage.clear()
    say(f"weight  start to first job: {spread(seconds)} s")
    return table(
        ["start", "s", "s of CPU"],
        [["`rearq main:rearq worker` to the start of a job that waits", spread(seconds), spread(cpu)]],
    )


def _idle(stage: Stage) -> str:
    timer = stage.project.timer()
    try:
        with stage.worker() as worker:
            timer.wait_for_log("leads", timeout=60)
            pids = {"worker": worker.pid, "timer": timer.pid}
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            servers = stage.cpu()
            time.sleep(IDLE_SECONDS)  # what is measured is that nothing happens
            used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
            of_servers = stage.cpu() - servers
            size = {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items()}
    finally:
        timer.sigkill()
    say(f"weight  idle: {used}")
    return table(
        [f"idle, for {IDLE_SECONDS} s", "% of a core", "MB of memory"],
        [
            *([name, f"{100 * used[name] / IDLE_SECONDS:.1f}", f"{size[name]:.0f}"] for name in pids),
            ["the SQL server, of both", f"{100 * of_servers.sql / IDLE_SECONDS:.1f}", ""],
            ["Redis, of both", f"{100 * of_servers.redis / IDLE_SECONDS:.1f}", ""],
        ],
    )
