"""From configuration to an open connection: which database holds the jobs, and the hand that talks to it.

Everything goes through Tortoise's connection as plain SQL; its context is held here, so that no caller
depends on a current one. All of it belongs to the home loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from django_cfg_tasks.exceptions import ConfigurationError, StoreUnavailableError
from django_cfg_tasks.store.errors import is_outage, refuses_access
from django_cfg_tasks.store.kept import KeptConnections
from django_cfg_tasks.store.schema import Query, Rows

if TYPE_CHECKING:
    from tortoise.backends.base.client import BaseDBAsyncClient

logger = logging.getLogger("django_cfg_tasks.store")

T = TypeVar("T")

SQLITE_BUSY_SECONDS = 20
# None is kept open for its own sake: a pool that restores a floor during an outage logs tracebacks.
_POOL = {"minsize": 0, "maxsize": 5}
# Each statement finds its rows by an index. But plans are kept for minutes, and one that was made while a table was
# nearly empty would read all of it, long after it has grown. (Without a way around, a scan seems dear enough for JIT.)
_PLANS = {"enable_seqscan": "off", "jit": "off"}
_ENGINES = {"postgresql": "tortoise.backends.asyncpg", "sqlite": "tortoise.backends.sqlite"}
_DRIVERS = {"postgresql": ("asyncpg", "postgres"), "sqlite": ("aiosqlite", None)}


@dataclass(frozen=True)
class Target:
    """A database that holds jobs: its kind, and how Tortoise connects to it."""

    vendor: str
    credentials: dict[str, Any] = field(repr=False)
    name: str
    in_django: bool


class Execute(Protocol):
    """Run one statement, with ``%s`` placeholders, and return its rows."""

    async def __call__(self, sql: str, params: list[Any] | None = None) -> Rows: ...


def target_of_url(url: str) -> Target:
    """Read ``RearqConfig.db_url``; ConfigurationError where the database is of no known kind."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "sqlite":
        path = unquote(parts.netloc + parts.path)
        # "sqlite:///./x.db" is the current folder; "sqlite:///x.db" the root, as it is to Tortoise.
        for relative in ("/./", "/../"):
            if path.startswith(relative):
                path = path[1:]
        if path.startswith("//"):  # "sqlite:////var/x.db", as SQLAlchemy and django-environ write it
            path = path[1:]
        return _sqlite(Path(path), options, in_django=False)
    if parts.scheme == "mysql":
        raise ConfigurationError(_NO_MYSQL.format(where="RearqConfig.db_url"))
    credentials = {
        "host": parts.hostname,
        "port": parts.port or 5432,
        "user": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "database": unquote(parts.path.strip("/")),
        **_POOL,
        **_postgres_options(options),
    }
    return Target("postgresql", credentials, f"postgresql://{credentials['host']}/{credentials['database']}", False)


def target_of_django(settings: Mapping[str, Any], alias: str) -> Target:
    """Read one of Django's DATABASES; ConfigurationError where jobs can't be kept in it."""
    engine, name = str(settings["ENGINE"]), settings["NAME"]
    options = dict(settings.get("OPTIONS") or {})
    if "sqlite" in engine:
        if not name or ":memory:" in str(name) or "mode=memory" in str(name):
            raise ConfigurationError(
                f"DATABASES[{alias!r}] is an in-memory SQLite database, which workers can't share. "
                "Give it a file, or set RearqConfig.db_url."
            )
        pragmas = dict(re.findall(r"(?i)pragma\s+(\w+)\s*=\s*(-?\w+)", str(options.get("init_command") or "")))
        if "timeout" in options:
            pragmas["busy_timeout"] = int(float(options["timeout"]) * 1000)
        return _sqlite(Path(name), pragmas, in_django=True)
    if "postgres" in engine or "postgis" in engine:
        credentials = {
            "host": settings.get("HOST") or None,
            "port": int(settings.get("PORT") or 5432),
            "user": settings.get("USER") or None,
            "password": settings.get("PASSWORD") or None,
            "database": name,
            **_POOL,
            **_postgres_options(options),
        }
        if settings.get("DISABLE_SERVER_SIDE_CURSORS"):
            # Django's way to say that a transaction pooler stands in front: prepared statements don't survive it.
            credentials["statement_cache_size"] = 0
        return Target("postgresql", credentials, f"DATABASES[{alias!r}]", True)
    if "mysql" in engine:
        raise ConfigurationError(_NO_MYSQL.format(where=f"DATABASES[{alias!r}]"))
    raise ConfigurationError(
        f"DATABASES[{alias!r}] uses {engine}, which can't hold jobs. "
        "Set RearqConfig.db_url to a PostgreSQL or SQLite database."
    )


def missing_driver(target: Target) -> str | None:
    """Say what is to be installed before ``target`` can be reached; None where nothing is."""
    driver, _ = _DRIVERS[target.vendor]
    return _needs(target) if find_spec(driver) is None else None


def _needs(target: Target) -> str:
    driver, extra = _DRIVERS[target.vendor]
    return f"Jobs are kept in {target.name}, which needs {driver}: pip install 'django-cfg-tasks[{extra}]'."


_NO_MYSQL = "{where} is a MySQL database, which can't hold jobs yet. Set RearqConfig.db_url to PostgreSQL or SQLite."


def _sqlite(path: Path, pragmas: dict[str, Any], *, in_django: bool) -> Target:
    # A file of the folder that is current now, whatever is current when the connection is opened.
    file = str(path.absolute())
    # "keep" is no mode, so that SQLite leaves it as it is: `_prefer_wal` changes it when nobody is in the way.
    pragmas = {"busy_timeout": SQLITE_BUSY_SECONDS * 1000, "journal_mode": "keep", **pragmas}
    return Target("sqlite", {"file_path": file, **pragmas}, file, in_django)


def _postgres_options(options: dict[str, Any]) -> dict[str, Any]:
    """Translate libpq's options, which Django and URLs use, into asyncpg's."""
    result: dict[str, Any] = {}
    settings = dict(re.findall(r"-c\s+([\w.]+)=(\S+)", str(options.get("options") or "")))
    if settings:
        result["server_settings"] = settings
    if options.get("application_name"):
        result["application_name"] = options["application_name"]
    if options.get("connect_timeout"):
        result["timeout"] = float(options["connect_timeout"])
    for name in ("host", "user", "password"):
        if options.get(name):
            result[name] = options[name]
    for name in ("port", "minsize", "maxsize", "statement_cache_size"):
        if name in options:
            result[name] = int(options[name])
    mode = options.get("sslmode")
    if options.get("sslrootcert"):
        context = ssl.create_default_context(cafile=options["sslrootcert"])
        context.check_hostname = mode == "verify-full"
        if options.get("sslcert"):
            context.load_cert_chain(options["sslcert"], options.get("sslkey"))
        result["ssl"] = context
    elif mode:
        result["ssl"] = mode
    return result


class Connection:
    """One database, reached through Tortoise from the home loop."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._client: BaseDBAsyncClient | None = None
        self._kept: KeptConnections | None = None
        self._without_plans = False
        self._lock = asyncio.Lock()

    async def execute(self, sql: str, params: list[Any] | None = None) -> Rows:
        """Run one statement in a transaction of its own.

        StoreUnavailableError on an outage, ConfigurationError where the database gives us no access.
        """
        client = self._client or await self._open()
        keeper = self._kept
        try:
            if keeper is None:
                async with client.acquire_connection() as raw:
                    rows: Rows = await raw.execute_fetchall(_with_marks(sql), params or ())
                return rows
            kept = await keeper.take()
            try:
                rows = await kept.raw.fetch(_with_numbers(sql), *(params or ()))
            except BaseException:
                await kept.let_go()
                raise
            await keeper.give_back(kept)
            return rows
        except Exception as error:
            if await self._gave_way(client, error):
                return await self.execute(sql, params)
            if (explained := self._explained(error)) is not None:
                raise explained from error
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Execute]:
        """Hold one connection and run what is given in one transaction that may write."""
        client = self._client or await self._open()
        try:
            async with client.acquire_connection() if self._kept is None else self._kept.taken() as raw:
                run = _RUNNERS[self.target.vendor](raw)
                # IMMEDIATE: a SQLite transaction that reads first could not wait for the write lock later.
                await run("BEGIN IMMEDIATE" if self.target.vendor == "sqlite" else "BEGIN")
                try:
                    yield run
                except BaseException:
                    await asyncio.shield(run("ROLLBACK"))
                    raise
                await run("COMMIT")
        except Exception as error:
            if (explained := self._explained(error)) is not None:
                raise explained from error
            raise

    async def ask(self, steps: Generator[Query, Rows, T]) -> T:
        """Ask what `schema` wants to know; it only reads, so that no lock on the file is in its way."""
        return await _driven(self.execute, steps)

    async def drive(self, steps: Generator[Query, Rows, T]) -> T:
        """Run what `schema` asks for, in one transaction, one process at a time."""
        async with self.transaction() as run:
            if self.target.vendor == "postgresql":
                await run("SELECT pg_advisory_xact_lock(7265617271)")
            return await _driven(run, steps)

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
                    if self.target.vendor == "sqlite":
                        self._client = await self._open_sqlite()
                    else:
                        client = await self._open_postgresql()
                        self._client, self._kept = client, KeptConnections(client)
        return self._client

    async def _open_sqlite(self) -> BaseDBAsyncClient:
        client = await self._connect(self.target.credentials)
        await self._prefer_wal(client)
        return client

    async def _open_postgresql(self) -> BaseDBAsyncClient:
        given = self.target.credentials
        if self._without_plans or given.get("statement_cache_size") == 0:  # no plan is kept then
            return await self._connect(given)
        return await self._connect({**given, "server_settings": {**_PLANS, **given.get("server_settings", {})}})

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
            raise ConfigurationError(_needs(self.target)) from error

    def _explained(self, error: Exception) -> StoreUnavailableError | ConfigurationError | None:
        """Return what to raise instead, where the database and not the statement is at fault."""
        if isinstance(error, StoreUnavailableError | ConfigurationError):
            return None
        what = f"{type(error).__name__}: {error}"
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


async def _driven(run: Execute, steps: Generator[Query, Rows, T]) -> T:
    try:
        query = next(steps)
        while True:
            query = steps.send(await run(query.sql))
    except StopIteration as end:
        value: T = end.value
        return value


def _sqlite_runner(raw: Any) -> Execute:
    async def run(sql: str, params: list[Any] | None = None) -> Rows:
        rows: Rows = await raw.execute_fetchall(_with_marks(sql), params or ())
        return rows

    return run


def _postgresql_runner(raw: Any) -> Execute:
    async def run(sql: str, params: list[Any] | None = None) -> Rows:
        if not params and not sql.lstrip().upper().startswith("SELECT"):
            await raw.execute(sql)
            return []
        rows: Rows = await raw.fetch(_with_numbers(sql), *(params or ()))
        return rows

    return run


# The placeholders as the drivers want them.


@functools.cache
def _with_marks(sql: str) -> str:
    return sql.replace("%s", "?")


@functools.cache
def _with_numbers(sql: str) -> str:
    parts = sql.split("%s")
    return "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]


_RUNNERS: dict[str, Callable[[Any], Execute]] = {
    "sqlite": _sqlite_runner,
    "postgresql": _postgresql_runner,
}
