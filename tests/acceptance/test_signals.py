"""Signals through real processes: who is told of what, by whom, how often, and what it costs the jobs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.project import TaskProject
from tests.waiting import wait_until

MODELS = """\
from django.db import models

class Seen(models.Model):
    signal = models.TextField()
    job_id = models.TextField()
    task = models.TextField()
    attempt = models.IntegerField()
    took = models.BooleanField()
    error = models.TextField()
    status = models.TextField()
    sender = models.TextField()
    process = models.IntegerField()
"""
MIGRATION = """\
from django.db import migrations, models

class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Seen", [
        ("id", models.BigAutoField(primary_key=True)),
        *[(name, models.TextField()) for name in ("signal", "job_id", "task", "error", "status", "sender")],
        *[(name, models.IntegerField()) for name in ("attempt", "process")],
        ("took", models.BooleanField()),
    ])]
"""
TASKS = """\
import asyncio, os, time
from pathlib import Path
from django_cfg_tasks import signals, task
from shop.ledger import note
from shop.models import Seen

@task(job_retry=0)
async def fine(line: str):
    return line

@task(job_retry=1, job_retry_after=0)
def flaky(line: str):
    raise ValueError(f"{line} is wrong")

@task(bind=True, job_retry=0)
async def gated(ctx, line: str):
    note(f"run {line} {ctx.attempt}")
    while not Path("go").exists():
        await asyncio.sleep(0.02)

def to_database(signal, sender, job_id, task, attempt, duration, exception, record):
    Seen.objects.create(
        signal=signal.name, job_id=job_id, task=task, attempt=attempt, took=duration is not None, status=record.status,
        error=repr(exception) if exception else "", sender=sender.path if sender else "", process=os.getpid(),
    )

async def to_file(signal, job_id, **kwargs):
    note(f"{signal.name} {job_id}")

async def broken(**kwargs):
    raise RuntimeError("the receiver is broken")

ALL = [value for name, value in vars(signals).items() if name.startswith("task_")]
for one in ALL:
    for receiver in (to_database, to_file, broken):
        one.connect(receiver)
"""

SEEN = """
from shop.models import Seen
names = ["signal", "attempt", "took", "error", "status", "process"]
seen = {}
for row in Seen.objects.order_by("id"):
    assert (row.task, row.sender) == (row.task, f"shop.tasks.{row.task}")
    seen.setdefault(row.job_id, []).append([getattr(row, name) for name in names])
emit(seen)
"""


@pytest.fixture
def make(make_project: Callable[..., TaskProject]) -> Callable[..., TaskProject]:
    def make(tasks: str = TASKS, **options: Any) -> TaskProject:
        files = {
            "shop/ledger.py": LEDGER,
            "shop/models.py": MODELS,
            "shop/migrations/__init__.py": "",
            "shop/migrations/0001_initial.py": MIGRATION,
        }
        return make_project(tasks, files=files, **options)

    return make


def seen(project: TaskProject) -> dict[str, list[list[Any]]]:
    """What the sync receiver wrote, by job and in order: signal, attempt, has a duration, error, status, process."""
    found: dict[str, list[list[Any]]] = project.json(SEEN)
    return found


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_each_turn_of_a_job_is_told_once(make: Callable[..., TaskProject], database: str) -> None:
    project = make(database=database)
    producer = project.json(
        "import os\nfrom shop.tasks import fine, flaky\n"
        "late = fine.using(expire=0.01).enqueue('late')\ncanceled = fine.enqueue('canceled')\ncanceled.cancel()\n"
        "fine.using(job_id='fine').enqueue('x')\nfine.using(job_id='fine').enqueue('x')\n"
        "flaky.using(job_id='flaky').enqueue('x')\nemit([os.getpid(), late.job_id, canceled.job_id])"
    )
    here, late, canceled = producer
    worker = project.worker()
    wait_until(lambda: "task_failed flaky" in runs(project.folder), "the last has ended", timeout=30)
    worker.sigterm()
    assert worker.wait() == 0
    there, error = worker.pid, "ValueError('x is wrong')"
    assert seen(project) == {
        late: [["task_enqueued", 0, False, "", "queued", here], ["task_expired", 1, False, "", "expired", there]],
        canceled: [["task_enqueued", 0, False, "", "queued", here], ["task_canceled", 0, False, "", "canceled", here]],
        "fine": [
            ["task_enqueued", 0, False, "", "queued", here],
            ["task_started", 1, False, "", "in_progress", there],
            ["task_succeeded", 1, True, "", "success", there],
        ],
        "flaky": [
            ["task_enqueued", 0, False, "", "queued", here],
            ["task_started", 1, False, "", "in_progress", there],
            ["task_retried", 1, True, error, "queued", there],
            ["task_started", 2, False, "", "in_progress", there],
            ["task_failed", 2, True, error, "failed", there],
        ],
    }
    assert sorted(runs(project.folder).values()) == [1] * 10 + [2], "the async receiver got the same"
    assert worker.output.count("RuntimeError: the receiver is broken") == 7
    assert "The receiver broken failed to take in task_succeeded of fine fine." in worker.output


@pytest.mark.parametrize("cancel", ["cancel('g')", "cancel_task('gated')"])
def test_a_running_job_that_is_canceled_is_told_of_by_who_canceled_it(
    make: Callable[..., TaskProject], cancel: str
) -> None:
    project = make()
    worker = project.worker()
    project.run("from shop.tasks import gated\ngated.using(job_id='g').enqueue('a')")
    wait_until(lambda: "run a 1" in runs(project.folder), "it runs", timeout=30)
    wait_until(lambda: "task_started g" in runs(project.folder), "its start was told", timeout=30)
    canceler = project.json(
        "import os\nfrom django_cfg_tasks import get_rearq_client\nimport shop.tasks\n"
        f"get_rearq_client().{cancel}\nemit(os.getpid())"
    )
    worker.wait_for_log("gated g .*canceled")
    worker.sigterm()
    assert worker.wait() == 0
    # Each process tells what it did in its own order: the producer may be later than the worker.
    rows = seen(project)["g"]
    assert [row[:5] for row in rows if row[0] == "task_enqueued"] == [["task_enqueued", 0, False, "", "queued"]]
    assert [row for row in rows if row[0] != "task_enqueued"] == [
        ["task_started", 1, False, "", "in_progress", worker.pid],
        ["task_canceled", 1, True, "", "canceled", canceler],
    ]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_orphans_and_poison_are_told_of_by_who_noticed(make: Callable[..., TaskProject], database: str) -> None:
    project = make(database=database, rearq={"lease": 2, "max_deliveries": 2})
    project.run("from shop.tasks import gated\ngated.using(job_id='g').enqueue('a')")
    killed = []
    for life in (1, 2):
        killed.append(project.worker(name=f"life-{life}"))
        wait_until(lambda life=life: f"run a {life}" in runs(project.folder), "it runs", timeout=30)
        wait_until(lambda life=life: len(seen(project)["g"]) == [0, 2, 4][life], "what was before is told", timeout=30)
        killed[-1].sigkill()
    last = project.worker(name="last")
    wait_until(lambda: "task_failed g" in runs(project.folder), "it is failed", timeout=30)
    last.sigterm()
    assert last.wait() == 0
    told = [
        [name, attempt, took, error.split("(")[0], status, process]
        for name, attempt, took, error, status, process in seen(project)["g"]
        if name != "task_enqueued"
    ]
    assert told == [
        ["task_started", 1, False, "", "in_progress", killed[0].pid],
        ["task_orphaned", 1, False, "WorkerLostError", "queued", killed[1].pid],
        ["task_started", 2, False, "", "in_progress", killed[1].pid],
        ["task_orphaned", 2, False, "PoisonedJobError", "failed", last.pid],
        ["task_failed", 2, False, "PoisonedJobError", "failed", last.pid],
    ]


def test_a_job_that_a_worker_puts_back_at_its_end_is_no_news(make: Callable[..., TaskProject]) -> None:
    project = make(rearq={"shutdown_timeout": 0.1})
    worker = project.worker()
    project.run("from shop.tasks import gated\ngated.using(job_id='g').enqueue('a')")
    wait_until(lambda: "run a 1" in runs(project.folder), "it runs", timeout=30)
    worker.sigterm()
    assert worker.wait() == 0
    assert sorted(row[0] for row in seen(project)["g"]) == ["task_enqueued", "task_started"]


@pytest.mark.parametrize("where", ["django", "elsewhere"])
def test_in_a_transaction_the_commit_is_what_is_told(
    make: Callable[..., TaskProject], where: str, tmp_path: Any
) -> None:
    url = {"db_url": f"sqlite:///{tmp_path / 'jobs.sqlite3'}"} if where == "elsewhere" else {}
    project = make(rearq=url)
    output = project.json(
        "from django.db import transaction\nfrom shop.tasks import fine\nfrom pathlib import Path\nseen = []\n"
        "try:\n  with transaction.atomic():\n    fine.using(job_id='no').enqueue('x')\n    raise LookupError\n"
        "except LookupError: pass\n"
        "with transaction.atomic():\n"
        "  fine.using(job_id='yes').enqueue('x')\n"
        "  from django_cfg_tasks import get_rearq_client\n"
        "  client = get_rearq_client()\n"
        "  client.call(client.signals.flush(), '')\n"
        "  seen.append(Path('shop/ledger.txt').exists())\n"
        "client.call(client.signals.flush(), '')\n"
        "emit([seen, Path('shop/ledger.txt').read_text()])"
    )
    assert output == [[False], "task_enqueued yes\n"]
    assert list(seen(project)) == ["yes"]


def test_what_waits_is_delivered_at_the_end_of_a_process_and_of_its_fork(make: Callable[..., TaskProject]) -> None:
    slow = TASKS + (
        "\n\ndef slow(job_id, **kwargs):\n    time.sleep(0.1)\n    note(f'slow {job_id} {os.getpid()}')\n\n"
        "signals.task_enqueued.connect(slow)\n"
    )
    project = make(slow, database="postgres")  # SQLite's connections may not be open at a fork
    parent, child = project.json(
        "import os, sys\nfrom shop.tasks import fine\n"
        "fine.enqueue_many([['a']] * 3)\n"
        "child = os.fork()\n"
        "fine.using(job_id='child' if child == 0 else 'parent').enqueue('b')\n"
        "if child == 0: sys.exit()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "emit([os.getpid(), child])"
    )
    noted = [line for line in runs(project.folder).elements() if line.startswith("slow")]
    assert len(noted) == 5
    assert len([line for line in noted if line.endswith(f" {parent}")]) == 4
    assert f"slow child {child}" in noted
    assert {row[5] for row in seen(project)["child"]} == {child}


def test_a_slow_receiver_holds_up_no_job_and_is_waited_for_at_the_end(make: Callable[..., TaskProject]) -> None:
    slow = TASKS + (
        "\n\ndef slow(job_id, **kwargs):\n"
        "    while not Path('open').exists():\n        time.sleep(0.02)\n"
        "    note(f'slow {job_id}')\n\nsignals.task_started.connect(slow)\n"
    )
    project = make(slow)
    worker = project.worker()
    project.run(
        "from shop.tasks import fine\n"
        "assert [job.wait(timeout=20).result for job in fine.enqueue_many([['a']] * 5)] == ['a'] * 5"
    )
    worker.sigterm()
    worker.wait_for_log("ended after 5 job")
    assert not [line for line in runs(project.folder) if line.startswith("slow")]
    project.write("open", "")
    assert worker.wait() == 0
    assert len([line for line in runs(project.folder) if line.startswith("slow")]) == 5
    told = seen(project)
    # The producer tells of its own, in its own time; each process tells in order.
    assert [sorted(row[0] for row in rows) for rows in told.values()] == [
        ["task_enqueued", "task_started", "task_succeeded"]
    ] * 5
    assert [[row[0] for row in rows if row[0] != "task_enqueued"] for rows in told.values()] == [
        ["task_started", "task_succeeded"]
    ] * 5


def test_a_receiver_that_never_ends_keeps_no_process_from_ending(make: Callable[..., TaskProject]) -> None:
    hanging = TASKS + "\n\ndef hangs(**kwargs):\n    time.sleep(3600)\n\nfor one in ALL:\n    one.connect(hangs)\n"
    project = make(hanging)
    producer = project.start_code("from shop.tasks import fine\nfine.enqueue('a')", name="producer")
    assert producer.wait(20) == 0
    assert "1 signal(s) are not delivered" in producer.output
    worker = project.worker()
    worker.wait_for_log("fine .*success")
    worker.send(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert "2 signal(s) are not delivered" in worker.output
    assert "the first is task_started of fine" in worker.output
