"""Eight workers, one lock, 400 jobs, two of the workers killed: never two at once, and all is done."""

from __future__ import annotations

from collections.abc import Callable

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import time
from django.db import connection
from django_cfg_tasks import task

@task(queue="bank", lock_key="account:{account}", lock_timeout=3, job_timeout=60)
def move(account: int, number: int):
    # PostgreSQL is the judge: a lock of a session, which ends with its process however that ends.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(7)")
        was_alone = cursor.fetchone()[0]
        cursor.execute("INSERT INTO seen (number, was_alone) VALUES (%s, %s)", [number, was_alone])
        time.sleep(0.01)
        cursor.execute("SELECT count(*) FROM seen WHERE number = %s", [number])
        if number in (100, 250) and cursor.fetchone()[0] == 1:
            time.sleep(60)  # its worker is killed here
        cursor.execute("SELECT pg_advisory_unlock(7)")
"""
SETUP = """\
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE seen (number int, was_alone bool)")
from shop.tasks import move
move.enqueue_many([(7, number) for number in range(400)])
"""
KILLED = """\
from django.db import connection
from shop.tasks import move
from django_cfg_tasks.models import TaskLog
row = TaskLog.objects.filter(status="in_progress", args__1={number}).first()
emit(row.worker_id if row else None)
"""


def test_eight_workers_four_hundred_jobs_two_kills(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, database="postgres", rearq={"max_jobs": 4, "lease": 2})
    project.run(SETUP)
    workers = {}
    for number in range(8):
        arguments = ["--queue", "bank", *(["--with-timer"] if number < 2 else [])]
        worker = project.worker(*arguments, name=f"worker-{number}")
        workers[worker.pid] = worker
    for number in (100, 250):
        holder = wait_until(
            lambda number=number: project.json(KILLED.format(number=number)), f"job {number} hangs", timeout=60
        )
        workers.pop(int(holder.split("-")[-2])).sigkill()
    wait_until(
        lambda: (
            project.json(
                "from django_cfg_tasks.models import TaskLog\nemit(TaskLog.objects.filter(status='success').count())"
            )
            == 400
        ),
        "all are done",
        timeout=90,
    )
    assert project.json(
        "from django.db import connection\ncursor = connection.cursor()\n"
        "cursor.execute('SELECT count(DISTINCT number), count(*), bool_and(was_alone) FROM seen')\n"
        "emit(cursor.fetchone())"
    ) == [400, 402, True]
    for worker in workers.values():
        worker.sigterm()
    assert {worker.wait() for worker in workers.values()} == {0}
