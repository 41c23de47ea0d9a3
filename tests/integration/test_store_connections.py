"""PostgreSQL's connections stay taken between statements, and it shows in nothing but the time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from django_cfg_tasks.exceptions import StoreUnavailableError
from django_cfg_tasks.store import Store, kept, target_of_url
from django_cfg_tasks.store.steps import Query
from tests.postgres_server import PostgresServer
from tests.records import queued
from tests.waiting import eventually

MOST = 5


@pytest.fixture
async def store(postgres_server: PostgresServer, postgres_database: str) -> AsyncIterator[Store]:
    store = Store(target_of_url(postgres_server.url(postgres_database)))
    await store.prepare()
    yield store
    await store.close()


@pytest.fixture
def backends(postgres_server: PostgresServer, postgres_database: str) -> Callable[[], set[int]]:
    """The process ids of the connections to the database."""

    def asked() -> set[int]:
        with postgres_server.connect() as admin:
            rows = admin.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [postgres_database])
            return {row[0] for row in rows}

    return asked


async def test_one_after_the_other_use_one_connection(store: Store, backends: Callable[[], set[int]]) -> None:
    for number in range(5):
        await store.insert([queued(str(number))])
    [first] = backends()
    async with store.connection.transaction() as run:
        await run(Query("SELECT 1", returns=True))
    await store.load(["1"])
    assert backends() == {first}


async def test_more_at_once_than_there_may_be_connections(store: Store, backends: Callable[[], set[int]]) -> None:
    async def hold(number: int) -> int:
        async with store.connection.transaction() as run:
            await run(Query("SELECT pg_sleep(0.02)", returns=True))
            return int((await run(Query("SELECT %s::text::int AS number", True, [str(number)])))[0]["number"])

    for _ in range(3):
        inserts = (store.insert([queued(f"{_}-{number}")]) for number in range(30))
        numbers, *new = await asyncio.gather(asyncio.gather(*map(hold, range(15))), *inserts)
        assert numbers == list(range(15))
        assert sorted(id_ for ids in new for id_ in ids) == sorted(f"{_}-{number}" for number in range(30))
    assert len(backends()) <= MOST


async def test_connections_that_were_cut_while_idle_are_not_used(
    store: Store, postgres_server: PostgresServer, postgres_database: str
) -> None:
    await asyncio.gather(*(store.insert([queued(str(number))]) for number in range(10)))
    assert postgres_server.terminate_backends(postgres_database) > 1
    await eventually(lambda: _answers(store), "it answers again", timeout=5)
    for number in range(10, 20):
        assert await store.insert([queued(str(number))]) == {str(number)}


async def _answers(store: Store) -> bool:
    try:
        return "1" in await store.load(["1"])
    except StoreUnavailableError:  # what was under way when the news came
        return False


async def test_a_statement_that_is_canceled_spoils_nothing(store: Store, backends: Callable[[], set[int]]) -> None:
    for number in range(2 * MOST):
        slow = asyncio.create_task(store.connection.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.02)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await store.insert([queued(str(number))]) == {str(number)}
    assert len(backends()) <= MOST


async def test_a_transaction_that_fails_leaves_a_connection_without_one(store: Store) -> None:
    async def fail(number: int) -> None:
        async with store.connection.transaction() as run:
            await run(Query("INSERT INTO rearq_task (name) VALUES (%s)", params=[f"task {number}"]))
            raise ZeroDivisionError

    for number in range(2 * MOST):
        with pytest.raises(ZeroDivisionError):
            await fail(number)
        with pytest.raises(Exception, match="division by zero"):
            await store.connection.execute("SELECT 1 / 0")
    assert await store.task_states() == {}
    assert await store.insert([queued("one")]) == {"one"}
    assert set(await store.load(["one"])) == {"one"}


async def test_closing_waits_for_what_is_under_way_and_no_longer(
    store: Store, backends: Callable[[], set[int]]
) -> None:
    slow = [asyncio.create_task(store.connection.execute("SELECT pg_sleep(0.5), 7 AS x")) for _ in range(MOST + 2)]
    await eventually(lambda: len(backends()) == MOST, "as many as there may be are under way")
    async with asyncio.timeout(8):  # a pool that misses a connection is cut off after ten seconds
        await asyncio.gather(*slow[:MOST])
        late = asyncio.create_task(store.connection.execute("SELECT pg_sleep(0.5), 7 AS x"))
        await asyncio.sleep(0.1)
        await store.close()
    assert [rows[0]["x"] for rows in await asyncio.gather(*slow, late)] == [7] * (MOST + 3)
    await eventually(lambda: not backends(), "no connection is left")
    assert await store.insert([queued("again")]) == {"again"}


async def test_who_rests_gives_connections_back(
    postgres_server: PostgresServer,
    postgres_database: str,
    backends: Callable[[], set[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "IDLE_SECONDS", 0.2)
    store = Store(target_of_url(postgres_server.url(postgres_database)))
    try:
        await store.prepare()
        await asyncio.gather(*(store.insert([queued(str(number))]) for number in range(10)))
        held = store.connection._kept
        assert held is not None
        await eventually(lambda: not held._idle, "all are given back")
        assert await store.insert([queued("later")]) == {"later"}
        assert len(backends()) <= MOST
    finally:
        await store.close()


@pytest.fixture
async def strict_pooler(postgres_server: PostgresServer) -> AsyncIterator[int]:
    """The port of what stands in front of PostgreSQL and refuses settings that it does not know, as PgBouncer does."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await message(reader)
        if len(start) == 8:  # asks for TLS
            writer.write(b"N")
            start = await message(reader)
        if b"enable_seqscan" in start:
            fields = b"SFATAL\x00C08P01\x00Munsupported startup parameter: enable_seqscan\x00\x00"
            writer.write(b"E" + struct.pack("!I", 4 + len(fields)) + fields)
            writer.close()
            return
        there, to = await asyncio.open_connection("127.0.0.1", postgres_server.port)
        to.write(start)
        await asyncio.gather(pass_on(reader, to), pass_on(there, writer), return_exceptions=True)

    async def message(reader: asyncio.StreamReader) -> bytes:
        size = await reader.readexactly(4)
        return size + await reader.readexactly(struct.unpack("!I", size)[0] - 4)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_pooler_that_takes_no_settings_is_given_none(
    postgres_server: PostgresServer, postgres_database: str, strict_pooler: int
) -> None:
    url = postgres_server.url(postgres_database).replace(f":{postgres_server.port}/", f":{strict_pooler}/")
    store = Store(target_of_url(url))
    try:
        postgres_server.stop()
        with pytest.raises(StoreUnavailableError):
            await store.prepare()
        postgres_server.start()
        await store.prepare()
        assert await store.insert([queued("a"), queued("b")]) == {"a", "b"}
        assert set(await store.claim(["a", "b"], "worker")) == {"a", "b"}
    finally:
        await store.close()


async def test_plans_follow_the_index_whatever_size_the_table_had(store: Store) -> None:
    assert (await store.connection.execute("SHOW enable_seqscan"))[0][0] == "off"
