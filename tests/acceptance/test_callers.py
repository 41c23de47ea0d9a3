"""Enqueueing works from anywhere: threads, event loops old and new, async_to_sync, uvicorn, a forked child."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.servers import free_port
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task
from shop.ledger import note

@task
async def mark(line: str):
    note(line)
"""

VIEWS = """\
from django.http import JsonResponse
from django.urls import path
from shop.tasks import mark

async def take(request, number):
    job = await mark.delay(f"web-{number}")
    return JsonResponse({"job_id": job.job_id})

urlpatterns = [path("take/<int:number>/", take)]
"""

ASGI = """\
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""

FROM_EVERYWHERE = """
import asyncio, os, threading
from asgiref.sync import async_to_sync
from shop.tasks import mark

failures = []

def guarded(work):
    try:
        work()
    except Exception as error:
        failures.append(repr(error))

threads = [
    threading.Thread(target=guarded, args=(lambda t=t: [mark.enqueue(f"thread-{t}-{i}") for i in range(20)],))
    for t in range(50)
]
for thread in threads: thread.start()
for thread in threads: thread.join()
for i in range(200):
    guarded(lambda: async_to_sync(mark.delay)(f"bridge-{i}"))
for i in range(20):
    guarded(lambda: asyncio.run(mark.delay(f"loop-{i}")))
child = os.fork()
if child == 0:
    guarded(lambda: [mark.enqueue(f"child-{i}") for i in range(20)])
    # The child's own end: os._exit would be a crash.
    import sys
    sys.exit(1 if failures else 0)
_, status = os.waitpid(child, 0)
guarded(lambda: [mark.enqueue(f"parent-{i}") for i in range(20)])
emit({"failures": failures, "child": status})
"""

FINAL = """
from django_cfg_tasks.models import TaskLog
from django.db.models import Count
emit(dict(TaskLog.objects.values_list("status").annotate(Count("id"))))
"""


def peak_connections(project: TaskProject, request: pytest.FixtureRequest) -> Callable[[], int]:
    """Return a reading of how many connections the project's database has now."""
    server = request.getfixturevalue("postgres_server")
    name = request.getfixturevalue("postgres_database")
    return lambda: server.connections(name)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_from_threads_loops_bridges_and_a_forked_child(
    make_project: Callable[..., TaskProject], database: str, request: pytest.FixtureRequest
) -> None:
    project = make_project(TASKS, database=database, files={"shop/ledger.py": LEDGER})
    caller = project.start_code(FROM_EVERYWHERE, name="caller")
    peak = 0
    if database == "postgres":
        count = peak_connections(project, request)
        while caller.running:
            peak = max(peak, count())
    assert caller.wait(60) == 0
    assert '{"failures": [], "child": 0}' in caller.output
    # Two processes, each with the store's pool of at most five and one connection of the recorder's.
    assert peak <= 13
    worker = project.worker()
    wait_until(lambda: sum(runs(project.folder).values()) >= 1260, "all 1,260 jobs run", timeout=60)
    worker.sigterm()
    assert worker.wait() == 0
    noted = runs(project.folder)
    assert len(noted) == 1260
    assert set(noted.values()) == {1}
    assert project.json(FINAL) == {"success": 1260}


def test_from_uvicorn(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(
        TASKS,
        files={"shop/ledger.py": LEDGER, "project/web.py": VIEWS, "asgi.py": ASGI},
        settings='ROOT_URLCONF = "project.web"\n',
    )
    port = free_port()
    server = project.start(
        *(sys.executable, "-m", "uvicorn", "asgi:application", "--port", str(port)), name="uvicorn", env=project.env
    )
    server.wait_for_log("Uvicorn running")
    worker = project.worker()

    async def burst() -> list[Any]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            gate = asyncio.Semaphore(50)

            async def one(number: int) -> httpx.Response:
                async with gate:
                    return await client.get(f"/take/{number}/")

            return await asyncio.gather(*(one(number) for number in range(1000)))

    answers = asyncio.run(burst())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["job_id"] for answer in answers}) == 1000
    wait_until(lambda: sum(runs(project.folder).values()) >= 1000, "all 1,000 jobs run", timeout=60)
    server.sigterm()
    worker.sigterm()
    # uvicorn ends in order and then dies of the signal, as shells expect it.
    assert server.wait() in (0, -15)
    assert worker.wait() == 0
    assert set(runs(project.folder).values()) == {1}
    assert project.json(FINAL) == {"success": 1000}
    assert "Event loop is closed" not in server.output
