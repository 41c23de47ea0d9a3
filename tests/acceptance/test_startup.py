"""How workers start: many at once on empty stores, and with settings that can't work."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres_server import PASSWORD, PostgresServer
from tests.project import MAIN, TaskProject
from tests.redis_server import RedisServer

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


@pytest.fixture
def one_crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let one crowd at a time start on this machine: what other tests start beside it waits for the same cores."""
    with (tmp_path_factory.getbasetemp().parent / "crowd.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("one_crowd")
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


def test_a_redis_that_refuses_access_ends_a_worker_in_plain_words(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., RedisServer]
) -> None:
    redis = make_redis(password="right-one")
    project = make_project(TASKS, redis_url=redis.url.replace("right-one", "not-this-one"))
    worker = project.worker("--with-timer")
    assert worker.wait() == 1
    assert "refuses access: AuthenticationError" in worker.output
    assert "Check the user, the password and the rights in redis_url." in worker.output
    assert "not-this-one" not in worker.output
    assert "Traceback" not in worker.output
    producer = project.start_code(
        "from shop.tasks import add\nprint('stored', bool(add.enqueue(1, 2).job_id))", name="p"
    )
    producer.wait_for_log("^stored True$")
    producer.wait_for_log("stored and will be run once Redis is back. .*refuses access")


def test_missing_tables_end_a_worker_and_its_timer(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, migrate=False)
    worker = project.worker("--with-timer")
    assert worker.wait() == 1
    assert "python manage.py migrate tasks" in worker.output


def test_a_password_that_is_changed_ends_a_worker_after_its_jobs(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., RedisServer]
) -> None:
    redis = make_redis()
    gated = """
import asyncio
from pathlib import Path

@task
async def gated():
    print("gated runs", flush=True)
    while not Path("go").exists():
        await asyncio.sleep(0.05)
"""
    project = make_project(TASKS + gated, redis_url=redis.url)
    worker = project.worker("--with-timer")
    job_id = project.json("from shop.tasks import gated\nemit(gated.enqueue().job_id)")
    worker.wait_for_log("gated runs")
    with redis.client() as client:
        client.config_set("requirepass", "new-one")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    worker.wait_for_log("The worker can't go on; it finishes what runs and ends")
    project.write("go", "")
    assert worker.wait() == 1
    assert worker.output.rstrip().endswith("Check the user, the password and the rights in redis_url.")
    status = (
        f"from django_cfg_tasks import get_rearq_client\nemit(get_rearq_client().load(['{job_id}'])['{job_id}'].status)"
    )
    assert project.json(status) == "success"
