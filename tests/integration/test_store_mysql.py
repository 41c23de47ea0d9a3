"""What MariaDB and MySQL do otherwise: connections that are cut, old databases, large jobs, words for what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connections, transaction

from django_cfg_tasks.exceptions import ConfigurationError, StoreUnavailableError
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.store import (
    Outcome,
    Store,
    find_through_django,
    insert_through_django,
    is_outage,
    is_refusal,
    target_of_url,
)
from django_cfg_tasks.store.errors import TooLargeError
from django_cfg_tasks.store.steps import Query
from tests.mysql_server import PASSWORD, MySQLServer
from tests.records import NOON, queued
from tests.waiting import eventually


@pytest.fixture
async def store(mysql_server: MySQLServer, mysql_database: str) -> AsyncIterator[Store]:
    store = Store(target_of_url(mysql_server.url(mysql_database)))
    await store.prepare()
    yield store
    await store.close()


async def test_what_is_canceled_leaves_nothing_and_spoils_nothing(store: Store) -> None:
    async def write_and_wait(number: int) -> None:
        async with store.connection.transaction() as run:
            await run(Query("INSERT INTO rearq_task (name) VALUES (%s)", params=[f"task {number}"]))
            await run(Query("SELECT SLEEP(20)", returns=True))

    for number in range(10):  # twice as many as there may be connections
        slow = asyncio.create_task(write_and_wait(number))
        await asyncio.sleep(0.02)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await store.insert([queued(str(number))]) == {str(number)}
    assert await store.task_states() == {}


async def test_connections_that_were_cut_while_idle_are_not_used(
    store: Store, mysql_server: MySQLServer, mysql_database: str
) -> None:
    async def answers() -> bool:
        try:
            return "1" in await store.load(["1"])
        except StoreUnavailableError:  # what was under way when the news came
            return False

    await asyncio.gather(*(store.insert([queued(str(number))]) for number in range(10)))
    assert mysql_server.terminate_backends(mysql_database) > 1
    await eventually(answers, "it answers again", timeout=10)
    for number in range(10, 20):
        assert await store.insert([queued(str(number))]) == {str(number)}


async def test_a_database_that_was_made_for_latin_text(mysql_server: MySQLServer, mysql_database: str) -> None:
    mysql_server.execute(f"ALTER DATABASE {mysql_database} CHARACTER SET latin1")
    store = Store(target_of_url(mysql_server.url(mysql_database)))
    try:
        record = queued("ψ", task="δουλειά", args=["😀"], kwargs={"ключ": "值"})
        assert await store.insert([record]) == {"ψ"}
        found = (await store.load(["ψ"]))["ψ"]
        assert (found.task, found.args, found.kwargs) == (record.task, record.args, record.kwargs)
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ((PASSWORD, "hunter2"), ConfigurationError, r"refuses access: OperationalError: \(1045, .*Check the name of"),
        (("test_", "nowhere_"), ConfigurationError, r"refuses access: OperationalError: \(1049, \"Unknown database"),
        (("PORT", "1"), StoreUnavailableError, r"can't be used now: OperationalError: \(2003, "),
    ],
    ids=["password", "database", "server"],
)
async def test_what_is_wrong_is_said_without_the_password(
    mysql_server: MySQLServer, mysql_database: str, change: tuple[str, str], kind: type[Exception], words: str
) -> None:
    url = mysql_server.url(mysql_database).replace(str(mysql_server.port), "PORT").replace(*change)
    store = Store(target_of_url(url.replace("PORT", str(mysql_server.port))))
    try:
        with pytest.raises(kind, match=words) as caught:
            await store.load(["one"])
        assert PASSWORD not in str(caught.value)
        assert "hunter2" not in str(caught.value)
    finally:
        await store.close()


async def test_what_is_too_large_is_refused_and_is_no_outage(store: Store) -> None:
    """The server would cut the connection, and whoever tries again after an outage would never end."""
    huge = "x" * 20_000_000
    with pytest.raises(TooLargeError, match=r"20,\d+,\d+ bytes at once; the server's max_allowed_packet is 16,777,216"):
        await store.insert([queued("huge", args=[huge])])
    large = '\\"' * 2_000_000  # larger than a portion, and with what has to be escaped
    assert await store.insert([queued("one"), queued("two", args=[large])]) == {"one", "two"}
    jobs = await store.claim(["one", "two"], "w")
    assert jobs["two"].args == [large]
    attempt = Attempt(1, "w", NOON, NOON, AttemptOutcome.success)
    for job in jobs.values():
        job.status, job.result = JobStatus.success, huge
    outcomes = [Outcome(job, attempt, name) for name, job in jobs.items()]
    with pytest.raises(TooLargeError) as caught:
        await store.record(outcomes)
    assert is_refusal(caught.value)
    assert not is_outage(caught.value)
    for job in jobs.values():
        job.result = "small"
    assert len(await store.record(outcomes)) == 2


def test_a_transaction_that_began_earlier_hears_of_what_is_in_its_way(
    mysql_server: MySQLServer, mysql_database: str, django_db_blocker: Any
) -> None:
    """At REPEATABLE READ, an insert meets jobs that a plain SELECT does not see."""
    entry = mysql_server.django(mysql_database) | {"OPTIONS": {"isolation_level": "repeatable read"}}

    async def insert(*records: JobRecord) -> None:
        store = Store(target_of_url(mysql_server.url(mysql_database)))
        await store.insert(records)
        await store.close()

    asyncio.run(insert(queued("first")))
    connections.settings["jobs"] = connections.configure_settings({"default": entry})["default"]
    try:
        with django_db_blocker.unblock(), transaction.atomic(using="jobs"):
            with connections["jobs"].cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM rearq_job")
            asyncio.run(insert(queued("rival", unique_key="dkey"), queued("same")))
            records = [queued("mine", unique_key="dkey"), queued("same"), queued("new")]
            assert insert_through_django(records, "jobs") == {"new"}
            found = find_through_django(records, "jobs")
        assert {new: record.job_id for new, record in found.items()} == {"mine": "rival", "same": "same", "new": "new"}
    finally:
        with django_db_blocker.unblock():
            connections["jobs"].close()
        del connections["jobs"]
        del connections.settings["jobs"]
