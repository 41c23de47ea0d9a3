"""ReArq's tables with our columns: one schema, whichever way it is made, and still ReArq's own.

Each test runs on a fresh SQLite file, a fresh PostgreSQL database and a fresh one of MariaDB (or MySQL).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rearq.constants
import rearq.enums
from django.core.management import call_command
from django.db import connections
from rearq.server.models import Job, JobResult
from tortoise.context import TortoiseContext

from django_cfg_tasks.broker import keys
from django_cfg_tasks.exceptions import ConfigurationError
from django_cfg_tasks.jobs import MAX_NAME, MAX_QUEUE_NAME, JobRecord, JobStatus
from django_cfg_tasks.store import Store, schema, target_of_django, target_of_url
from tests.mysql_server import MySQLServer
from tests.postgres_server import PostgresServer

ALIAS = "jobs"
NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
OURS = {
    schema.JOBS: [
        *("queue", "due_time", "start_time", "owner", "attempt", "deliveries", "options"),
        *("unique_key", "unique_until", "progress", "progress_message"),
    ],
    schema.RESULTS: ["attempt", "outcome", "error_class", "error_message", "traceback"],
}
MYSQLS = ["is_open", "batch"]
"""Columns of jobs that only MySQL has, after these."""


def ours(table: str, vendor: str) -> list[str]:
    return OURS[table] + (MYSQLS if (vendor, table) == ("mysql", schema.JOBS) else [])


@dataclass(frozen=True)
class Database:
    """An empty database, for both sides: as a URL, and as an entry of DATABASES."""

    vendor: str
    url: str
    entry: dict[str, Any]


@pytest.fixture
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str, str], Database]]:
    """Make empty databases: ``make_database("sqlite", "one")``."""
    made: list[tuple[PostgresServer | MySQLServer, str]] = []

    def make(vendor: str, name: str = "one") -> Database:
        if vendor == "sqlite":
            file = tmp_path / f"{name}.sqlite3"
            return Database(vendor, f"sqlite://{file}", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)})
        fixture = "mysql_server" if vendor == "mysql" else "postgres_server"
        server: PostgresServer | MySQLServer = request.getfixturevalue(fixture)
        database = f"test_schema_{name}"
        made.append((server, database))
        url = server.create_database(database)
        return Database(vendor, url, server.django(database) | {"CONN_MAX_AGE": None})

    yield make
    for server, database in made:
        server.drop_database(database)


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mysql", marks=pytest.mark.long)])
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(make_database: Callable[..., Database], vendor: str) -> Database:
    return make_database(vendor)


@pytest.fixture
def through_django(django_db_blocker: Any) -> Iterator[Callable[[Database], Any]]:
    """Open a database as Django does; one at a time."""

    def connect(database: Database) -> Any:
        if ALIAS in connections.settings:
            connections[ALIAS].close()
            del connections[ALIAS]
        connections.settings[ALIAS] = connections.configure_settings({"default": database.entry})["default"]
        return connections[ALIAS]

    with django_db_blocker.unblock():
        yield connect
        if ALIAS in connections.settings:
            connections[ALIAS].close()
            del connections[ALIAS]
            del connections.settings[ALIAS]


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Store]:
    """A store of one's own."""
    store = Store(target_of_url(database.url))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def as_rearq(database: Database) -> AsyncIterator[TortoiseContext]:
    """ReArq's own models are connected to the database."""
    async with TortoiseContext() as context:
        # A name for each kind of database: Tortoise keeps the SQL that it made for a name for all the process.
        app = {"models": ["rearq.server.models"], "default_connection": database.vendor}
        await context.init(config={"connections": {database.vendor: database.url}, "apps": {"rearq": app}})
        yield context


def prepare(database: Database) -> None:
    """Let the store make or extend the tables."""

    async def run() -> None:
        async with opened(database) as store:
            await store.prepare()

    asyncio.run(run())


def make_as_rearq(database: Database, *job_ids: str) -> None:
    """Let ReArq make its tables, with a finished job for each id."""

    async def run() -> None:
        async with as_rearq(database) as context:
            await context.generate_schemas()
            for job_id in job_ids:
                await rearq_job(job_id, JobStatus.success)

    asyncio.run(run())


async def rearq_job(job_id: str, status: JobStatus) -> None:
    """Insert as ReArq's producer and worker do."""
    job = await Job.create(
        task="add",
        args=[1],
        kwargs={"b": 2},
        job_retry=3,
        job_retry_after=60,
        job_id=job_id,
        enqueue_time=NOW,
        status=rearq.enums.JobStatus(status),
    )
    if status is JobStatus.success:
        await JobResult.create(job=job, worker="w", success=True, msg_id=f"1-{job_id}", result="3", finish_time=NOW)


def described(connection: Any) -> dict[str, Any]:
    """All that a database says about the tables."""
    with connection.cursor() as cursor:
        describe = _DESCRIBE[connection.vendor]
        return {table: describe(cursor, table) for table in (schema.JOBS, schema.RESULTS, schema.TASKS)}


def _describe_sqlite(cursor: Any, table: str) -> dict[str, Any]:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql)
        return list(cursor.fetchall())

    partial = dict(ask(f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = '{table}'"))
    indexes = set()
    for _, name, unique, origin, is_partial in ask(f"PRAGMA index_list({table})"):
        parts = tuple(column for _, _, column in ask(f"PRAGMA index_info({name})"))
        condition = partial[name].partition(" WHERE ")[2] if is_partial else ""
        indexes.add((name if origin == "c" else "", parts, unique, condition))
    return {
        # name, type, not null, default, primary key
        "columns": [row[1:] for row in ask(f"PRAGMA table_info({table})")],
        "indexes": indexes,
        # table, from, to, on update, on delete
        "references": {row[2:7] for row in ask(f"PRAGMA foreign_key_list({table})")},
        "counted": "AUTOINCREMENT" in ask(f"SELECT sql FROM sqlite_master WHERE name = '{table}'")[0][0],
    }


def _describe_postgresql(cursor: Any, table: str) -> dict[str, Any]:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql, [table])
        return list(cursor.fetchall())

    return {
        "columns": ask(
            "SELECT column_name, udt_name, character_maximum_length, is_nullable, column_default, is_identity"
            " FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
        ),
        "indexes": {row[0] for row in ask("SELECT indexdef FROM pg_indexes WHERE tablename = %s")},
        "references": {
            row[0] for row in ask("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass")
        },
    }


def _describe_mysql(cursor: Any, table: str) -> dict[str, Any]:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql, [table])
        return list(cursor.fetchall())

    of_table = "table_schema = DATABASE() AND table_name = %s"
    indexes: dict[str, list[tuple[Any, ...]]] = {}
    for name, *parts in ask(
        f"SELECT index_name, column_name, non_unique FROM information_schema.statistics WHERE {of_table}"
        " ORDER BY index_name, seq_in_index"
    ):
        indexes.setdefault(name, []).append(tuple(parts))
    return {
        "columns": ask(
            "SELECT column_name, column_type, is_nullable, column_default, extra, collation_name,"
            f" generation_expression FROM information_schema.columns WHERE {of_table} ORDER BY ordinal_position"
        ),
        "indexes": indexes,
        "references": ask(
            "SELECT k.column_name, k.referenced_table_name, k.referenced_column_name, r.delete_rule"
            " FROM information_schema.key_column_usage AS k JOIN information_schema.referential_constraints AS r"
            " USING (constraint_schema, constraint_name) WHERE k.table_schema = DATABASE() AND k.table_name = %s"
        ),
        "text": ask(f"SELECT engine, table_collation FROM information_schema.tables WHERE {of_table}"),
    }


_DESCRIBE = {"sqlite": _describe_sqlite, "postgresql": _describe_postgresql, "mysql": _describe_mysql}


def test_a_migration_and_a_store_make_the_same(
    make_database: Callable[..., Database], vendor: str, through_django: Callable[[Database], Any]
) -> None:
    migrated, prepared = make_database(vendor, "migrated"), make_database(vendor, "prepared")
    through_django(migrated)
    call_command("migrate", database=ALIAS, verbosity=0)
    by_migration = described(connections[ALIAS])
    prepare(prepared)
    by_store = described(through_django(prepared))
    assert by_migration == by_store
    expected = ours(schema.JOBS, vendor)
    assert [column[0] for column in by_store[schema.JOBS]["columns"]][-len(expected) :] == expected


@pytest.mark.parametrize("by", ["migration", "store"])
def test_what_rearq_made_is_extended_to_the_same(
    make_database: Callable[..., Database], vendor: str, through_django: Callable[[Database], Any], by: str
) -> None:
    old, new = make_database(vendor, "old"), make_database(vendor, "new")
    make_as_rearq(old)
    through_django(old)
    if by == "migration":
        call_command("migrate", database=ALIAS, verbosity=0)
    else:
        prepare(old)
    extended = described(connections[ALIAS])
    prepare(new)
    made = described(through_django(new))
    # ReArq counts with 32 bits where new tables count with 64, except in SQLite: what is there is not rewritten.
    assert _with_wide_keys(extended) == made


WIDE = {"int4": "int8", "int(11)": "bigint(20)", "int": "bigint"}


def _with_wide_keys(description: dict[str, Any]) -> dict[str, Any]:
    def widened(column: tuple[Any, ...]) -> tuple[Any, ...]:
        wide = WIDE.get(column[1])
        return (column[0], wide, *column[2:]) if wide and column[0] in ("id", "job_id") else column

    return {
        table: parts | {"columns": [widened(column) for column in parts["columns"]]}
        for table, parts in description.items()
    }


def test_its_rows_are_kept(database: Database, through_django: Callable[[Database], Any]) -> None:
    make_as_rearq(database, "one", "two")
    prepare(database)
    with through_django(database).cursor() as cursor:
        cursor.execute(
            "SELECT j.job_id, j.status, j.queue, r.success, r.result, r.outcome FROM rearq_job j"
            " JOIN rearq_job_results r ON r.job_id = j.id ORDER BY j.id"
        )
        rows = [(*row[:3], bool(row[3]), *row[4:]) for row in cursor.fetchall()]
    assert rows == [(name, "success", None, True, "3", None) for name in ("one", "two")]


async def test_a_vanilla_producer_can_go_on(database: Database) -> None:
    """ReArq's code knows nothing of our columns: it inserts, reads and updates as before, and we read its jobs."""
    async with opened(database) as store:
        await store.prepare()
        async with as_rearq(database):
            await rearq_job("vanilla", JobStatus.queued)
            await Job.filter(job_id="vanilla").update(status=rearq.enums.JobStatus.canceled)
            job = await Job.get(job_id="vanilla")
            assert (job.args, job.kwargs, job.status) == ([1], {"b": 2}, "canceled")
            await job.delete()
            await rearq_job("another", JobStatus.success)
        record = (await store.load(["another"], attempts=True))["another"]
    assert (record.task, record.args, record.kwargs, record.status) == ("add", [1], {"b": 2}, JobStatus.success)
    assert (record.queue, record.attempt, record.enqueue_time, record.result) == ("", 0, NOW, 3)
    assert [attempt.worker for attempt in record.attempts] == ["w"]


async def test_rearqs_code_reads_our_jobs(database: Database) -> None:
    record = JobRecord("ours", "add", "default", [1], {"b": 2}, JobStatus.queued, 3, 60, NOW, expire_time=NOW)
    async with opened(database) as store:
        assert await store.insert([record]) == {"ours"}
    async with as_rearq(database):
        job = await Job.get(job_id="ours")
        assert (job.task, job.args, job.kwargs, job.status) == ("add", [1], {"b": 2}, "queued")
        assert (job.job_retry, job.job_retries, job.job_retry_after) == (3, 0, 60)
        assert (job.enqueue_time, job.expire_time) == (NOW, NOW)


@pytest.mark.parametrize("made_by_rearq", [False, True])
async def test_ten_at_once_make_one(
    database: Database, made_by_rearq: bool, through_django: Callable[[Database], Any]
) -> None:
    """As when ten workers start after a deploy, each with connections of its own."""
    if made_by_rearq:
        await asyncio.to_thread(make_as_rearq, database, "one")

    async def start(number: int) -> set[str]:
        async with opened(database) as store:
            await store.prepare()
            record = JobRecord(f"job{number}", "add", "default", [], {}, JobStatus.queued, 0, 0, NOW)
            return await store.insert([record])

    stored = await asyncio.gather(*(start(number) for number in range(10)))
    assert stored == [{f"job{number}"} for number in range(10)]

    def columns() -> list[str]:
        connection = through_django(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {schema.JOBS}")
                assert len(cursor.fetchall()) == 10 + made_by_rearq
                return [column[0] for column in cursor.description]
        finally:
            connection.close()  # it belongs to this thread

    names = await asyncio.to_thread(columns)
    expected = ours(schema.JOBS, database.vendor)
    assert names[-len(expected) :] == expected


async def test_preparing_again_changes_nothing(database: Database) -> None:
    async with opened(database) as first:
        await first.prepare()
        await first.prepare()
        await first.insert([JobRecord("one", "add", "default", [], {}, JobStatus.queued, 0, 0, NOW)])
    async with opened(database) as second:
        await second.prepare()
        assert (await second.load(["one"]))["one"].task == "add"


async def test_in_djangos_database_the_store_makes_nothing(database: Database) -> None:
    """`migrate` is the only schema step there; until it ran, the error says so."""
    store = Store(target_of_django(database.entry | {"OPTIONS": {}}, "default"))
    try:
        for attempt in (store.prepare(), store.load(["one"])):
            with pytest.raises(ConfigurationError, match=r"Run: python manage\.py migrate tasks"):
                await attempt
    finally:
        await store.close()


def test_undone_by_a_backwards_migration(database: Database, through_django: Callable[[Database], Any]) -> None:
    connection = through_django(database)
    call_command("migrate", database=ALIAS, verbosity=0)
    assert {schema.JOBS, schema.RESULTS} <= {*connection.introspection.table_names()}
    call_command("migrate", "tasks", "0001", database=ALIAS, verbosity=0)
    assert not {schema.JOBS, schema.RESULTS} & {*connection.introspection.table_names()}


def created(vendor: str) -> list[str]:
    """The statements of a schema, with all names between the same quotes."""
    return [statement.replace("`", '"') for statement in schema.create_statements(vendor)]


class TestStillReArqs:
    """Names that ReArq's own code, web page and other producers rely on."""

    @pytest.mark.parametrize("model", [Job, JobResult])
    def test_every_column_of_its_models_is_there(self, model: Any, vendor: str) -> None:
        statement = next(s for s in created(vendor) if f'"{model._meta.db_table}" (' in s)
        columns = re.findall(r'^    "(\w+)" ', statement, re.MULTILINE)
        theirs = {field.source_field or name for name, field in model._meta.fields_map.items() if field.has_db_field}
        theirs |= {f"{name}_id" for name in model._meta.fk_fields}
        assert theirs < {*columns}
        assert [name for name in columns if name not in theirs] == ours(model._meta.db_table, vendor)

    def test_our_columns_may_be_left_out(self, vendor: str) -> None:
        for statement in created(vendor)[:2]:
            table = statement.split('"')[1]
            for name in ours(table, vendor):
                line = next(line for line in statement.splitlines() if line.startswith(f'    "{name}" '))
                assert "NOT NULL" not in line

    def test_widths(self) -> None:
        assert Job._meta.fields_map["job_id"].max_length == MAX_NAME  # type: ignore[attr-defined]
        assert Job._meta.fields_map["task"].max_length == MAX_NAME  # type: ignore[attr-defined]
        assert ("queue", f"VARCHAR({MAX_QUEUE_NAME})") in schema._our_columns("sqlite")[schema.JOBS]

    def test_statuses(self) -> None:
        assert {status.name: status.value for status in JobStatus} == {
            status.name: status.value for status in rearq.enums.JobStatus
        }

    def test_open_jobs_are_those_that_are_not_final(self) -> None:
        named = set(re.findall(r"'(\w+)'", schema.OPEN))
        assert named == {status.value for status in JobStatus if not status.is_final}

    def test_keys(self) -> None:
        constants = rearq.constants
        assert keys.QUEUE_PREFIX == constants.QUEUE_KEY_PREFIX
        assert keys.stream("default") == constants.DEFAULT_QUEUE
        assert f"{constants.DELAY_QUEUE}:" == keys.DELAY_PREFIX
        assert keys.WORKERS == constants.WORKER_KEY
        assert keys.CHANNEL == constants.CHANNEL
        assert keys.queue_of(keys.stream("mail")) == "mail"

    def test_our_own_keys_are_none_of_its(self) -> None:
        theirs = {value for value in vars(rearq.constants).values() if isinstance(value, str)}
        assert not {keys.FINISHED_CHANNEL, keys.TIMER_LEASE, keys.ALIVE_PREFIX, keys.LOCK_PREFIX} & theirs

    @pytest.mark.parametrize("shards", [1, 4, 7])
    async def test_delayed_jobs_lie_where_it_looks_for_them(self, shards: int) -> None:
        from rearq import ReArq

        app = ReArq(db_url="sqlite://:memory:", redis_url="redis://127.0.0.1:1/0", delay_queue_num=shards)
        for number in range(50):
            member = keys.delayed_member("mail", f"job{number}")
            assert member == f"rearq:queue:mail:job{number}"
            assert keys.delay_shard(member, shards) == app.get_delay_queue(member)
            assert keys.delay_shard(member, shards) in keys.delay_shards(shards)
