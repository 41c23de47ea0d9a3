"""``worker --processes``, ``worker --reload`` and ``manage.py rearq``: what keeps processes running, as processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.processes import Process
from tests.project import TaskProject
from tests.servers import free_port
from tests.waiting import wait_until

TASKS = """\
import asyncio
from django_cfg_tasks import task
from shop.ledger import note

@task
async def mark(line: str):
    note(line)

@task(job_retry=0)
async def patient(line: str, seconds: float):
    note(f"start {line}")
    await asyncio.sleep(seconds)
    note(f"end {line}")
"""
CONSUMES = r"Worker \S+ \(process (\d+)\) consumes"
PATIENT_STATE = """
from django_cfg_tasks.models import TaskLog
row = TaskLog.objects.get(task_name="patient")
emit([row.status, row.job_retries, [attempt["outcome"] for attempt in row.attempts]])
"""

pytestmark = pytest.mark.long


@pytest.fixture
def project(make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS, rearq={"lease": 3}, files={"shop/ledger.py": LEDGER})


def workers_of(process: Process, count: int) -> list[int]:
    """Return the ids of the worker processes so far, once there are so many."""
    process.wait_for_log(CONSUMES, timeout=60, count=count)
    return [int(pid) for pid in re.findall(CONSUMES, process.output)]


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("command", ["rearq", "manage.py rearq"])
def test_several_processes(project: TaskProject, command: str) -> None:
    options = ("worker", "--with-timer", "--processes", "3", "--consumer-name", "one")
    parent = (
        project.rearq(*options, name="parent")
        if command == "rearq"
        else project.managed("rearq", *options, name="parent")
    )
    with_timer = int(parent.wait_for_log(r"Timer rearq-.*-(\d+)-\w{6}-timer started")[1])
    killed = next(pid for pid in workers_of(parent, 3) if pid != with_timer)
    assert set(re.findall(r"rearq-one-(\d)-\w{6} \(", parent.output)) == {"1", "2", "3"}
    os.kill(killed, signal.SIGKILL)
    parent.wait_for_log(rf"worker \d \(process {killed}\) was killed by SIGKILL\. It is started again\.")
    workers = workers_of(parent, 4)
    project.run("from shop.tasks import mark\nmark.enqueue_many([[f'{n}'] for n in range(100)])")
    wait_until(lambda: sum(runs(project.folder).values()) >= 100, "100 runs", timeout=30)
    parent.sigterm()
    parent.wait_for_log(r"SIGTERM: 3 process\(es\) are told to end")
    assert parent.wait() == 0
    assert all(gone(pid) for pid in workers)
    assert len(re.findall(r"Worker \S+ ended", parent.output)) == 3
    assert len(re.findall(r"Timer \S+ started", parent.output)) == 1
    assert set(runs(project.folder).values()) == {1}
    assert "Traceback" not in parent.output


def test_the_server_is_that_of_rearqs_command(project: TaskProject) -> None:
    servers = [project.server(), project.managed("rearq", "server", name="managed")]
    codes = [server.wait(60) for server in servers]
    said = [re.sub("^(Command)?Error: ", "", server.output.splitlines()[-1]) for server in servers]
    assert codes[0] == codes[1]
    assert said[0] == said[1]


def test_a_second_signal_is_passed_on(project: TaskProject) -> None:
    parent = project.worker("--processes", "2")
    workers_of(parent, 2)
    project.run("from shop.tasks import patient\npatient.enqueue('x', 60)")
    wait_until(lambda: bool(runs(project.folder)), "the job runs")
    parent.send(signal.SIGINT)
    parent.wait_for_log("waiting up to 25 s")
    parent.send(signal.SIGINT)
    parent.wait_for_log("running jobs are put back in the queue now")
    assert parent.wait() == 0
    assert project.json(PATIENT_STATE) == ["queued", 0, ["released"]]


def test_workers_end_in_order_when_their_parent_is_killed(project: TaskProject) -> None:
    parent = project.worker("--processes", "2")
    workers = workers_of(parent, 2)
    parent.send(signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for pid in workers), "the workers end", timeout=30)
    assert len(re.findall("The process that started this one is gone", parent.output)) == 2
    assert len(re.findall(r"Worker \S+ ended", parent.output)) == 2


def test_what_can_not_start_is_given_up(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER}, migrate=False)
    parent = project.worker("--processes", "2")
    assert parent.wait(60) == 1
    assert "python manage.py migrate tasks" in parent.output
    assert "ended with exit code 1; starting it again does not help, so all end." in parent.output
    refused = project.managed("rearq", "worker", "--queue", "two words", "--processes", "2", name="refused")
    assert refused.wait() == 1
    assert len(re.findall("a queue's name holds no spaces", refused.output)) == 1
    assert "Traceback" not in refused.output


def test_reload(project: TaskProject) -> None:
    """A running job goes back, and is run by the new code; code that can't be imported is waited out."""
    worker = project.managed("rearq", "worker", "--reload", name="worker")
    workers_of(worker, 1)
    project.run("from shop.tasks import patient\npatient.enqueue('old', 60)")
    wait_until(lambda: bool(runs(project.folder)), "the job runs")
    project.write("shop/tasks.py", "def broken(\n")
    worker.wait_for_log(r"shop/tasks\.py has changed", timeout=30)
    worker.wait_for_log("It is started again when code changes", timeout=60)
    worker.wait_for_log("SyntaxError")
    project.write("shop/tasks.py", TASKS.replace("asyncio.sleep(seconds)", "asyncio.sleep(0)"))
    workers_of(worker, 2)
    wait_until(lambda: "end old" in runs(project.folder), "the job is run by the new code", timeout=30)
    worker.sigterm()
    assert worker.wait() == 0
    assert project.json(PATIENT_STATE) == ["success", 0, ["released", "success"]]


def test_what_counts_as_code(make_project: Callable[..., TaskProject]) -> None:
    files = {
        "shop/extra/__init__.py": "",
        "shop/extra/unused.py": "",
        "shop/templates/mail.html": "",
        "shop/locale/de/LC_MESSAGES/django.mo": "",
        ".venv/other.py": "",
    }
    project = make_project(files={**files, "shop/notes.txt": ""}, migrate=False)
    watcher = project.start_code(
        "import time\nfrom django_cfg_tasks.worker import sources\n"
        "sources.watch(lambda path: print(f'<{path}>', flush=True))\ntime.sleep(60)",
        name="watcher",
    )
    changing = ["shop/notes.txt", ".venv/other.py", "shop/tasks.py", *list(files)[1:4]]
    now = time.time()

    def seen() -> set[str]:
        return {os.path.relpath(path, project.folder.resolve()) for path in re.findall("<(.*)>", watcher.output)}

    def change() -> bool:
        # Again and again, as what it has not seen yet does not count as changed.
        nonlocal now
        now += 2
        for path in changing:
            os.utime(project.folder / path, (now, now))
        return seen() >= set(changing[2:])

    wait_until(change, "all changes are seen", timeout=30)
    assert seen() == set(changing[2:])


def test_dev(make_project: Callable[..., TaskProject]) -> None:
    """One command starts what a developer needs, Redis too; one that dies comes back; Ctrl-C leaves nothing."""
    redis_port, web_port = free_port(), free_port()
    project = make_project(
        TASKS,
        redis_url=f"redis://:s3cret@localhost:{redis_port}/1",
        settings="DEBUG = True\n",
        files={"shop/ledger.py": LEDGER},
    )
    dev = project.managed("rearq", "dev", str(web_port), name="dev")
    dev.wait_for_log(r"^worker \| .*consumes default", timeout=60)
    dev.wait_for_log(r"^timer  \| .*leads\.", timeout=60)
    dev.wait_for_log(r"^web    \| Starting (WSGI )?development server", timeout=60)
    (killed,) = workers_of(dev, 1)

    def served() -> Any:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{web_port}/admin/login/") as answer:
            return answer.status

    wait_until(lambda: served() == 200, "the web server answers", timeout=30)
    os.kill(killed, signal.SIGKILL)
    dev.wait_for_log(rf"^dev    \| worker \(process {killed}\) was killed by SIGKILL")
    workers_of(dev, 2)
    assert project.json("from shop.tasks import mark\nemit(mark.enqueue('x').wait(30).success)") is True
    children = psutil.Process(dev.pid).children(recursive=True)
    assert not any("s3cret" in word for child in children for word in child.cmdline())
    dev.send(signal.SIGINT)
    assert dev.wait() == 0
    assert all(gone(child.pid) for child in children)
    assert "s3cret" not in dev.output


def test_dev_ends_with_its_web_server(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS, files={"shop/ledger.py": LEDGER})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dev = project.managed("rearq", "dev", str(taken.getsockname()[1]), name="dev")
        assert dev.wait(60) == 1
    assert "web    | Error: That port is already in use." in dev.output
    assert re.search(r"^dev    \| web \(process \d+\) ended with exit code 1; starting it again does", dev.output, re.M)
    elsewhere = make_project(redis_url="redis://:s3cret@192.0.2.1:1/0", migrate=False, name="elsewhere")
    refused = elsewhere.managed("rearq", "dev", name="refused")
    assert refused.wait(60) == 1
    assert "No Redis answers at redis://:***@192.0.2.1:1/0." in refused.output
