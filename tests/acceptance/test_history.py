"""TaskLog's database goes away while jobs, which live elsewhere, run on: the history completes itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.postgres_server import PostgresServer
from tests.project import MAIN, TaskProject
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task
from shop.ledger import note

@task(job_retry=0)
async def mark(number: int):
    note(number)
    if number % 10 == 7:
        raise ValueError(number)
"""

# A recorder that drops early and tries often, and a watch that looks often.
IMPATIENT = """
from django_cfg_tasks.recorder import recorder, writer
from django_cfg_tasks.worker import history
recorder._capacity, writer.LONGEST_PAUSE, history.LOOK_SECONDS = 40, 0.5, 0.2
"""

ENQUEUE = "from shop.tasks import mark\nmark.enqueue_many([[number] for number in range({}, {})])\n"

STATUSES = """
from collections import Counter
from django_cfg_tasks.models import TaskLog
emit(Counter(TaskLog.objects.values_list("status", flat=True)))
"""

CATCH_UP = """
import datetime as dt
from django_cfg_tasks.sync import mend_history
now = dt.datetime.now(dt.UTC)
report = mend_history(lag=dt.timedelta(0), since=now - dt.timedelta(hours=1))
emit([report.mended, mend_history(lag=dt.timedelta(0), since=now - dt.timedelta(hours=1)).mended])
"""

# What the leading timer does, in a process that does nothing else.
LOOK = """
import datetime as dt, threading
from django_cfg_tasks.worker import history, logs
logs.configure("look", None)
history.LAG, history.LOOK_SECONDS, history.RETRY_SECONDS = dt.timedelta(0), 0.1, 0.3
watch = history.History()
watch.start()
watch.catch_up_soon()
threading.Event().wait()
"""

# Every row is an old one, and every change: as much as can be mended at all, again and again.
MEND_ALWAYS = """
import datetime as dt
from django_cfg_tasks.sync import catch_up
while True:
    catch_up(lag=-dt.timedelta(hours=1), since=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
"""

Away = Callable[[], Any]


@pytest.fixture(params=["locked SQLite", "stopped PostgreSQL"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., TaskProject]) -> TaskProject:
    """A project whose jobs live in a SQLite file of their own."""
    return make_project(
        TASKS,
        database="sqlite" if request.param == "locked SQLite" else "postgres",
        rearq={"db_url": "sqlite:///./jobs.db", "lease": 2},
        files={"shop/ledger.py": LEDGER, "main.py": MAIN + IMPATIENT},
    )


@pytest.fixture
def history_away(request: pytest.FixtureRequest, project: TaskProject) -> Away:
    """``with history_away():`` nothing can be written to TaskLog's database."""
    name = project.databases["default"]["NAME"]

    @contextmanager
    def locked() -> Iterator[None]:
        connection = sqlite3.connect(name, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.close()

    @contextmanager
    def stopped() -> Iterator[None]:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.stop()
        yield
        server.start()

    return locked if Path(name).is_absolute() else stopped


def ended(project: TaskProject) -> int:
    """How many jobs have ended, by their own table."""
    with closing(sqlite3.connect(project.folder / "jobs.db", timeout=10)) as connection:
        return int(
            connection.execute("SELECT count(*) FROM rearq_job WHERE status IN ('success', 'failed')").fetchone()[0]
        )


def test_what_a_killed_worker_could_not_write_is_caught_up(project: TaskProject, history_away: Away) -> None:
    project.run(ENQUEUE.format(0, 100))
    assert project.json(STATUSES) == {"queued": 100}
    with history_away():
        project.run(ENQUEUE.format(100, 150))
        worker = project.worker()
        wait_until(lambda: ended(project) == 150, "all jobs have ended", 30)
        worker.sigkill()
        worker.wait()
    assert project.json(STATUSES) == {"queued": 100}, "nothing of it was written"
    assert project.json(CATCH_UP) == [150, 0]
    assert project.json(STATUSES) == {"success": 135, "failed": 15}
    assert set(runs(project.folder).values()) == {1}


def test_what_a_worker_dropped_is_read_back_by_itself(project: TaskProject, history_away: Away) -> None:
    project.run(ENQUEUE.format(0, 200))
    with history_away():
        worker = project.worker()
        wait_until(lambda: ended(project) == 200, "all jobs have ended", 30)
        worker.wait_for_log("the oldest are dropped")
    worker.wait_for_log("TaskLog has caught up: [0-9]+ row", 60)
    assert project.json(STATUSES) == {"success": 180, "failed": 20}
    assert worker.stop() == 0
    assert "history of this process's last jobs" not in worker.output


def test_an_unwritten_history_holds_up_no_shutdown(project: TaskProject, history_away: Away) -> None:
    project.run(ENQUEUE.format(0, 100))
    with history_away():
        worker = project.worker()
        wait_until(lambda: ended(project) == 100, "all jobs have ended", 30)
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 10
    assert "the timer that leads completes it within some minutes" in worker.output
    assert project.json(CATCH_UP) == [100, 0]


def test_a_comparison_that_failed_is_done_again_by_itself(project: TaskProject, history_away: Away) -> None:
    with history_away():
        project.run(ENQUEUE.format(0, 50))
        looking = project.start_code(LOOK)
        looking.wait_for_log("WARNING .*TaskLog could not be compared with the jobs")
    looking.wait_for_log("INFO .*TaskLog has caught up: 50 row", 40)
    assert project.json(STATUSES) == {"queued": 50}


def test_mending_beside_a_running_worker_disturbs_nothing(project: TaskProject) -> None:
    (project.folder / "main.py").write_text(MAIN)  # a recorder that drops nothing, so that all rows are the worker's
    mending = project.start_code(MEND_ALWAYS)
    worker = project.worker()
    project.run(ENQUEUE.format(0, 300))
    wait_until(lambda: ended(project) == 300, "all jobs have ended", 40)
    assert worker.stop() == 0
    assert mending.running, mending.output
    mending.sigkill()
    assert project.json(STATUSES) == {"success": 270, "failed": 30}
    assert "TaskLog can't be written" not in worker.output
