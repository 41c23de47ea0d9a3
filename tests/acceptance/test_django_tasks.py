"""Django's task framework on our workers: its own cases, and that a higher priority goes first."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.project import URLS, TaskProject

HERE = Path(__file__).parent.parent / "django_tasks"
BACKEND = "django_cfg_tasks.contrib.django_tasks.ReArqBackend"
TASKS = {
    "default": {"BACKEND": BACKEND, "QUEUES": ["default", "queue_1"]},
    "patient": {"BACKEND": BACKEND, "OPTIONS": {"job_retry": 2, "job_retry_after": 0}},
    "brief": {"BACKEND": BACKEND, "OPTIONS": {"expire": 0.001}},
    "any_queue": {"BACKEND": BACKEND, "QUEUES": []},
}
FOUND = """\
try:
    from django.tasks import task
except ImportError:
    from django_tasks import task

@task
def found():
    return "found"
"""
PLAIN = "from django_cfg_tasks import task\n\n@task\nasync def plain(number: int) -> int:\n    return number\n"


def test_djangos_own_cases(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(
        (HERE / "functions.py").read_text(),
        settings=f"TASKS = {TASKS!r}\n",
        files={
            "shop/apps.py": (HERE / "receivers.py").read_text(),
            "shop/deep/__init__.py": "",
            "shop/deep/down.py": FOUND,
            "shop/jobs.py": PLAIN,
            "project/urls.py": f"{URLS}\nimport shop.deep.down\n",
            "cases.py": (HERE / "cases.py").read_text(),
        },
        task_modules=["tasks", "jobs"],
    )
    worker = project.worker("--with-timer", "--queue", "default", "--queue", "queue_1")
    worker.wait_for_log("consumes default@50, default@1, default, default@-50, default@-100, queue_1@50, ")
    cases = project.start(sys.executable, "-W", "error::DeprecationWarning:shop", "cases.py", name="cases")
    assert cases.wait(timeout=110) == 0
    assert re.search(r"Ran \d+ tests", cases.output)
    assert not re.search("failed to take in|could not|dropped", worker.output)


def test_a_higher_priority_goes_first(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(
        (HERE / "functions.py").read_text(),
        settings=f"TASKS = {{'default': {{'BACKEND': {BACKEND!r}, 'QUEUES': ['default', 'mails']}}}}\n",
        rearq={"max_jobs": 1},
    )
    jobs = project.json("""
from shop.tasks import answer
order = [(0, "default"), (-100, "default"), (10, "mails"), (100, "default"), (-1, "default"), (0, "mails"),
         (60, "mails"), (1, "default"), (0, "default"), (100, "default")]
emit([(answer.using(priority=priority, queue_name=queue).enqueue().id, priority, queue) for priority, queue in order])
""")
    shown = "from django_cfg_tasks import live\nemit([queue.name for queue in live.ask(live.queues)])"
    assert project.json(shown) == [
        "default", "default@-100", "default@-50", "default@1", "default@50", "mails", "mails@1", "mails@50"
    ]  # fmt: skip
    project.worker()  # without --queue: all that the backend takes
    ended = project.json(f"""
import time
from shop.tasks import answer
results = [answer.get_result(job_id) for job_id, *_ in {jobs!r}]
deadline = time.monotonic() + 60
while not all(result.is_finished for result in results) and time.monotonic() < deadline:
    time.sleep(0.05)
    for result in results:
        result.refresh()
results.sort(key=lambda result: result.started_at)
emit([[result.id, result.task.priority, result.task.queue_name, result.return_value] for result in results])
""")
    assert [job[2] for job in ended] == ["default"] * 7 + ["mails"] * 3
    assert [job[1] for job in ended] == [100, 100, 1, 0, 0, -1, -100, 60, 10, 0]
    first = [jobs[index][0] for index in (3, 9, 7, 0, 8, 4, 1, 6, 2, 5)]
    assert [job[0] for job in ended] == first
    assert {job[3] for job in ended} == {42}
    assert project.json(shown) == ["default", "mails"]  # though the worker consumes the lanes
