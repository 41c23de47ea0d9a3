"""How workers start: many at once on empty stores, and with settings that can't work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.postgres_server import PASSWORD, PostgresServer
from tests.project import MAIN, TaskProject

TASKS = """\
from django_cfg_tasks import task

@task
async def add(a: int, b: int) -> int:
    return a + b
"""

# All imports are done when the gate opens, so that they come to the stores together.
GATED_MAIN = (
    MAIN
    + """
import pathlib, time
print("ready", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.01)
"""
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_twenty_workers_start_at_once_on_empty_stores(
    request: pytest.FixtureRequest, make_project: Callable[..., TaskProject], tmp_path: Path, database: str
) -> None:
    if database == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = server.url(request.getfixturevalue("postgres_database"))
    else:
        url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    project = make_project(TASKS, rearq={"db_url": url}, files={"main.py": GATED_MAIN})
    workers = [project.worker(*(["--with-timer"] * (number < 2)), name=f"worker-{number}") for number in range(20)]
    for worker in workers:
        worker.wait_for_log("^ready", timeout=90)
    project.write("go", "")
    for worker in workers:
        worker.wait_for_log("consumes default", timeout=60)
    assert project.json("from shop.tasks import add\nemit(add.enqueue(1, 2).wait(timeout=30).result)") == 3
    for worker in workers:
        worker.sigterm()
    assert [worker.wait(60) for worker in workers] == [0] * 20
    assert sum("add" in worker.output and "success" in worker.output for worker in workers) == 1
    assert not any("Traceback" in worker.output for worker in workers)


@pytest.mark.parametrize(
    ("password", "database", "said"),
    [
        ("not-this-one", "postgres", 'password authentication failed for user "postgres"'),
        (PASSWORD, "nowhere", 'database "nowhere" does not exist'),
    ],
    ids=["password", "database"],
)
def test_a_database_that_refuses_access_ends_a_worker_in_plain_words(
    make_project: Callable[..., TaskProject], postgres_server: PostgresServer, password: str, database: str, said: str
) -> None:
    project = make_project(TASKS, rearq={"db_url": postgres_server.url(database).replace(PASSWORD, password)})
    worker = project.worker("--with-timer")
    assert worker.wait() == 1
    assert said in worker.output
    assert "Check the name of the database, the user, its password and its rights." in worker.output
    assert password not in worker.output
    assert "Traceback" not in worker.output
    producer = project.run(
        "from shop.tasks import add\nfrom django_cfg_tasks.exceptions import TasksError\n"
        "try: add.enqueue(1, 2)\nexcept TasksError as error: print(error)"
    )
    assert said in producer
