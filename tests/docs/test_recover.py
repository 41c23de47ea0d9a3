"""What docs/howto/recover.md says of a database that comes from a backup, with real workers before and after."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
from pathlib import Path
from django_cfg_tasks import task

@task
def mark(line: str) -> None:
    with Path("marks").open("a") as file:
        file.write(f"{line}\\n")
"""


@pytest.mark.long
def test_a_database_from_a_backup(make_project: Callable[..., TaskProject], redis_server: RedisServer) -> None:
    """Redis is left as it is: it rings for a job that SQL has forgotten, too."""
    project = make_project(TASKS, rearq={"lease": 2})
    database, backup = project.folder / "db.sqlite3", project.folder / "backup.sqlite3"

    def marks() -> list[str]:
        return sorted((project.folder / "marks").read_text().split()) if (project.folder / "marks").exists() else []

    def statuses() -> dict[str, str]:
        with closing(sqlite3.connect(database)) as connection:
            return dict(connection.execute("SELECT job_id, status FROM rearq_job"))

    project.run(
        "from shop.tasks import mark\nmark.using(job_id='waits').enqueue('waits')\n"
        "mark.using(job_id='later', countdown=1).enqueue('later')"
    )
    with closing(sqlite3.connect(database)) as connection, closing(sqlite3.connect(backup)) as copy:
        connection.backup(copy)
    worker = project.worker("--with-timer")
    final = {"waits": "success", "later": "success"}
    wait_until(lambda: statuses() == final, "both have run", 60)
    assert worker.stop() == 0
    assert marks() == ["later", "waits"]
    project.run("from shop.tasks import mark\nmark.using(job_id='young').enqueue('young')")

    with closing(sqlite3.connect(backup)) as copy, closing(sqlite3.connect(database)) as connection:
        copy.backup(connection)
    worker = project.worker("--with-timer", name="second worker")
    with redis_server.client() as redis:
        wait_until(lambda: not redis.xlen("rearq:queue:default"), "the bell for the young job is dropped", 60)
    wait_until(lambda: statuses() == final, "what the backup holds as open has ended", 90)
    assert worker.stop() == 0
    assert marks() == ["later", "later", "waits", "waits"]
