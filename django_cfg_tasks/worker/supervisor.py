"""Keeps processes running: starts them, starts those again that die, passes signals on, and waits until all have ended.

It knows nothing of jobs: what its children do when they are told to end is their own ladder. It runs in the main
thread of a process that does nothing else.
"""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from django_cfg_tasks.worker.shutdown import SIGNALS

NUMBER = "DJANGO_CFG_TASKS_PROCESS"
"""The environment variable by which a worker or timer knows that it has a supervisor, and which of its children it is.

Its standard input is then a pipe that ends when the supervisor is gone.
"""
QUICK_SECONDS = 10.0
"""A process that ends sooner than this has not come up."""
MOST_QUICK_ERRORS = 3
"""After so many such ends with an error, one after the other, all is given up: starting again does not help."""
LONGEST_PAUSE = 30.0
RELOAD_SECONDS = 2.0
"""How long running jobs may go on when code has changed, before they are put back in the queue."""


class OnError(Enum):
    """What to do about a child that ends by itself with an exit code that is not 0."""

    RETRY = "start it again, and give up if it fails right away again and again"
    AWAIT_CHANGE = "start it again when code has changed"
    GIVE_UP = "end all"


@dataclass(eq=False)
class Child:
    """A command to be kept running."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """What its environment has besides that of this process."""
    on_error: OnError = OnError.RETRY
    reloads: bool = False
    """Whether it is ended and started again when code has changed."""
    stays_longest: bool = False
    """Whether it is told to end only when all others have ended, who need it until then."""
    asks: bytes | None = None
    """What it reads from its standard input. None: a pipe that ends when this process is gone."""

    # What its supervisor keeps of it.
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_ends: int = 0
    reloading: bool = False
    awaits_change: bool = False


class Supervisor:
    """Keeps ``children`` running until a signal, or until it must give up.

    ``tell`` is given lines for people, and whether something has gone wrong. ``show`` is given each line that a child
    prints; without it, children print where this process does. ``watch`` is called once with a function, to be called
    from any thread with the path of code that has changed.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        tell: Callable[[str, bool], None],
        show: Callable[[Child, bytes], None] | None = None,
        watch: Callable[[Callable[[object], None]], None] | None = None,
    ) -> None:
        self._children = children
        self._tell = tell
        self._show = show
        self._watch = watch
        # Threads and signal handlers put into it what the main thread shall do.
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._signals = 0
        self._code = 0
        self._quick_errors = 0

    def run(self) -> int:
        """Return, once all have ended, 0 if they ended in order as they were told to, else what it came to."""
        with self._listening():
            for child in self._children:
                self._start(child)
            if self._watch is not None:
                self._watch(lambda path: self._events.put(partial(self._changed, path)))
            while not self._signals or self._running():
                self._next()()
        return self._code

    # The main thread's loop

    def _next(self) -> Callable[[], None]:
        """Wait for something to do."""
        try:
            timeout = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return heapq.heappop(self._later)[2]

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), action))

    def _running(self) -> list[Child]:
        return [child for child in self._children if child.process is not None]

    @contextmanager
    def _listening(self) -> Iterator[None]:
        before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._events.put(partial(self._climb, signal.Signals(number))))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # Starting and ending

    def _start(self, child: Child) -> None:
        if self._signals or child.process is not None:
            return
        child.awaits_change = False
        child.started = time.monotonic()
        child.process = process = subprocess.Popen(  # noqa: S603 - this process's own command, or one of our making
            child.command,
            env={**os.environ, **child.env},
            stdin=subprocess.PIPE,
            stdout=None if self._show is None else subprocess.PIPE,
            stderr=None if self._show is None else subprocess.STDOUT,
            # A group of its own: Ctrl-C in a terminal reaches it once, through us.
            process_group=0,
        )
        if child.asks is not None and process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(child.asks)
            with suppress(BrokenPipeError):
                process.stdin.close()
        reader = None
        if self._show is not None:
            reader = threading.Thread(target=self._read, args=(child, process), daemon=True)
            reader.start()
        threading.Thread(target=self._await_end, args=(child, process, reader), daemon=True).start()

    def _read(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None and self._show is not None:
            for line in process.stdout:
                self._show(child, line)

    def _await_end(self, child: Child, process: subprocess.Popen[bytes], reader: threading.Thread | None) -> None:
        process.wait()
        if reader is not None:
            reader.join(1)  # what it printed last; its own children may keep the pipe open
        self._events.put(partial(self._ended, child, process))

    def _ended(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        child.process = None
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        code = process.returncode
        if self._signals:
            # One that was told to end before it could listen had nothing to put in order.
            if code not in (0, -signal.SIGTERM):
                self._tell(f"{child.name} (process {process.pid}) {_how(code)}.", True)
                self._code = self._code or _exit_code(code)
            self._end_those_that_stay()
            return
        if child.reloading:
            child.reloading = False
            self._start(child)
            return
        self._mend(child, process.pid, code)

    def _mend(self, child: Child, pid: int, code: int) -> None:
        """Do something about a child that has ended though nobody told it to."""
        quick = time.monotonic() - child.started < QUICK_SECONDS
        child.quick_ends = child.quick_ends + 1 if quick else 0
        what = f"{child.name} (process {pid}) {_how(code)}"
        if code > 0:
            self._quick_errors = self._quick_errors + 1 if quick else 1
            if child.on_error is OnError.AWAIT_CHANGE:
                child.awaits_change = True
                self._tell(f"{what}. It is started again when code changes.", True)
                return
            if child.on_error is OnError.GIVE_UP or self._quick_errors >= MOST_QUICK_ERRORS:
                self._give_up(f"{what}; starting it again does not help, so all end.", code)
                return
        pause = min(2.0 ** (child.quick_ends - 2), LONGEST_PAUSE) if child.quick_ends > 1 else 0.0
        when = f" in {pause:g} s" if pause else ""
        self._tell(f"{what}. It is started again{when}.", True)
        self._after(pause, partial(self._start, child))

    def _give_up(self, why: str, code: int) -> None:
        self._tell(why, True)
        self._code = code
        self._signals = 1
        self._end(self._running())
        self._end_those_that_stay()

    # Signals and changes

    def _climb(self, number: signal.Signals) -> None:
        self._signals += 1
        running = self._running()
        if self._signals == 1:
            told = f"{len(running)} process(es) are told to end"
            self._tell(f"{number.name}: {told}. A second signal skips the wait.", False)
            self._end(running)
            self._end_those_that_stay()
        elif self._signals == 2:
            self._tell(f"{number.name} again: passed on. A third one kills.", False)
            self._end(running)
        else:
            for child in running:
                self._tell(f"{child.name} is killed.", True)
                self._send(child, signal.SIGKILL)

    def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            if not child.stays_longest:
                self._send(child, signal.SIGTERM)

    def _end_those_that_stay(self) -> None:
        running = self._running()
        if all(child.stays_longest for child in running):
            for child in running:
                self._send(child, signal.SIGTERM)

    def _send(self, child: Child, number: signal.Signals) -> None:
        process = child.process
        if process is None:
            return
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)  # with those that it has started
            else:
                process.send_signal(number)

    def _changed(self, path: object) -> None:
        if self._signals:
            return
        told = False
        for child in self._children:
            if not child.reloads or child.reloading:
                continue
            if not told:
                self._tell(f"{path} has changed.", False)
                told = True
            if child.process is None:
                if child.awaits_change:
                    self._start(child)
                continue
            child.reloading = True
            self._send(child, signal.SIGTERM)
            self._after(RELOAD_SECONDS, partial(self._hurry, child, child.process))

    def _hurry(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        if child.process is process and child.reloading:
            self._send(child, signal.SIGTERM)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _exit_code(code: int) -> int:
    """Return a process's end as shells tell it."""
    return code if code >= 0 else 128 - code
