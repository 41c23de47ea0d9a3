"""Starts, watches and stops the shop's processes, as an operator would: by command line and by signal."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 40  # more than a worker gives its running jobs
START_SECONDS = 30


class ServerDied(Exception):
    """A process ended that should not have; the message has the end of its log."""


class Process:
    """One subprocess with a log file of its own."""

    def __init__(self, name: str, command: list[str], logs: Path, lock: int) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603  (our own command)
                command,
                cwd=PROJECT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                # Ctrl-C in a terminal goes to all processes of its group; these are to be stopped in order.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise ServerDied unless it runs."""
        if (code := self._popen.poll()) is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-20:]
            raise ServerDied(f"{self.name} ended with code {code}. The end of {self.log}:\n" + "\n".join(lines))

    def stop(self) -> int:
        """Ask it to stop, and return its exit code. One that does not stop in time is killed."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            return self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once, and return its exit code."""
        self._popen.kill()
        return self._popen.wait()


class Servers:
    """A web server and some workers, the first of which has the timer."""

    def __init__(self, logs: Path, lock: int, port: int | None) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs, self._lock = logs, lock
        self.port = port or free_port()
        self._processes: list[Process] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, workers: int) -> None:
        """Start all, and return once the web server answers."""
        web = f"-m uvicorn project.asgi:application --host 127.0.0.1 --port {self.port}"
        self._start("web", [sys.executable, *web.split(), "--lifespan", "off", "--log-level", "warning"])
        rearq = str(Path(sys.executable).with_name("rearq"))
        for number in range(1, workers + 1):
            timer = ["--with-timer"] if number == 1 else []
            self._start(f"worker-{number}", [rearq, "main:rearq", "worker", *timer])
        self._wait_for_web()

    def check(self) -> None:
        """Raise ServerDied if any of them ended."""
        for process in self._processes:
            process.check()

    def stop(self) -> list[str]:
        """Stop them in the order of a real deploy, web server first, and return what went wrong."""
        faults = []
        try:
            while self._processes:
                process = self._processes[0]
                code = process.stop()
                self._processes.pop(0)
                # uvicorn ends by the signal that it was sent, once it has finished its requests.
                if code != 0 and not (process.name == "web" and code == -signal.SIGTERM):
                    faults.append(f"{process.name} ended with code {code}, see {process.log}")
        except KeyboardInterrupt:  # a second Ctrl-C: no more patience
            for process in self._processes:
                process.kill()
            raise
        return faults

    def _start(self, name: str, command: list[str]) -> None:
        self._processes.append(Process(name, command, self._logs, self._lock))

    def _wait_for_web(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
            try:
                connection.request("GET", "/")
                status = connection.getresponse().status
            except OSError:
                status = None
            finally:
                connection.close()
            if status == http.HTTPStatus.OK:
                return
            if time.monotonic() > deadline:
                raise ServerDied(f"the web server does not answer (last: {status}), see {self._logs / 'web.log'}")
            time.sleep(0.1)


def free_port() -> int:
    """Return a port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
