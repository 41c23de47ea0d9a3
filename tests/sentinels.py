"""A master, a replica and three Sentinels, all with passwords: what tests let fail over."""

from __future__ import annotations

import atexit
import shutil
import signal
import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import redis

from tests.redis_server import RedisServer, connected
from tests.servers import end, free_port, launch
from tests.waiting import wait_until

MASTER = "mymaster"
DATABASE = 3
PASSWORD, SENTINEL_PASSWORD = "masters-own", "sentinels-own"
DOWN_SECONDS = 1
COUNT = 3


class Sentinels:
    """Two Redis servers, of which one is the master, and three Sentinels that watch them on loopback."""

    def __init__(self, *, executable: Path | None = None) -> None:
        options = {"masterauth": PASSWORD, "repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}
        self.servers = [RedisServer(password=PASSWORD, options=options, executable=executable) for _ in range(2)]
        self.ports: list[int] = []
        self.folder = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        atexit.register(self.close)

    @property
    def rearq(self) -> dict[str, Any]:
        """The fields of RearqConfig that lead here; ``redis_url`` names a host that is none."""
        return {
            "redis_url": f"redis://:{PASSWORD}@nowhere.invalid:1/{DATABASE}",
            "sentinels": [f"127.0.0.1:{port}" for port in self.ports],
            "sentinel_master": MASTER,
            "sentinel_password": SENTINEL_PASSWORD,
        }

    def start(self) -> Self:
        """Return when the replica has the master's data, and each Sentinel knows it and the other Sentinels."""
        master, replica = (server.start() for server in self.servers)
        with replica.client() as client:
            client.replicaof("127.0.0.1", master.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        for number in range(COUNT):
            self._start_sentinel(number, master.port)
        for port in self.ports:
            wait_until(lambda port=port: self._knows_all(port), "the Sentinels know each other", 30)
        return self

    def master(self) -> RedisServer:
        """The server that is the master in the eyes of all Sentinels that answer; AssertionError where they differ."""
        found = {port for sentinel in self.ports if (port := self._asked(sentinel))}
        assert len(found) == 1, found
        return next(server for server in self.servers if server.port in found)

    def client(self, server: RedisServer) -> AbstractContextManager[redis.Redis]:
        """``with sentinels.client(server) as r``: a client for the database that the configuration names."""
        return connected(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}", decode_responses=True)

    def other(self, server: RedisServer) -> RedisServer:
        return next(other for other in self.servers if other is not server)

    def wait_for_other_than(self, server: RedisServer) -> None:
        """Return when every Sentinel calls another server the master."""
        wait_until(
            lambda: all(self._asked(port) not in (None, server.port) for port in self.ports), "another is master", 30
        )

    def ask(self, port: int, *words: str | int) -> Any:
        """Say something to one Sentinel."""
        with connected(f"redis://127.0.0.1:{port}", password=SENTINEL_PASSWORD, decode_responses=True) as client:
            return client.execute_command(*words)

    def fail_over(self) -> None:
        """Let another server become the master, in an orderly way; returns when that has begun."""

        def begun() -> bool:
            try:
                return bool(self.ask(self.ports[0], "SENTINEL", "FAILOVER", MASTER))
            except redis.ResponseError as error:
                if "NOGOODSLAVE" in str(error):  # until it has looked at a new replica
                    return False
                raise

        wait_until(begun, "a failover begins", 30)

    def freeze_sentinel(self, number: int) -> None:
        self._processes[number].send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """Kill all of it and remove the data."""
        atexit.unregister(self.close)
        for process in self._processes:
            end(process, signal.SIGKILL, timeout=10)
        for server in self.servers:
            server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_sentinel(self, number: int, master_port: int) -> None:
        port = free_port()
        file = self.folder / f"{number}.conf"  # a Sentinel writes down there what it learns
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {master_port} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_SECONDS * 1000}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        command = [str(self.servers[0].program), str(file), "--sentinel"]
        self._processes.append(launch(command, folder=self.folder, log=self.folder / f"{number}.log"))
        self.ports.append(port)

    def _knows_all(self, port: int) -> bool:
        try:
            fields = self.ask(port, "SENTINEL", "MASTER", MASTER)
        except redis.ConnectionError:
            return False
        facts = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        counts = int(facts["num-slaves"]), int(facts["num-other-sentinels"])
        return facts["flags"] == "master" and counts == (len(self.servers) - 1, COUNT - 1)

    def _asked(self, port: int) -> int | None:
        try:
            return int(self.ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])
        except (redis.ConnectionError, redis.TimeoutError):
            return None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
