"""A private MariaDB or MySQL for tests that restart it and cut its connections."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import pymysql

from tests.servers import Server, find_mysql_programs

USER = "tester"
PASSWORD = "local-tests-only"
# No waiting for the disk: a crash of the server process loses nothing even so, only one of the machine would.
FAST = (
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=64M",
    "--skip-log-bin",
    "--skip-name-resolve",
)

# Django asks for MySQLdb; this is one that needs no compiler.
pymysql.install_as_MySQLdb()


class MySQLServer(Server):
    """One real MariaDB (or MySQL) on a port of 127.0.0.1, with a user and password so that its URLs are like anyone's.

    The port and the data stay over `stop`, `kill` and `restart`. Run as root, the server runs as ``nobody``.
    """

    NAME = "MySQL"
    START_TIMEOUT = 60
    STOP = signal.SIGTERM, 30  # open transactions are rolled back, clients are cut
    PORT_TAKEN = "already in use"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.options = options
        self.program, self.installer = find_mysql_programs()
        if os.geteuid() == 0:
            self._leave_root()

    def url(self, database: str = "mysql") -> str:
        """``mysql://user:password@127.0.0.1:port/database``, for ``db_url``."""
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def django(self, database: str = "mysql") -> dict[str, Any]:
        """The entry for Django's ``DATABASES``."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": database,
            "USER": USER,
            "PASSWORD": PASSWORD,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }

    def create_database(self, name: str, collation: str = "utf8mb4_general_ci") -> str:
        """Make a fresh database, in place of one of that name, and return its `url`."""
        self.drop_database(name)
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE {collation}")
        return self.url(name)

    def copy_database(self, template: str, name: str) -> str:
        """Make a fresh database with the tables and rows of another, and return its `url`."""
        self.create_database(name)
        with self.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
            cursor.execute(f"SHOW TABLES FROM `{template}`")
            for (table,) in cursor.fetchall():
                cursor.execute(f"SHOW CREATE TABLE `{template}`.`{table}`")
                cursor.execute(cursor.fetchone()[1])
                if cursor.execute(f"SELECT 1 FROM `{template}`.`{table}` LIMIT 1"):
                    cursor.execute(f"INSERT INTO `{table}` SELECT * FROM `{template}`.`{table}`")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database; fine where there is none."""
        self.terminate_backends(name)
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def terminate_backends(self, database: str | None = None) -> int:
        """Cut every client connection (to one database), as an admin or a failover does; return how many."""
        cut = 0
        for number in self.connections(database):
            try:
                self.execute(f"KILL CONNECTION {number}")
                cut += 1
            except pymysql.OperationalError:  # it has gone by itself
                pass
        return cut

    def connections(self, database: str | None = None) -> list[int]:
        """Return the ids of the clients that are connected (to one database), without the one that asks."""
        rows = self.execute(
            "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = %s "
            "AND (%s IS NULL OR db = %s)",
            [USER, database, database],
        )
        return [row[0] for row in rows]

    def execute(self, query: str, params: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query, params)
            return list(cursor.fetchall())

    def connect(self, database: str | None = None) -> pymysql.Connection[Any]:
        """Return a new autocommit connection; close it (``with server.connect(name) as c``)."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=5,
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make(self) -> None:
        if self._data.exists():
            return
        if self.installer is not None:  # MariaDB
            command = [str(self.installer), "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]
            command += ["--auth-root-authentication-method=normal", f"--tmpdir={self.folder}"]
        else:
            command = [str(self.program), "--no-defaults", "--initialize-insecure", f"--datadir={self._data}"]
        self._run(command)
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        (self.folder / "init.sql").chmod(0o644)

    def _spawn(self) -> None:
        command = [
            str(self.program),
            "--no-defaults",
            *FAST,
            f"--datadir={self._data}",
            f"--tmpdir={self.folder}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            f"--init-file={self.folder}/init.sql",
            *self.options,
        ]
        self._launch(command)

    def answers(self) -> bool:
        """Tell whether it listens, and has made its user."""
        try:
            return bool(self.execute("SELECT 1"))
        except pymysql.OperationalError:  # not yet listening, or the user is not made yet
            return False


@functools.cache
def process_mysql() -> MySQLServer:
    """Return this process's server, started at the first call and stopped at exit.

    One per process, so one per xdist worker: a test that restarts it disturbs no other.
    """
    return MySQLServer().start()
