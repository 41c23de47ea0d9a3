"""A private Redis for tests that flush, kill and restart it. ReArq's keys have no prefix: never share one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from tests.servers import Server, ServerFailed, find_redis_server
from tests.waiting import wait_until


class RedisServer(Server):
    """One real redis-server on a unix socket and, unless ``tcp=False``, on a port of 127.0.0.1.

    Address and data folder stay the same over `stop`, `kill` and `restart`; without ``appendonly`` a restart
    comes back empty, as a Redis without persistence does. ``options`` are redis.conf lines
    (``{"maxmemory": "10mb"}``).
    """

    NAME = "Redis"
    START_TIMEOUT = 20
    STOP = signal.SIGTERM, 10
    PORT_TAKEN = "bind"

    def __init__(
        self,
        *,
        tcp: bool = True,
        appendonly: bool = False,
        password: str | None = None,
        options: dict[str, str] | None = None,
        executable: Path | None = None,
    ) -> None:
        self.program = executable or find_redis_server()
        super().__init__()
        self.has_port = self.tcp = tcp
        self.appendonly = appendonly
        self.password = password
        self.options = dict(options or {})

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:port/0``, or the unix socket's URL where ``tcp`` is off."""
        credentials = f":{self.password}@" if self.password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/0" if self.tcp else self.unix_url

    @property
    def unix_url(self) -> str:
        credentials = f":{self.password}@" if self.password else ""
        return f"unix://{credentials}{self.socket}?db=0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed("this Redis was never started")
        return self._process.pid

    def answers(self) -> bool:
        """Tell whether PING gets its answer: it listens, and has loaded its data."""
        return "PONG" in self._greeting()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open and get no answer."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """FLUSHALL: every key, stream and consumer group is gone."""
        with self.client() as client:
            client.flushall()

    @contextmanager
    def refusing(self, code: str) -> Iterator[None]:
        """In the block, answer with ``-READONLY``, ``-MASTERDOWN``, ``-NOREPLICAS``, ``-MISCONF`` or ``-OOM``.

        ``CUT`` cuts all connections once.
        """
        try:
            with self.client() as client:
                self._refuse(client, code)
            yield
        finally:
            with self.client() as client:
                client.replicaof("NO", "ONE")
                for name, value in _HARMLESS.items():
                    client.config_set(name, value)
            with suppress(FileNotFoundError):
                self._dump.rmdir()

    def restart_loading(self, seconds: float) -> None:
        """Restart a server with ``appendonly`` that takes so long to load its data, answering ``-LOADING``.

        Returns when it does. It looks up from loading ten times a second.
        """
        step, rounds = 1000, round(seconds * 10)
        with self.client() as client:
            for _ in range(rounds):
                pipe = client.pipeline(transaction=False)
                for number in range(step):
                    pipe.set("tests:filler", number)
                pipe.execute()
            client.delete("tests:filler")
        self.stop()
        kept, self.options = self.options, {**self.options, "key-load-delay": str(100_000 // step)}
        self._spawn()
        self.options = kept
        wait_until(lambda: "LOADING" in self._greeting(), "it answers LOADING")

    @contextmanager
    def client(self, **options: Any) -> Iterator[redis.Redis]:
        """``with server.client() as r``: a new sync client that gives str, and leaves no socket behind."""
        with connected(self.url, **{"decode_responses": True, **options}) as client:
            yield client

    def _spawn(self) -> None:
        options = {
            "port": str(self.port if self.tcp else 0),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self.appendonly else "no",
            **({"requirepass": self.password} if self.password else {}),
            **self.options,
        }
        command = [str(self.program)]
        for name, value in options.items():
            command += [f"--{name}", value]
        self.log.unlink(missing_ok=True)
        self._launch(command)

    def _refuse(self, client: redis.Redis, code: str) -> None:
        if code in ("READONLY", "MASTERDOWN"):
            client.config_set("replica-serve-stale-data", "yes" if code == "READONLY" else "no")
            client.replicaof("127.0.0.1", "1")  # where nobody listens
        elif code == "NOREPLICAS":
            client.config_set("min-replicas-to-write", 1)
        elif code == "CUT":
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        elif code == "OOM":
            client.config_set("maxmemory", 1)
        elif code == "MISCONF":
            self._dump.mkdir()
            client.config_set("save", "3600 1")
            client.bgsave()
            wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a snapshot fails")
        else:
            raise ValueError(code)

    @property
    def _dump(self) -> Path:
        return self.folder / "dump.rdb"

    def _greeting(self) -> str:
        # By hand: redis-py 4.6 forgets to close a unix socket that nobody listens on.
        question = f"AUTH {self.password}\r\nPING\r\n" if self.password else "PING\r\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket))
                connection.sendall(question.encode())
                answer = b""
                while not answer.endswith(b"\r\n"):
                    answer += connection.recv(100) or b"\r\n"
            except OSError:
                return ""
        return answer.decode()


# What `refusing` changes, as it was.
_HARMLESS = {"replica-serve-stale-data": "yes", "min-replicas-to-write": "0", "maxmemory": "0", "save": ""}


@contextmanager
def connected(url: str, **options: Any) -> Iterator[redis.Redis]:
    """A new sync client for a URL whose sockets are closed at the end.

    (``close()`` of redis-py 4.6 leaves them to the garbage collector, whose warning would fail a test.)
    """
    client = redis.Redis.from_url(url, **options)
    try:
        yield client
    finally:
        client.connection_pool.disconnect()
