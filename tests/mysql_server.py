"""A private MariaDB or MySQL for tests that restart it and cut its connections."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import pymysql

from tests.servers import (
    ServerFailed,
    ServiceMissing,
    end,
    find_mysql_programs,
    free_port,
    plain_environment,
    tail,
)
from tests.waiting import NotInTime, wait_until

USER = "tester"
PASSWORD = "local-tests-only"
START_TIMEOUT = 60
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


class MySQLServer:
    """One real MariaDB (or MySQL) on a port of 127.0.0.1, with a user and password so that its URLs are like anyone's.

    The port and the data stay over `stop`, `kill` and `restart`. Run as root, the server runs as ``nobody``.
    """

    def __init__(self, *options: str) -> None:
        self.port = 0
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="mysql-"))
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {}
        atexit.register(self.close)
        self.server, self.installer = find_mysql_programs()
        if os.geteuid() == 0:
            self._leave_root()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

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

    def start(self) -> Self:
        """Make the data folder at first, start, return when it takes connections; else `ServerFailed`."""
        if self.running:
            return self
        if not self._data.exists():
            self._install()
        chosen = self.port
        for attempt in range(5):
            if not chosen:
                self.port = free_port()
            self._spawn()
            try:
                wait_until(lambda: self._answers() or not self.running, "SELECT 1 answers", START_TIMEOUT)
            except NotInTime as error:
                self.kill()
                raise ServerFailed(f"{self.server} does not answer:\n{tail(self.log)}") from error
            if self.running:
                return self
            if "already in use" not in tail(self.log) or attempt == 4:
                break
        raise ServerFailed(f"{self.server} ended at start:\n{tail(self.log)}")

    def stop(self) -> None:
        """Shut down: open transactions are rolled back, clients are cut."""
        if self._process is not None:
            end(self._process, signal.SIGTERM, timeout=30)

    def kill(self) -> None:
        """SIGKILL, as in a crash: recovery at the next start."""
        if self._process is not None:
            end(self._process, signal.SIGKILL, timeout=10)

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) and start again at the same address."""
        (self.kill if kill else self.stop)()
        self.start()

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

    def close(self) -> None:
        """Kill and remove the data. For the end of a test; the object can't be started again."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _install(self) -> None:
        if self.installer is not None:  # MariaDB
            command = [str(self.installer), "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]
            command += ["--auth-root-authentication-method=normal", f"--tmpdir={self.folder}"]
        else:
            command = [str(self.server), "--no-defaults", "--initialize-insecure", f"--datadir={self._data}"]
        made = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=plain_environment(),
            **self._as_user,
        )
        if made.returncode:
            raise ServerFailed(f"{command[0]}: {made.stdout}\n{made.stderr}")
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        (self.folder / "init.sql").chmod(0o644)

    def _spawn(self) -> None:
        command = [
            str(self.server),
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
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=plain_environment(),
                start_new_session=True,
                **self._as_user,
            )

    def _answers(self) -> bool:
        try:
            return bool(self.execute("SELECT 1"))
        except pymysql.OperationalError:  # not yet listening, or the user is not made yet
            return False

    def _leave_root(self) -> None:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise ServiceMissing("MySQL refuses to run as root, and there is no user 'nobody'") from None
        self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)


@functools.cache
def process_mysql() -> MySQLServer:
    """Return this process's server, started at the first call and stopped at exit.

    One per process, so one per xdist worker: a test that restarts it disturbs no other.
    """
    return MySQLServer().start()
