"""Real commands as processes of a test: what they print goes to a file, and none outlives the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers import tail
from tests.waiting import NotInTime, wait_until


class ProcessEnded(AssertionError):
    """A process ended while a test waited for something that it should print."""


class Process:
    """One running command. stdout and stderr go to the file `log` together."""

    def __init__(self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # A session of its own, so that its children can be killed with it.
            self._popen = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        code = self.returncode
        return f"{self.name} (pid {self.pid}, {'running' if code is None else f'exit code {code}'})"

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs, ``-9`` after SIGKILL."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_log(self, pattern: str, timeout: float = 20, *, count: int = 1) -> re.Match[str]:
        """Return the ``count``-th match of a regular expression in the output, as soon as it is there.

        Raise `NotInTime` after ``timeout`` seconds, or `ProcessEnded` at once when the process has ended
        without printing it; both show the output's end.
        """
        expression = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | bool:
            ended = not self.running  # asked first: what it printed last must be read
            matches = list(expression.finditer(self.output))
            return matches[count - 1] if len(matches) >= count else ended

        try:
            match = wait_until(found, f"{self.name} prints {pattern!r}", timeout)
        except NotInTime as error:
            raise NotInTime(f"{error}\n{tail(self.log)}") from None
        if isinstance(match, bool):
            raise ProcessEnded(f"{self} did not print {pattern!r}:\n{tail(self.log)}")
        return match

    def send(self, signum: int) -> None:
        """Send a signal to the process itself; fine when it is gone."""
        if self.running:
            self._popen.send_signal(signum)

    def freeze(self) -> None:
        """SIGSTOP, and wait until every thread stands still; `send` SIGCONT to go on."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def sigterm(self) -> None:
        self.send(signal.SIGTERM)

    def sigkill(self) -> None:
        """SIGKILL to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 30) -> int:
        """Return the exit code when it has ended; `NotInTime` with the output's end otherwise."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NotInTime(f"{self.name} still runs after {timeout:g} s:\n{tail(self.log)}") from None

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, then `wait`."""
        self.sigterm()
        return self.wait(timeout)


class Processes:
    """Starts processes for one test and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []

    def start(
        self,
        *command: str | os.PathLike[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Process:
        """Start a command. ``env`` replaces the environment; without it the tests' own is passed on."""
        words = [os.fspath(word) for word in command]
        name = name or Path(words[0]).name
        log = self.folder / f"{len(self.started)}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.log"
        process = Process(name, words, cwd=cwd or self.folder, env=os.environ if env is None else env, log=log)
        self.started.append(process)
        return process

    def kill_all(self) -> None:
        """SIGKILL everything, children too, and wait: nothing writes to a test's folder after it."""
        for process in self.started:
            process.sigkill()
        for process in self.started:
            process.wait(10)

    def report(self, lines: int = 40) -> list[tuple[str, str]]:
        """Return a title and the output's end for each process, for the report of a failed test."""
        return [(f"output of {process!r}", tail(process.log, lines)) for process in self.started]
