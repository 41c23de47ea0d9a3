"""From configuration to an open connection: which database holds the jobs, and the hand that talks to it.

Everything goes through Tortoise's connection as plain SQL; its context is held here, so that no caller
depends on a current one. All of it belongs to the home loop.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from django_cfg_tasks.exceptions import ConfigurationError, StoreUnavailableError
from django_cfg_tasks.store.errors import in_words, is_outage, refuses_access
from django_cfg_tasks.store.kept import KeptConnections
from django_cfg_tasks.store.steps import Query, Rows, Run, drive
from django_cfg_tasks.store.target import DRIVERS, Target, what_is_needed
from django_cfg_tasks.turns import turn_of

if TYPE_CHECKING:
    from tortoise.backends.base.client import BaseDBAsyncClient

logger = logging.getLogger("django_cfg_tasks.store")

T = TypeVar("T")

# Each statement finds its rows by an index. But plans are kept for minutes, and one that was made while a table was
# nearly empty would read all of it, long after it has grown. (Without a way around, a scan seems dear enough for JIT.)
_PLANS = {"enable_seqscan": "off", "jit": "off"}
# As Django has it too: with MySQL's own, REPEATABLE READ, writers wait for the gaps between rows, and dead-lock.
_MYSQL_SESSION = {
    "host": "localhost",
    "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "sql_mode": "STRICT_TRANS_TABLES",
}
_ENGINES = {
    "postgresql": "tortoise.backends.asyncpg",
    "sqlite": "tortoise.backends.sqlite",
    "mysql": "tortoise.backends.mysql",
}


class Connection:
    """One database, reached through Tortoise from the home loop."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._client: BaseDBAsyncClient | None = None
        self._kept: KeptConnections | None = None
        self._without_plans = False
        self._lock = asyncio.Lock()
        self._turn = turn_of(target.name) if target.vendor == "sqlite" else None

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> Rows:
        """Run one statement, with ``%s`` placeholders, in a transaction of its own, and return its rows.

        It fails as `run` does.
        """
        return await self.run(Query(sql, True, params or ()))

    async def run(self, query: Query) -> Rows:
        """Run one query in a transaction of its own.

        StoreUnavailableError on an outage, ConfigurationError where the database gives us no access.
        """
        client = self._client or await self._open()
        keeper = self._kept
        try:
            if keeper is None:
                async with client.acquire_connection() as raw, self._turn_for(query):
                    return await _RUNNERS[self.target.vendor](raw, query)
            kept = await keeper.take()
            try:
                rows: Rows = await kept.raw.fetch(with_numbers(query.sql), *query.params)
            except BaseException:
                await kept.let_go()
                raise
            await keeper.give_back(kept)
            return rows
        except Exception as error:
            if await self._gave_way(client, error):
                return await self.run(query)
            if (explained := self._explained(error)) is not None:
                raise explained from error
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Run]:
        """Hold one connection and run what is given in one transaction that may write."""
        client = self._client or await self._open()
        try:
            taken = client.acquire_connection() if self._kept is None else self._kept.taken()
            async with taken as raw, self._turn_for():
                run = functools.partial(_RUNNERS[self.target.vendor], raw)
                # IMMEDIATE: a SQLite transaction that reads first could not wait for the write lock later.
                await run(Query("BEGIN IMMEDIATE" if self.target.vendor == "sqlite" else "BEGIN"))
                try:
                    yield run
                except BaseException:
                    with suppress(Exception):  # what went wrong before is what there is to tell
                        await asyncio.shield(run(Query("ROLLBACK")))
                    raise
                await run(Query("COMMIT"))
        except Exception as error:
            if (explained := self._explained(error)) is not None:
                raise explained from error
            raise

    def _turn_for(self, query: Query | None = None) -> AbstractAsyncContextManager[None]:
        """Queue up with who else writes to a SQLite file in this process; to read it nobody needs to."""
        if self._turn is None or (query is not None and query.sql.startswith("SELECT")):
            return nullcontext()
        return self._turn.ataken()

    async def ask(self, steps: Generator[Query, Rows, T]) -> T:
        """Run what is asked for, each statement for itself. What only reads has no lock on SQLite's file in its way."""
        return await drive(self.run, steps)

    async def drive(self, steps: Generator[Query, Rows, T]) -> T:
        """Run what is asked for, in one transaction."""
        async with self.transaction() as run:
            return await drive(run, steps)

    async def drive_alone(self, steps: Generator[Query, Rows, T]) -> T:
        """`drive`, one process at a time."""
        lock, unlock = _LOCKS[self.target.vendor]
        async with self.transaction() as run:
            if lock is not None:
                await run(Query(lock, returns=True))
            try:
                return await drive(run, steps)
            finally:
                if unlock is not None:
                    with suppress(Exception):  # a connection that is gone has left it
                        await run(Query(unlock, returns=True))

    async def close(self) -> None:
        """Close the connections; the next statement opens new ones."""
        (client, self._client), (kept, self._kept) = (self._client, None), (self._kept, None)
        if kept is not None:
            await kept.close()
        if client is not None:
            await client.close()

    async def _open(self) -> BaseDBAsyncClient:
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    self._client = await self._OPENERS[self.target.vendor](self)
        return self._client

    async def _open_sqlite(self) -> BaseDBAsyncClient:
        client = await self._connect(self.target.credentials)
        await self._prefer_wal(client)
        return client

    async def _open_postgresql(self) -> BaseDBAsyncClient:
        given = self.target.credentials
        if not self._without_plans and given.get("statement_cache_size") != 0:  # else no plan is kept
            given = {**given, "server_settings": {**_PLANS, **given.get("server_settings", {})}}
        client = await self._connect(given)
        self._kept = KeptConnections(client)
        return client

    async def _open_mysql(self) -> BaseDBAsyncClient:
        return await self._connect({"user": "", "password": "", **_MYSQL_SESSION, **_given(self.target.credentials)})

    _OPENERS = {"sqlite": _open_sqlite, "postgresql": _open_postgresql, "mysql": _open_mysql}

    async def _gave_way(self, client: BaseDBAsyncClient, error: Exception) -> bool:
        """Do without `_PLANS` where a pooler stands in front that takes no settings but those it knows.

        False where the error is another, or comes of the caller's own settings.
        """
        if "startup parameter" not in str(error) or (self._without_plans and client is self._client):
            return False
        if not self._without_plans:
            self._without_plans = True
            await self.close()
        return True

    async def _prefer_wal(self, client: BaseDBAsyncClient) -> None:
        """Let readers and a writer work side by side, without waiting for a transaction that is under way.

        That transaction may be the caller's own, through Django, and would then never end. WAL stays with the
        file, so that whoever comes first in a quiet moment does it for all.
        """
        if self.target.credentials.get("journal_mode") != "keep":
            return
        try:
            async with client.acquire_connection() as raw:
                await raw.execute("PRAGMA busy_timeout=0")
                try:
                    await raw.execute("PRAGMA journal_mode=WAL")
                finally:
                    await raw.execute(f"PRAGMA busy_timeout={self.target.credentials['busy_timeout']}")
        except sqlite3.OperationalError as error:
            logger.debug("%s is in use and stays without WAL for now: %s", self.target.name, error)

    async def _connect(self, credentials: Mapping[str, Any]) -> BaseDBAsyncClient:
        from tortoise.context import TortoiseContext

        context = TortoiseContext()
        try:
            importlib.import_module(DRIVERS[self.target.vendor][0])
            with context:
                await context.init(
                    config={
                        "connections": {
                            "default": {
                                "engine": _ENGINES[self.target.vendor],
                                "credentials": dict(credentials),
                            }
                        },
                        "apps": {"rearq": {"models": ["rearq.server.models"], "default_connection": "default"}},
                    }
                )
                self.context = context
                return context.connections.get("default")
        except ImportError as error:
            raise ConfigurationError(what_is_needed(self.target)) from error

    def _explained(self, error: Exception) -> StoreUnavailableError | ConfigurationError | None:
        """Return what to raise instead, where the database and not the statement is at fault."""
        if isinstance(error, StoreUnavailableError | ConfigurationError):
            return None
        what = in_words(error)
        if refuses_access(error):
            return ConfigurationError(
                f"The database that holds the jobs ({self.target.name}) refuses access: {what}. "
                "Check the name of the database, the user, its password and its rights."
            )
        if is_outage(error):
            return StoreUnavailableError(
                f"The database that holds the jobs ({self.target.name}) can't be used now: {what}. "
                "Check that it runs and can be reached."
            )
        return None


def _given(credentials: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in credentials.items() if value is not None}


# One query, on a connection of the driver's.


async def _run_sqlite(raw: Any, query: Query) -> Rows:
    rows: Rows = await raw.execute_fetchall(with_marks(query.sql), query.params)
    return rows


async def _run_postgresql(raw: Any, query: Query) -> Rows:
    if not query.params and not query.returns:
        await raw.execute(query.sql)
        return []
    rows: Rows = await raw.fetch(with_numbers(query.sql), *query.params)
    return rows


async def _run_mysql(raw: Any, query: Query) -> Rows:
    async with raw.cursor(_mysql_cursor()) as cursor:
        changed = await cursor.execute(query.sql, list(query.params) or None)
        if query.counts:
            return [{"changed": changed}]
        rows: Rows = await cursor.fetchall() if cursor.description else []
        return rows


@functools.cache
def _mysql_cursor() -> Any:
    from asyncmy.cursors import DictCursor

    class QuietDictCursor(DictCursor):
        """Does not ask for the warnings of each statement: that a job is there already is no news."""

        async def _show_warnings(self, conn: Any) -> None:
            return None

    return QuietDictCursor


# The placeholders as the drivers want them.


@functools.cache
def with_marks(sql: str) -> str:
    """Return a statement with the placeholders of Python's SQLite driver."""
    return sql.replace("%s", "?")


@functools.cache
def with_numbers(sql: str) -> str:
    """Return a statement with the placeholders of PostgreSQL."""
    parts = sql.split("%s")
    return "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]


_RUNNERS: dict[str, Callable[[Any, Query], Coroutine[Any, Any, Rows]]] = {
    "sqlite": _run_sqlite,
    "postgresql": _run_postgresql,
    "mysql": _run_mysql,
}
# MySQL's are the server's: one for each of its databases.
_MYSQL_LOCK = "CONCAT('rearq-schema-', LEFT(SHA2(DATABASE(), 256), 32))"
_LOCKS = {
    "sqlite": (None, None),
    "postgresql": ("SELECT pg_advisory_xact_lock(7265617271)", None),
    "mysql": (f"SELECT GET_LOCK({_MYSQL_LOCK}, 3600)", f"SELECT RELEASE_LOCK({_MYSQL_LOCK})"),
}
