"""Fixtures: real servers, real processes, throw-away projects. See the classes for what they can do."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.mysql_server import MySQLServer, process_mysql
from tests.postgres_server import PostgresServer, process_postgres
from tests.processes import Processes
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import ServiceMissing

TIERS = ("unit", "integration", "acceptance", "browser", "migration", "typing", "docs", "soak")
TESTS = Path(__file__).parent
Found = TypeVar("Found")
MIGRATED_BY = ("INSTALLED_APPS", "AUTH_USER_MODEL", "DATABASE")
"""Settings that change what there is to migrate."""
PROCESSES = pytest.StashKey[Processes]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier: the folder that it lies in."""
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if tier in TIERS:
            item.add_marker(tier)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a failed test's processes printed."""
    report = yield
    processes = item.stash.get(PROCESSES, None)
    if report.failed and report.when == "call" and processes is not None:
        report.sections.extend(processes.report())
    return report


def start_or_skip(start: Callable[[], Found]) -> Found:
    """Start a server, or find a program; where it is missing, skip on a laptop and fail in CI."""
    try:
        return start()
    except ServiceMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"in CI every service must be there: {missing}")
        pytest.skip(str(missing))


def fresh_database(server: PostgresServer | MySQLServer) -> Iterator[str]:
    """Yield the name of a new database; drop it then, though the server was stopped meanwhile."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    yield name
    server.start().drop_database(name)


@pytest.fixture(scope="session")
def _process_redis() -> Iterator[RedisServer]:
    server = start_or_skip(lambda: RedisServer().start())
    yield server
    server.close()


@pytest.fixture
def redis_server(_process_redis: RedisServer) -> RedisServer:
    """An empty Redis. It may be stopped, killed, frozen and restarted: the next test gets it running."""
    _process_redis.resume()
    _process_redis.start()
    _process_redis.wipe()
    return _process_redis


@pytest.fixture
def make_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start further Redis servers: ``make_redis(appendonly=True, password="x", tcp=False)``."""
    made: list[RedisServer] = []

    def make(**options: Any) -> RedisServer:
        server = start_or_skip(lambda: RedisServer(**options))
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.close()


@pytest.fixture
def postgres_server() -> PostgresServer:
    """A PostgreSQL, running. It may be stopped and restarted: the next test gets it running."""
    return start_or_skip(process_postgres).start()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a fresh database on `postgres_server`; dropped after the test."""
    yield from fresh_database(postgres_server)


@pytest.fixture
def mysql_server() -> MySQLServer:
    """A MariaDB (or MySQL), running. It may be stopped and restarted: the next test gets it running."""
    return start_or_skip(process_mysql).start()


@pytest.fixture
def mysql_database(mysql_server: MySQLServer) -> Iterator[str]:
    """The name of a fresh database on `mysql_server`; dropped after the test."""
    yield from fresh_database(mysql_server)


@pytest.fixture
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    """Start real commands; all are killed after the test, and shown if it fails."""
    started = Processes(tmp_path)
    request.node.stash[PROCESSES] = started
    yield started
    started.kill_all()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite database of a project that was migrated, for all projects that bring no migrations of their own."""
    folder = tmp_path_factory.mktemp("migrated")
    _migrate(folder, {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")})
    return folder / "db.sqlite3"


@pytest.fixture(scope="session")
def migrated_postgres(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database on `postgres_server` that is like `migrated`."""
    server = start_or_skip(process_postgres).start()
    server.create_database("migrated")
    _migrate(tmp_path_factory.mktemp("migrated"), server.django("migrated"))
    return "migrated"


@pytest.fixture(scope="session")
def migrated_mysql(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database on `mysql_server` that is like `migrated`."""
    server = start_or_skip(process_mysql).start()
    server.create_database("migrated")
    _migrate(tmp_path_factory.mktemp("migrated"), server.django("migrated"))
    return "migrated"


def _migrate(folder: Path, database: dict[str, Any]) -> None:
    project = TaskProject(folder, Processes(folder), tasks="", databases={"default": database}, tasks_config={})
    project.manage("migrate", "--verbosity=0")


@pytest.fixture
def make_project(request: pytest.FixtureRequest, tmp_path: Path, processes: Processes) -> Callable[..., TaskProject]:
    """Write a Django project with tasks, its database migrated.

    ``tasks`` is the text of ``shop/tasks.py``; ``database`` is "sqlite" (a file in the project), "postgres" or "mysql"
    (one fresh database per test) or an entry of DATABASES; ``rearq`` are fields of RearqConfig, further
    keywords those of TaskConfig; ``settings`` is appended to the settings module; ``files`` maps paths to
    texts. Redis is `redis_server` unless ``redis_url`` says otherwise. A second project in one test needs a
    ``name`` of its own.
    """

    def make(
        tasks: str = "",
        *,
        database: str | dict[str, Any] = "sqlite",
        redis_url: str | None = None,
        rearq: dict[str, Any] | None = None,
        settings: str = "",
        files: dict[str, str] | None = None,
        migrate: bool = True,
        name: str = "site",
        **tasks_config: Any,
    ) -> TaskProject:
        folder = tmp_path / name
        folder.mkdir()
        kind = database if isinstance(database, str) else None
        if database == "sqlite":
            database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}
        elif database == "postgres":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            database = server.django(request.getfixturevalue("postgres_database"))
        elif database == "mysql":
            mysql: MySQLServer = request.getfixturevalue("mysql_server")
            database = mysql.django(request.getfixturevalue("mysql_database"))
        url = redis_url or request.getfixturevalue("redis_server").url
        project = TaskProject(
            folder,
            processes,
            tasks=tasks,
            databases={"default": database},
            tasks_config={**tasks_config, "rearq": {"redis_url": url, **(rearq or {})}},
            settings=settings,
            files=files,
        )
        own = any("/migrations/" in path for path in files or ()) or any(word in settings for word in MIGRATED_BY)
        if migrate and kind is not None and not own:
            if kind == "sqlite":
                shutil.copy(request.getfixturevalue("migrated"), folder)
            elif kind == "mysql":
                template = request.getfixturevalue("migrated_mysql")
                request.getfixturevalue("mysql_server").copy_database(template, database["NAME"])
            else:
                template = request.getfixturevalue("migrated_postgres")
                request.getfixturevalue("postgres_server").create_database(database["NAME"], template)
        elif migrate:
            project.manage("migrate", "--verbosity=0")
        return project

    return make


@pytest.fixture(autouse=True)
def _no_history_left_over() -> Iterator[None]:
    """What this process's recorder could not write must not find the database of a later test."""
    yield
    from django_cfg_tasks.recorder import recorder

    if recorder.pending and not recorder.stop(timeout=1):
        with recorder._condition:
            recorder._pending.clear()


@pytest.fixture
def tasks_config(settings: Any, redis_server: RedisServer) -> Callable[..., dict[str, Any]]:
    """Set DJANGO_CFG_TASKS in this process, with the test's own Redis, until the test ends.

    ``tasks_config(enabled=True, rearq={"job_retry": 0})``: keywords as in `make_project`.
    """

    def configure(*, rearq: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        config = {**options, "rearq": {"redis_url": redis_server.url, **(rearq or {})}}
        settings.DJANGO_CFG_TASKS = config
        return config

    return configure
