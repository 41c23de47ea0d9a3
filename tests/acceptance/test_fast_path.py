"""A lone job takes the short way, and what comes in between shows in nothing: stored once, rung for, told as new."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.postgres_server import PostgresServer
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task

@task
async def greet(name: str):
    return name
"""
BELLS = """
import asyncio, threading
import redis
from django.conf import settings
from django_cfg_tasks import get_rearq_client
from shop.tasks import greet

client = get_rearq_client()
way = client.acceptance._fast_path

def rung():
    with redis.Redis.from_url(settings.DJANGO_CFG_TASKS["rearq"]["redis_url"], decode_responses=True) as server:
        return sorted(fields["job_id"] for _, fields in server.xrange("rearq:queue:default"))

def stored():
    return sorted(record.job_id for record in client.read_records(0, 5000))

def free():
    way._not_before = 0.0
    while not client.acceptance._enqueues.idle:  # the long way tells its callers before it rests
        threading.Event().wait(0.005)

def taken():
    return way._held is not None and way._not_before == 0
"""
CUT = """
from django.db import connection
def cut():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [way._held._raw.info.backend_pid])

jobs = [greet.enqueue("sync")]
jobs.append(asyncio.run(greet.delay("async")))
assert taken()
for enqueue in (greet.enqueue, lambda name: asyncio.run(greet.delay(name))):
    cut()
    jobs.append(enqueue("after the cut"))
    assert not taken()
    free()
    jobs.append(enqueue("on a new connection"))
    assert taken()
    # It was committed, and the connection broke before that was told.
    record = greet.record(["unsure"], {})
    assert client.home.call(client.store.insert([record]), "") == {record.job_id}
    cut()
    known = client.enqueue([record]) if enqueue is greet.enqueue else asyncio.run(client.aenqueue([record]))
    assert known == [None] and not taken()
    free()
    jobs.append(greet.enqueue("once more"))
assert all(job.created for job in jobs)
assert len(stored()) == len(jobs) + 2 and rung() == stored(), (stored(), rung())
assert not greet.using(job_id=jobs[0].job_id).enqueue("its like").created
emit("well")
"""
SAME = """
import datetime as dt
from django.db import connection

from django_cfg_tasks.waits import block_on

held = client.acceptance._held()

def rows(records):
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM rearq_job ORDER BY id")
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row)) for row in cursor.fetchall()]
        cursor.execute("DELETE FROM rearq_job")
    assert [row.pop("job_id") for row in found] == [record.job_id for record in records]
    assert all(row.pop("id") for row in found)
    return found

def long(record):
    return bool(client.home.call(client.store.insert([record]), ""))

tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
tasks = [
    greet,
    greet.using(countdown=3.5),
    greet.using(eta=tomorrow.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30))), expire=tomorrow),
    greet.using(queue="mail", job_retry=0, job_retry_after=100_000, job_timeout=7, user=5),
    greet.using(even_if_disabled=True),
]
records = [task.record(["é\\n'%s' ? $1 \\U0001f600"], {}) for task in tasks] + [greet.record([], {"name": "%(x)s"})]
assert all(long(record) for record in records)
expected = rows(records)
assert all(block_on(held.insert(record)) for record in records)
assert rows(records) == expected
assert [block_on(held.insert(records[0])) for _ in range(2)] == [True, False], "its id is taken"
client.disable("greet")
assert [block_on(held.insert(record)) for record in records[1:]] == [False, False, False, True, False]
emit("well")
"""
ON_A_LOOP = """
import os, signal

def of_database(signum):
    os.kill(way._held._raw.info.backend_pid, signum)

async def beats(until):
    beats = 0
    while not until.done():
        beats += 1
        await asyncio.sleep(0.01)
    return beats

async def main():
    handed, hand_over = [], way._hand_over
    way._hand_over = lambda steps: (handed.append(steps), hand_over(steps))[1]
    await greet.delay("opens both connections")
    assert len(handed) == 1
    jobs = [await greet.delay("x" * size) for size in (0, 10, 900_000)]
    assert taken() and all(job.created for job in jobs)

    of_database(signal.SIGSTOP)
    asyncio.get_running_loop().call_later(0.5, of_database, signal.SIGCONT)
    job = asyncio.ensure_future(greet.delay("while the database stands still"))
    assert await beats(job) >= 20 and (await job).created and taken()
    assert len(handed) == 1, "no thread had a part in these"

    with redis.Redis.from_url(settings.DJANGO_CFG_TASKS["rearq"]["redis_url"]) as server:
        server.client_kill_filter(_type="normal", skipme=True)
    assert (await greet.delay("on a new connection to Redis")).created and taken()
    assert len(handed) == 2, "to connect would have blocked"
    assert rung() == await asyncio.to_thread(stored)

    of_database(signal.SIGSTOP)
    job = asyncio.ensure_future(greet.using(job_id="given-up").delay("its caller goes away"))
    while not way._taken.locked():
        await asyncio.sleep(0)
    job.cancel()
    of_database(signal.SIGCONT)
    try:
        await job
    except asyncio.CancelledError:
        pass
    else:
        raise AssertionError("it was not cancelled")
    while "given-up" not in rung():
        await asyncio.sleep(0.01)
    while way._taken.locked():
        await asyncio.sleep(0.01)
    assert (await greet.delay("after that")).created and taken()
    assert rung() == await asyncio.to_thread(stored)

asyncio.run(main())
assert not client.acceptance._unrung and len(stored()) == 8
emit("well")
"""
MET = """
from concurrent.futures import ThreadPoolExecutor
from django.db import transaction
for name in ("lone", "lone again"):
    greet.enqueue(name)
assert taken()
with ThreadPoolExecutor(51) as pool:
    jobs = list(pool.map(greet.enqueue, map(str, range(500))))
async def together():
    await asyncio.gather(*(greet.delay(str(number)) for number in range(100)))
    await greet.delay("alone")
asyncio.run(together())
try:
    with transaction.atomic():
        greet.enqueue("undone")
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
async def blocking():
    return greet.enqueue("in async code").created
assert asyncio.run(blocking())
later = greet.enqueue("later", countdown=3600)
assert taken() and len(stored()) == 605
assert rung() == [job_id for job_id in stored() if job_id != later.job_id]
emit("well")
"""
LOCKED = """
import sqlite3
greet.enqueue("before")
assert taken()
other = sqlite3.connect(settings.DATABASES["default"]["NAME"], isolation_level=None, check_same_thread=False)
other.execute("BEGIN IMMEDIATE")
threading.Timer(2, lambda: other.execute("ROLLBACK")).start()
assert greet.enqueue("meanwhile").created and not taken()
assert len(stored()) == 2 and rung() == stored()
emit("well")
"""
WITHOUT_REDIS = """
import os
greet.enqueue("before")
asyncio.run(greet.delay("before"))
assert taken()
print("go", flush=True)
while not os.path.exists("go"):
    threading.Event().wait(0.05)
jobs = [greet.enqueue("meanwhile"), asyncio.run(greet.delay("meanwhile"))]
print("accepted", all(job.created for job in jobs), flush=True)
while client.acceptance._unrung:
    threading.Event().wait(0.05)
greet.enqueue("after")
print("rung", len(rung()), "taken", taken(), flush=True)
"""


def test_a_connection_that_was_cut_costs_no_job_and_makes_none_twice(make_project: Callable[..., TaskProject]) -> None:
    assert make_project(TASKS, database="postgres").json(BELLS + CUT) == "well"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_what_it_stores_is_what_the_long_way_stores(make_project: Callable[..., TaskProject], database: str) -> None:
    assert make_project(TASKS, database=database).json(BELLS + SAME) == "well"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_callers_that_meet_and_those_that_may_not_take_it(
    make_project: Callable[..., TaskProject], database: str
) -> None:
    assert make_project(TASKS, database=database).json(BELLS + MET) == "well"


def test_a_loop_goes_on_while_its_job_is_stored(make_project: Callable[..., TaskProject]) -> None:
    assert make_project(TASKS, database="postgres").json(BELLS + ON_A_LOOP) == "well"


def test_a_locked_file_is_waited_for_on_the_long_way(make_project: Callable[..., TaskProject]) -> None:
    assert make_project(TASKS).json(BELLS + LOCKED) == "well"


def test_without_redis_the_job_is_stored_and_rung_for_later(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., RedisServer]
) -> None:
    redis = make_redis(appendonly=True)
    project = make_project(TASKS, redis_url=redis.url)
    caller = project.start_code(BELLS + WITHOUT_REDIS, name="caller")
    caller.wait_for_log("^go$", timeout=30)
    redis.kill()
    project.write("go", "")
    caller.wait_for_log("^accepted True$", timeout=30)
    assert "will be run once Redis is back" in caller.output
    redis.start()
    caller.wait_for_log("^rung 5 taken True$", timeout=30)
    assert caller.wait(30) == 0


def test_a_database_that_is_away_refuses_and_the_next_job_is_accepted(
    make_project: Callable[..., TaskProject], postgres_server: PostgresServer
) -> None:
    project = make_project(TASKS, database="postgres")
    caller = project.start_code(
        BELLS + "from django_cfg_tasks.exceptions import EnqueueError\ngreet.enqueue('before')\n"
        "print('before', flush=True)\nrefused = False\n"
        "while True:\n"
        "    try:\n        job = greet.enqueue('x')\n"
        "    except EnqueueError:\n"
        "        print('refused', flush=True) if not refused else None\n        refused = True\n        continue\n"
        "    if refused:\n        break\n"
        "print('accepted', set(rung()) == set(stored()), flush=True)\n",
        name="caller",
    )
    caller.wait_for_log("^before$", timeout=30)
    postgres_server.kill()
    caller.wait_for_log("^refused$", timeout=30)
    postgres_server.start()
    wait_until(lambda: not caller.running, "the caller ends", 60)
    assert "accepted True" in caller.output
