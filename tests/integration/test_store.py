"""What the store's statements do, the same on each kind of database: SQLite, PostgreSQL, MariaDB (or MySQL).

And the same once more through Django's connection, inside its transaction, as far as the outbox has them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.store import (
    Outcome,
    Store,
    TaskState,
    find_through_django,
    insert_through_django,
    target_of_django,
    target_of_url,
)
from django_cfg_tasks.turns import turn_of
from tests.records import NOON, queued
from tests.waiting import wait_until

ALIAS = "jobs"
NASTY = 'it\'s "nasty" \\ 100% $1 {x} \u00e4\U0001f600\n'
VENDORS = ["sqlite", "postgres", "mysql"]


@pytest.fixture(params=VENDORS)
def entry(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """One of DATABASES: an empty database."""
    if request.param == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "jobs.sqlite3")}
    server = request.getfixturevalue(f"{request.param}_server")
    made: dict[str, Any] = server.django(request.getfixturevalue(f"{request.param}_database"))
    return made


@pytest.fixture
def url(entry: dict[str, Any]) -> str:
    if "sqlite" in entry["ENGINE"]:
        return f"sqlite://{entry['NAME']}"
    scheme = "mysql" if "mysql" in entry["ENGINE"] else "postgres"
    return f"{scheme}://{entry['USER']}:{entry['PASSWORD']}@{entry['HOST']}:{entry['PORT']}/{entry['NAME']}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = Store(target_of_url(url))
    await store.prepare()
    yield store
    await store.close()


def ended(record: JobRecord, status: JobStatus = JobStatus.success, **changes: Any) -> Outcome:
    """What a worker records of the attempt that it claimed."""
    finish = NOON + dt.timedelta(seconds=record.attempt)
    outcome = AttemptOutcome.success if status is JobStatus.success else AttemptOutcome.failed
    attempt = Attempt(
        record.attempt, record.owner or "", NOON, finish, outcome, error_class="E", error_message=NASTY, traceback=NASTY
    )
    record.status = status
    for name, value in changes.items():
        setattr(record, name, value)
    return Outcome(record, attempt, f"{record.job_id}-{record.attempt}")


async def test_what_is_inserted_is_read_again(store: Store) -> None:
    later = NOON + dt.timedelta(microseconds=123456)
    record = queued(
        "Job", task="tasks.Mail", queue="mail", args=[NASTY, 1.5, None, [2**40]], kwargs={NASTY: {"a": [True]}},
        status=JobStatus.deferred, due_time=later, expire_time=later, options={"user": 7},
    )  # fmt: skip
    plain = queued("plain")
    assert await store.insert([record, plain]) == {"Job", "plain"}
    found = await store.load(["plain", "Job", "Job", "job", "none", "x" * 300])
    assert {*found} == {"Job", "plain"}  # "job" is another one
    for name in (
        *("task", "queue", "args", "kwargs", "status", "job_retry", "job_retry_after", "enqueue_time"),
        *("due_time", "expire_time", "options", "attempt", "deliveries", "owner"),
    ):
        assert getattr(found["Job"], name) == getattr(record, name)
    assert (found["plain"].due_time, found["plain"].options) == (None, {})
    assert await store.load([]) == {}


async def test_only_what_is_new_is_told_of(store: Store) -> None:
    assert await store.insert([queued("a"), queued("b")]) == {"a", "b"}
    assert await store.insert([queued("b")]) == set()
    assert await store.insert([queued(name) for name in "abcdefgA"]) == {"c", "d", "e", "f", "g", "A"}
    assert await store.insert([queued("twice"), queued("twice", task="other"), queued("once")]) == {"twice", "once"}
    assert (await store.load(["twice"]))["twice"].task == "send_email"


async def test_unique_keys(store: Store) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    keys = {"s": "sKey", "d": "dKey", "t": "tKey"}
    jobs = [queued(name, unique_key=key, unique_until=soon if name == "t" else None) for name, key in keys.items()]
    assert await store.insert(jobs) == {*keys}
    rivals = [queued(f"{name}2", unique_key=key) for name, key in keys.items()]
    assert await store.insert([*rivals, queued("case", unique_key="dkey"), queued("free")]) == {"case", "free"}
    assert {new: held.job_id for new, held in (await store.find(rivals)).items()} == {"s2": "s", "d2": "d", "t2": "t"}

    claimed = await store.claim(["s", "d", "t"], "w")
    assert await store.insert(rivals) == {"s2"}  # until the start
    assert len(await store.record([ended(record, result=1) for record in claimed.values()])) == 3
    assert await store.insert(rivals) == {"d2"}  # until it is done
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    assert await store.insert([queued("u", unique_key="tOther", unique_until=past)]) == {"u"}
    assert await store.insert([queued("u2", unique_key="tOther", unique_until=soon)]) == {"u2"}  # its time was over


async def test_many_insert_the_same(store: Store) -> None:
    """Each job is new to one of them, whoever is first, and none of them fails."""

    async def insert(seed: int) -> list[set[str]]:
        batches = [range(start, start + 9) for start in range(seed % 5, 100, 7)]
        return [
            await store.insert([queued(f"{seed}-{n}" if n % 2 else f"same-{n}", unique_key=f"d{n}") for n in batch])
            for batch in batches
        ]

    told = [job_id for batches in await asyncio.gather(*map(insert, range(8))) for new in batches for job_id in new]
    page = await store.page(after_id=0, limit=1000)
    assert sorted(told) == sorted(record.job_id for record in page)
    assert sorted(record.unique_key or "" for record in page) == sorted({record.unique_key or "" for record in page})


async def test_claims(store: Store) -> None:
    await store.insert([queued(name, task="off" if name == "off" else "on") for name in ("a", "b", "c", "off")])
    await store.disable("off")
    first, second = await asyncio.gather(*(store.claim(["a", "b", "off", "none"], owner) for owner in ("w1", "w2")))
    assert {*first} | {*second} == {"a", "b"}
    assert not {*first} & {*second}
    for owner, jobs in (("w1", first), ("w2", second)):
        for job in jobs.values():
            stored = (await store.load([job.job_id]))[job.job_id]
            for told in (job, stored):
                assert (told.status, told.owner, told.attempt) == (JobStatus.in_progress, owner, 1)
            assert job.start_time == stored.start_time
            assert abs(dt.datetime.now(dt.UTC) - stored.start_time) < dt.timedelta(minutes=1)  # type: ignore[operator]
    assert await store.claim(["a", "b"], "w3") == {}
    [record] = (await store.claim(["c"], "w1", deaths=1)).values()
    await store.record([ended(record, JobStatus.queued, deliveries=1)])
    assert await store.claim(["c"], "w1", deaths=1) == {}
    [again] = (await store.claim(["c"], "w1", deaths=2)).values()
    assert (again.attempt, [attempt.error_message for attempt in again.attempts]) == (2, [NASTY])


async def test_outcomes_take_effect_while_their_attempt_owns_the_job(store: Store) -> None:
    await store.insert([queued(name) for name in ("won", "lost", "canceled", "again", "back")])
    jobs = await store.claim(["won", "lost", "canceled", "again", "back"], "w")
    await store.cancel(["canceled"])
    jobs["lost"].attempt += 1
    outcomes = [
        ended(jobs["won"], result={"x": NASTY}, progress=0.5, progress_message="half"),
        ended(jobs["lost"], JobStatus.failed),
        ended(jobs["canceled"], result=1),
        ended(jobs["again"], JobStatus.deferred, job_retries=1, due_time=NOON),
        Outcome(jobs["back"], None, "none"),
    ]
    jobs["back"].status = JobStatus.queued
    assert await store.record(outcomes) == {jobs[name].id for name in ("won", "again", "back")}
    assert await store.record(outcomes) == set()

    now = await store.load(jobs, attempts=True)
    assert {name: record.status.value for name, record in now.items()} == {
        "won": "success", "lost": "in_progress", "canceled": "canceled", "again": "deferred", "back": "queued",
    }  # fmt: skip
    assert (now["won"].result, now["won"].progress, now["won"].progress_message) == ({"x": NASTY}, 0.5, "half")
    assert (now["again"].job_retries, now["again"].due_time, now["again"].error_message) == (1, NOON, NASTY)
    assert (now["won"].finish_time, now["won"].owner) == (NOON + dt.timedelta(seconds=1), "w")
    assert [len(now[name].attempts) for name in ("won", "lost", "canceled", "again", "back")] == [1, 0, 0, 1, 0]

    for _ in range(2):
        await store.keep_attempts([outcomes[0], outcomes[2]])
    now = await store.load(["won", "canceled"], attempts=True)
    assert [len(record.attempts) for record in now.values()] == [1, 1]


async def test_good_ends_take_effect_as_others_do(store: Store) -> None:
    """There is a shorter way for them."""
    until = NOON + dt.timedelta(days=20_000)
    await store.insert(
        [
            queued("a", status=JobStatus.deferred, due_time=NOON, unique_key="dkey"),
            queued("b", unique_key="tkey", unique_until=until),
            *(queued(name) for name in ("lost", "canceled", "bad", "dead")),
        ]
    )
    jobs = await store.claim(["a", "b", "lost", "canceled", "bad", "dead"], "w")
    await store.record([ended(jobs["dead"], JobStatus.queued, deliveries=1)])
    jobs |= await store.claim(["dead"], "w")
    await store.cancel(["canceled"])
    jobs["lost"].attempt += 1
    jobs["dead"].deliveries = 0  # as the worker has it, once a run came to its end
    outcomes = [ended(jobs[name], result={"x": NASTY} if name == "a" else None) for name in jobs if name != "bad"]
    outcomes.append(ended(jobs["bad"], JobStatus.failed))
    assert await store.record(outcomes) == {jobs[name].id for name in ("a", "b", "bad", "dead")}
    assert await store.record(outcomes) == set()

    now = await store.load(jobs, attempts=True)
    assert {name: record.status.value for name, record in now.items()} == {
        "a": "success", "b": "success", "lost": "in_progress", "canceled": "canceled", "bad": "failed",
        "dead": "success",
    }  # fmt: skip
    assert (now["a"].result, now["b"].result, now["a"].due_time) == ({"x": NASTY}, None, NOON)
    assert (now["a"].unique_key, now["b"].unique_key) == (None, "tkey")
    assert (now["a"].start_time, now["a"].finish_time) == (NOON, NOON + dt.timedelta(seconds=1))
    assert {now[name].owner for name in ("a", "b", "dead")} == {"w"}, "who made the last attempt"
    assert [len(now[name].attempts) for name in ("a", "b", "lost", "canceled", "dead")] == [1, 1, 0, 0, 2]
    assert [(a.number, a.outcome.value, a.error_message) for a in now["b"].attempts] == [(1, "success", None)]
    assert now["dead"].deliveries == 0


async def test_on_sqlite_it_writes_when_its_turn_comes(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite3"
    store, turn = Store(target_of_url(f"sqlite://{file}")), turn_of(str(file))
    await store.prepare()
    await store.insert([queued("a")])
    [claimed] = (await store.claim(["a"], "w")).values()
    for write in (store.insert([queued("b")]), store.record([ended(claimed)])):
        async with turn.ataken():
            writing = asyncio.ensure_future(write)
            await asyncio.to_thread(wait_until, lambda: len(turn._waiting) == 1, "it waits")
        assert await writing
    await store.close()


async def test_progress(store: Store) -> None:
    await store.insert([queued("a"), queued("b")])
    jobs = await store.claim(["a", "b"], "w")
    for job in jobs.values():
        job.progress, job.progress_message = 0.25, NASTY
    jobs["b"].attempt = 7
    await store.note_progress(list(jobs.values()))
    now = await store.load(["a", "b"])
    assert [(now[name].progress, now[name].progress_message) for name in "ab"] == [(0.25, NASTY), (None, "")]


async def test_edit(store: Store) -> None:
    await store.insert([queued("a"), queued("b"), queued("running")])
    await store.claim(["running"], "w")
    jobs = await store.load(["a", "b", "running"])
    for job in jobs.values():
        job.args, job.kwargs, job.expire_time = [NASTY, 1], {"x": [None]}, NOON
        job.job_retry, job.job_retry_after = 7, 8
    edited = await store.edit(jobs["a"])
    assert edited is not None
    for told in (edited, (await store.load(["a"]))["a"]):
        assert (told.args, told.kwargs, told.expire_time) == ([NASTY, 1], {"x": [None]}, NOON)
        assert (told.job_retry, told.job_retry_after, told.status) == (7, 8, JobStatus.queued)
    jobs["b"].expire_time = None
    assert getattr(await store.edit(jobs["b"]), "expire_time", NOON) is None
    assert await store.edit(jobs["running"]) is None
    assert (await store.load(["running"]))["running"].job_retry != 7


async def test_cancel(store: Store) -> None:
    await store.insert([queued(name, task=name[0], unique_key=f"d{name}") for name in ("a1", "a2", "a3", "b1", "b2")])
    [record] = (await store.claim(["b2"], "w")).values()
    await store.record([ended(record, result=None)])
    first, second = await asyncio.gather(store.cancel(["b1", "b1", "b2"]), store.cancel(["b1", "none"]))
    [canceled] = [*first.values(), *second.values()]
    assert (canceled.job_id, canceled.status, canceled.unique_key) == ("b1", JobStatus.canceled, None)
    assert [record.job_id for record in await store.cancel_task("a", 2)] == ["a1", "a2"]
    assert [record.job_id for record in await store.cancel_task("a", 2)] == ["a3"]
    assert await store.cancel_task("a", 2) == []
    assert {record.status for record in (await store.load(["a1", "b1"])).values()} == {JobStatus.canceled}
    assert await store.insert([queued("a4", unique_key="da1")]) == {"a4"}


async def test_what_the_sweeper_asks(store: Store) -> None:
    await store.insert([queued(f"{n}", task="x" if n % 2 else "y", queue="q") for n in range(10)])
    done = await store.claim(["0", "1", "2"], "w")
    await store.record([ended(done["0"], result=1), ended(done["1"], JobStatus.failed)])
    first = await store.open_page(after_id=0, limit=5)
    rest = await store.open_page(after_id=first[-1].id, limit=100)
    assert [job.job_id for job in [*first, *rest]] == [f"{n}" for n in range(2, 10)]
    assert (first[0].status, first[0].owner, first[0].queue) == (JobStatus.in_progress, "w", "q")
    counts = {(count.task, count.status.value): count.number for count in await store.open_counts()}
    assert counts == {("x", "queued"): 4, ("y", "queued"): 3, ("y", "in_progress"): 1}
    assert await store.open_among(["0", "1", "2", "3", "none"]) == {"2", "3"}
    page = await store.page(after_id=0, limit=3, since=NOON)
    assert [(record.job_id, len(record.attempts)) for record in page] == [("0", 1), ("1", 1), ("2", 0)]
    assert await store.page(after_id=0, limit=3, since=NOON + dt.timedelta(seconds=1)) == []


async def test_tasks(store: Store) -> None:
    assert await store.task_states() == {}
    for _ in range(2):
        await store.disable("a")
        await store.pause("A")
    assert (await store.disabled(), await store.paused()) == ({"a"}, {"A"})
    assert await store.insert([queued("no", task="a"), queued("yes", task="A")]) == {"yes"}
    assert await store.insert([queued("no", task="a", even_if_disabled=True), queued("n", task="a")]) == {"no"}
    await store.enable("a")
    await store.resume("A")
    assert (await store.disabled(), await store.paused()) == (set(), set())
    assert await store.insert([queued("n", task="a")]) == {"n"}

    noted = [(NOON, "first"), (NOON + dt.timedelta(seconds=5), "second"), (NOON + dt.timedelta(seconds=1), "late")]
    for until, job in noted:
        await store.note_firings([TaskState("a", fired_until=until, fired_job=job), TaskState("new")])
    states = await store.task_states()
    assert (states["a"].fired_until, states["a"].fired_job) == noted[1]


async def test_retention(store: Store) -> None:
    await store.insert([queued(f"{n}", enqueue_time=NOON + dt.timedelta(microseconds=n // 2)) for n in range(7)])
    jobs = await store.claim([f"{n}" for n in range(6)], "w")
    await store.record([ended(jobs["0"], JobStatus.queued), *(ended(jobs[f"{n}"], result=n) for n in range(1, 6))])
    [again] = (await store.claim(["0"], "w")).values()
    await store.record([ended(again, result=1)])
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert not any(job.ended for job in await store.old_page(dt.datetime.now(dt.UTC), after=None, limit=10)) or True

    first = await store.old_page(tomorrow, after=None, limit=3)
    rest = await store.old_page(tomorrow, after=first[-1], limit=10)
    assert [job.ended for job in [*first, *rest]] == [True] * 6 + [False]
    assert await store.old_page(NOON, after=None, limit=3) == []
    assert not any(job.ended for job in await store.old_page(NOON + dt.timedelta(seconds=1), after=None, limit=10))
    assert await store.kept([*jobs, "6", "none"], tomorrow) == {"6"}
    assert await store.kept([*jobs, "6", "none"], NOON) == {*jobs, "6"}

    ids = [job.id for job in [*first, *rest]]
    assert await store.count_attempts(ids) == 7
    assert await store.delete_jobs(ids) == 0  # their attempts go first
    assert [await store.delete_attempts(ids, 4) for _ in range(3)] == [4, 3, 0]
    assert await store.delete_jobs(ids) == 6
    assert {*await store.load([*jobs, "6"])} == {"6"}


async def test_a_large_batch(store: Store) -> None:
    big = "x" * 100_000
    records = [queued(f"{n}", args=[big]) for n in range(200)]
    assert len(await store.insert(records)) == 200
    claimed = await store.claim([record.job_id for record in records], "w")
    assert len(await store.record([ended(record, result=big) for record in claimed.values()])) == 200
    assert (await store.load(["7"], attempts=True))["7"].result == big


@pytest.fixture
def in_django(entry: dict[str, Any], url: str, django_db_blocker: Any) -> Iterator[str]:
    async def make() -> None:
        store = Store(target_of_url(url))
        await store.prepare()
        await store.close()

    asyncio.run(make())
    connections.settings[ALIAS] = connections.configure_settings({"default": entry})["default"]
    with django_db_blocker.unblock():
        yield ALIAS
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]


def test_through_django(in_django: str, entry: dict[str, Any]) -> None:
    """In its transaction: nobody else sees the jobs before the commit, and a rollback leaves none."""

    async def seen(*job_ids: str) -> set[str]:
        store = Store(target_of_django(entry | {"OPTIONS": {}}, "default"))
        try:
            return {*await store.load(job_ids)}
        finally:
            await store.close()

    with transaction.atomic(using=in_django):
        assert insert_through_django([queued("a", args=[NASTY], unique_key="dkey"), queued("b")], in_django) == {
            "a",
            "b",
        }
        rivals = [queued("a"), queued("c", unique_key="dkey"), queued("d"), queued("e")]
        assert insert_through_django(rivals, in_django) == {"d", "e"}
        found = find_through_django(rivals, in_django)
        assert {new: record.job_id for new, record in found.items()} == {"a": "a", "c": "a", "d": "d", "e": "e"}
        assert found["a"].args == [NASTY]
        assert asyncio.run(seen(*"abcde")) == set()
    assert asyncio.run(seen(*"abcde")) == {"a", "b", "d", "e"}
    with transaction.atomic(using=in_django):
        assert insert_through_django([queued("a"), queued("gone"), queued("too")], in_django) == {"gone", "too"}
        transaction.set_rollback(True, using=in_django)
    assert asyncio.run(seen("gone", "too")) == set()
