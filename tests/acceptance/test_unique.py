"""Unique jobs: of equal ones there is one at a time, whoever races, whatever Redis loses, and for just as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.acceptance.ledger import LEDGER
from tests.project import TaskProject
from tests.redis_server import RedisServer

TASKS = """\
import time
from pathlib import Path
from django_cfg_tasks import task
from shop.ledger import note

def hold(name):
    note(f"start {name}")
    while not Path("go").exists():
        time.sleep(0.02)

@task(unique=True, job_retry=0)
def done(name: str, fail: bool = False):
    hold(name)
    if fail:
        raise ValueError(name)
    return name

@task(unique="{name}", unique_for="until_start")
def start(name: str, number: int = 0):
    hold(name)

@task(unique=True, unique_for=2)
def timed(name: str): ...

@task(unique=True, job_retry=1, job_retry_after=1)
def retried(name: str):
    note(f"try {name}")
    raise ValueError(name)
"""

PRELUDE = """
import asyncio, concurrent.futures, threading, time
from django.db import connections, transaction
from django_cfg_tasks import get_rearq_client
from shop.tasks import done, retried, start, timed

client = get_rearq_client()

def count():
    return len(client.read_records(0, 1000))

def race(number, enqueue):
    barrier = threading.Barrier(number)
    def run(_):
        barrier.wait()
        try:
            return enqueue()
        finally:
            connections.close_all()
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        jobs = list(pool.map(run, range(number)))
    return [len({job.job_id for job in jobs}), [job.created for job in jobs].count(True), count()]

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
"""


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS, database=request.param, files={"shop/ledger.py": LEDGER})


class TestRaces:
    def test_fifty_threads_and_one_job(self, project: TaskProject) -> None:
        assert project.json(PRELUDE + "emit(race(50, lambda: done.enqueue('x')))") == [1, 1, 1]

    def test_fifty_event_loops_and_one_job(self, project: TaskProject) -> None:
        assert project.json(PRELUDE + "emit(race(50, lambda: asyncio.run(done.delay(name='x'))))") == [1, 1, 1]

    def test_five_processes_with_ten_threads_each(self, project: TaskProject) -> None:
        code = PRELUDE + (
            "from pathlib import Path\nimport sys\n"
            "print('ready', flush=True)\n"
            "until(Path('go').exists)\n"
            "for number in range(20):\n"
            "    print('answer', number, *race(10, lambda: done.enqueue(str(number)))[:2], flush=True)"
        )
        racers = [project.start_code(code, name=f"racer{number}") for number in range(5)]
        for racer in racers:
            racer.wait_for_log("^ready$")
        project.write("go", "")
        assert [racer.wait(60) for racer in racers] == [0] * 5
        answers = [line.split()[1:] for racer in racers for line in racer.output.splitlines() if "answer" in line]
        assert all(ids == "1" for _, ids, _ in answers)
        created: Counter[str] = Counter()
        for number, _, new in answers:
            created[number] += int(new)
        assert created == {str(number): 1 for number in range(20)}

    def test_transactions_wait_for_each_other(self, make_project: Callable[..., TaskProject]) -> None:
        project = make_project(TASKS, database="postgres", files={"shop/ledger.py": LEDGER})
        code = (
            "def enqueue():\n    with transaction.atomic():\n        job = done.enqueue('x')\n"
            "        time.sleep(0.01)\n        return job\n"
            "emit(race(20, enqueue))"
        )
        assert project.json(PRELUDE + code) == [1, 1, 1]

    def test_batches_in_opposite_orders_do_not_lock_each_other_out(
        self, make_project: Callable[..., TaskProject]
    ) -> None:
        project = make_project(TASKS, database="postgres", files={"shop/ledger.py": LEDGER})
        code = PRELUDE + (
            "import sys\nfrom pathlib import Path\n"
            "print('ready', flush=True)\nuntil(Path('go').exists)\n"
            "for turn in range(15):\n"
            "    names = [[f'{turn} {number}'] for number in range(400)]\n"
            "    print('created', sum(j.created for j in done.enqueue_many(names[::ORDER])), flush=True)\n"
        )
        racers = [project.start_code(code.replace("ORDER", order), name=f"order{order}") for order in ("1", "-1")]
        for racer in racers:
            racer.wait_for_log("^ready$")
        project.write("go", "")
        assert [racer.wait(60) for racer in racers] == [0, 0]
        created = [int(line.split()[1]) for racer in racers for line in racer.output.splitlines() if "created" in line]
        assert sum(created) == 15 * 400

    def test_an_open_transaction_holds_up_its_like_alone(self, make_project: Callable[..., TaskProject]) -> None:
        project = make_project(TASKS, database="postgres", files={"shop/ledger.py": LEDGER})
        project.write("shop/more.py", "from django_cfg_tasks import task\n\n@task\ndef plain(number: int): ...\n")
        story = project.json(
            PRELUDE
            + """
from shop.more import plain
pool = concurrent.futures.ThreadPoolExecutor()
try:
    with transaction.atomic():
        mine = done.enqueue("x")
        waiting = pool.submit(lambda: done.enqueue("x"))
        others = [pool.submit(lambda: plain.enqueue(n)).result(10).created for n in range(3)]
        waits = not waiting.done()
        raise RuntimeError
except RuntimeError:
    pass
theirs = waiting.result(10)
emit([others, waits, theirs.created, theirs.job_id != mine.job_id])
"""
        )
        assert story == [[True] * 3, True, True, True]


class TestHowLong:
    def test_until_done_ends_with_every_final_state(self, project: TaskProject) -> None:
        worker = project.worker("--with-timer")
        worker.wait_for_log("leads")
        story = project.json(
            PRELUDE
            + """
from pathlib import Path
calls = {
    "success": lambda: done.enqueue("success"),
    "failed": lambda: done.enqueue("failed", fail=True),
    "canceled": lambda: done.using(countdown=3600).enqueue("canceled"),
    "expired": lambda: done.using(countdown=1, expire=0.5).enqueue("expired"),
}
first = {name: call() for name, call in calls.items()}
until(lambda: first["success"].refresh().status == first["failed"].refresh().status == "in_progress")
second = {name: call() for name, call in calls.items()}
Path("go").touch()
first["canceled"].cancel()
ended = {name: job.wait(timeout=20).status for name, job in first.items()}
third = {name: call() for name, call in calls.items()}
emit([[j.created for j in turn.values()] for turn in (first, second, third)] + [
    [second[n].job_id == first[n].job_id != third[n].job_id for n in calls], ended])
"""
        )
        states = ["success", "failed", "canceled", "expired"]
        assert story == [[True] * 4, [False] * 4, [True] * 4, [True] * 4, {state: state for state in states}]

    def test_a_canceled_running_job_lets_the_next_one_in(self, project: TaskProject) -> None:
        project.worker()
        story = project.json(
            PRELUDE
            + "first = done.enqueue('x')\nuntil(lambda: first.refresh().status == 'in_progress')\n"
            + "client.cancel_task('done')\nemit([done.enqueue('x').created, done.enqueue('x').created])"
        )
        assert story == [True, False]

    def test_retries_keep_it(self, project: TaskProject) -> None:
        project.worker("--with-timer").wait_for_log("leads")
        story = project.json(
            PRELUDE
            + """
first = retried.enqueue("x")
until(lambda: first.refresh().job_retries == 1)
between = retried.enqueue("x")
ended = first.wait(timeout=20)
emit([between.created, between == first, ended.status, retried.enqueue("x").created])
"""
        )
        assert story == [False, True, "failed", True]

    def test_until_start_ends_with_the_start(self, project: TaskProject) -> None:
        project.worker()
        story = project.json(
            PRELUDE
            + """
from pathlib import Path
from django_cfg_tasks import get_rearq_client
waiting = start.using(countdown=3600).enqueue("later", 1)
again = start.enqueue("later", 2)
first = start.enqueue("now", 1)
until(lambda: first.refresh().status == "in_progress")
second = start.using(countdown=3600).enqueue("now", 2)
third = start.enqueue("now", 3)
Path("go").touch()
first.wait(timeout=20)
emit([again.created, again == waiting, second.created, third == second, start.enqueue("now").created])
"""
        )
        assert story == [False, True, True, True, False]

    def test_a_time_counts_from_the_enqueue_whatever_becomes_of_the_job(self, project: TaskProject) -> None:
        project.worker()
        story = project.json(
            PRELUDE
            + """
began = time.monotonic()
ended, waits = timed.enqueue("ends"), timed.using(countdown=3600).enqueue("waits")
assert ended.wait(timeout=20).success
within = [timed.enqueue("ends") == ended, timed.enqueue("waits") == waits]
in_time = time.monotonic() < began + 2
until(lambda: time.time() > waits.enqueue_time.timestamp() + 2.05)
after = [timed.enqueue("ends").created, timed.using(countdown=3600).enqueue("waits").created]
emit([in_time, within, after, waits.refresh().status])
"""
        )
        in_time, within, after, status = story
        assert within == [True, True] or not in_time
        assert [after, status] == [[True, True], "deferred"]


def test_it_survives_a_redis_that_lost_everything(project: TaskProject, redis_server: RedisServer) -> None:
    first = project.json(PRELUDE + "emit(done.enqueue('x').job_id)")
    redis_server.wipe()
    assert project.json(PRELUDE + "job = done.enqueue('x')\nemit([job.created, job.job_id])") == [False, first]
    redis_server.stop()
    assert project.json(PRELUDE + "job = done.enqueue('x')\nemit([job.created, job.job_id])") == [False, first]
    redis_server.start()


class TestTransactions:
    def test_the_first_is_found_inside_and_gone_after_a_rollback(self, project: TaskProject) -> None:
        story = project.json(
            PRELUDE
            + """
def attempt(fail):
    try:
        with transaction.atomic():
            first, second = done.enqueue("x"), done.enqueue("x")
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    return [first.created, second.created, first == second]

emit([attempt(True), count(), attempt(False), count(), done.enqueue("x").created])
"""
        )
        assert story == [[True, False, True], 0, [True, False, True], 1, False]

    def test_a_savepoint_takes_its_job_along(self, project: TaskProject) -> None:
        story = project.json(
            PRELUDE
            + """
with transaction.atomic():
    try:
        with transaction.atomic():
            gone = done.enqueue("x")
            raise RuntimeError
    except RuntimeError:
        pass
    kept = done.enqueue("x")
emit([gone.created, kept.created, gone.job_id in client.load([gone.job_id]), count()])
"""
        )
        assert story == [True, True, False, 1]

    @pytest.mark.parametrize("inside", [False, True], ids=["alone", "transaction"])
    def test_many_at_once(self, project: TaskProject, inside: bool) -> None:
        code = """
def many():
    return done.enqueue_many([["a"], ["b"], {"name": "a"}, ["c"], ["b"]])
before = done.enqueue("c")
if INSIDE:
    with transaction.atomic():
        jobs = many()
else:
    jobs = many()
emit([[job.created for job in jobs], jobs[0] == jobs[2], jobs[1] == jobs[4], jobs[3] == before, count()])
"""
        story = project.json(PRELUDE + code.replace("INSIDE", str(inside)))
        assert story == [[True, True, False, False, False], True, True, True, 3]

    def test_many_of_one_id_in_a_transaction(self, project: TaskProject) -> None:
        story = project.json(
            PRELUDE
            + "with transaction.atomic():\n"
            + "    jobs = retried.using(job_id='one').enqueue_many([['a'], ['b']])\n"
            + "emit([[job.created for job in jobs], [job.args for job in jobs], count()])"
        )
        assert story == [[True, False], [["a"], ["a"]], 1]

    def test_where_jobs_have_a_database_of_their_own_it_holds_too(
        self, make_project: Callable[..., TaskProject]
    ) -> None:
        project = make_project(TASKS, rearq={"db_url": "sqlite:///./jobs.db"}, files={"shop/ledger.py": LEDGER})
        story = project.json(
            PRELUDE
            + "with transaction.atomic():\n    jobs = [done.enqueue('x'), done.enqueue('x')]\n"
            + "emit([count(), done.enqueue('x').created, jobs[0].refresh().status])"
        )
        assert story == [1, False, "queued"]
