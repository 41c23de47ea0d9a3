"""A private PostgreSQL for tests that restart it and cut its connections."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.servers import Server, find_postgres_bin

USER = "postgres"
PASSWORD = "local-tests-only"
# No waiting for the disk: a crash of the server process loses nothing even so, only one of the machine would.
# (synchronous_commit=off would not do: with it a killed server forgets what it had committed.)
FAST = ("fsync=off", "full_page_writes=off", "max_wal_senders=0", "wal_level=minimal")


class PostgresServer(Server):
    """One real PostgreSQL on a port of 127.0.0.1, with a password so that its URLs are like anyone's.

    The port and the data stay over `stop`, `kill` and `restart`. Run as root, the server runs as ``nobody``:
    PostgreSQL refuses root; programs that lie in root's home are copied to where ``nobody`` may run them.
    """

    NAME = "PostgreSQL"
    START_TIMEOUT = 30
    STOP = signal.SIGINT, 20  # fast: open transactions are rolled back, clients are told
    KILL = signal.SIGQUIT, 10  # immediate, as in a crash: no checkpoint, recovery at the next start
    PORT_TAKEN = "Address already in use"

    def __init__(self, *, max_connections: int = 200, options: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.max_connections = max_connections
        self.options = options
        self.bin = find_postgres_bin()
        if os.geteuid() == 0:
            self._leave_root()
        self.program = self.bin / "postgres"

    def url(self, database: str = "postgres", scheme: str = "postgres") -> str:
        """``postgres://user:password@127.0.0.1:port/database``, for Tortoise, asyncpg and ``db_url``."""
        return f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def django(self, database: str = "postgres") -> dict[str, Any]:
        """The entry for Django's ``DATABASES``."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": USER,
            "PASSWORD": PASSWORD,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make a fresh database, in place of one of that name, as ``template`` is, and return its `url`."""
        self.drop_database(name)
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and cut what is connected to it; fine where there is none."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def terminate_backends(self, database: str | None = None) -> int:
        """Cut every client connection (to one database), as an admin or a failover does; return how many."""
        query = sql.SQL(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            " AND ({name}::text IS NULL OR datname = {name})"
        ).format(name=sql.Literal(database))
        return int(self._execute(query)[0][0])

    def connections(self, database: str | None = None) -> int:
        """Return how many clients are connected (to one database), not counting this question."""
        query = sql.SQL(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() AND ({name}::text IS NULL OR datname = {name})"
        ).format(name=sql.Literal(database))
        return int(self._execute(query)[0][0])

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return a new autocommit connection; close it (``with server.connect(name) as c``)."""
        return psycopg.connect(self.url(database, scheme="postgresql"), autocommit=True, connect_timeout=5)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _execute(self, query: sql.SQL | sql.Composed) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def _make(self) -> None:
        if self._data.exists():
            return
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            [
                str(self.bin / "initdb"),
                "--no-sync",
                "--no-instructions",
                "--no-locale",
                "--encoding=UTF8",
                "--auth=scram-sha-256",
                f"--username={USER}",
                f"--pwfile={secret}",
                f"--pgdata={self._data}",
            ]
        )

    def _spawn(self) -> None:
        settings = (
            *FAST,
            f"port={self.port}",
            f"max_connections={self.max_connections}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "shared_buffers=32MB",
            *self.options,
        )
        command = [str(self.program), "-D", str(self._data)]
        for setting in settings:
            command += ["-c", setting]
        self._launch(command)

    def answers(self) -> bool:
        """Tell whether it is past its recovery, and answers."""
        try:
            return bool(self._execute(sql.SQL("SELECT 1")))
        except psycopg.OperationalError:  # not yet listening, or in recovery
            return False

    def _leave_root(self) -> None:
        super()._leave_root()
        if not all(parent.stat().st_mode & 0o001 for parent in self.bin.parents):
            self._copy_programs()

    def _copy_programs(self) -> None:
        """Copy the programs beside the data; their libraries are looked for at relative places."""
        installation = self.bin.parent
        home = self.folder / "programs"
        libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
        shutil.copytree(installation, home / installation.parent.name / installation.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, home / libraries.name)
        self.bin = home / installation.parent.name / installation.name / "bin"


@functools.cache
def process_postgres() -> PostgresServer:
    """Return this process's PostgreSQL, started at the first call and stopped at exit.

    One per process, so one per xdist worker: a test that restarts it disturbs no other.
    """
    return PostgresServer().start()
