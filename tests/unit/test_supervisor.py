"""What keeps processes running, with plain ones: ends, pauses, signals, order."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from tests.processes import Process, Processes
from tests.waiting import wait_until

SUPERVISOR = """
import sys
from django_cfg_tasks.worker.supervisor import Child, OnError, Supervisor

def child(name, code, **options):
    return Child(name, [sys.executable, "-c", "import os, signal, sys, time\\n" + code], **options)

def tell(text, alarming):
    print(text, flush=True)

def show(child, line):
    print(f"{child.name}: {line.decode().rstrip()}", flush=True)

READY = "print('ready', os.getpid(), flush=True)\\n"
WAIT = READY + "signal.pause()"
"""

Supervise = Callable[[str], Process]


@pytest.fixture
def supervise(processes: Processes) -> Supervise:
    def start(children: str) -> Process:
        code = f"{SUPERVISOR}\nsys.exit(Supervisor([{children}], tell=tell, show=show).run())"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        return processes.start(sys.executable, "-c", code, name="supervisor", env=env)

    return start


def test_what_dies_comes_back(supervise: Supervise) -> None:
    parent = supervise('child("a", WAIT)')
    first = parent.wait_for_log(r"^a: ready (\d+)$")[1]
    os.kill(int(first), signal.SIGKILL)
    parent.wait_for_log(rf"^a \(process {first}\) was killed by SIGKILL\. It is started again\.$")
    second = parent.wait_for_log(r"^a: ready (\d+)$", count=2)[1]
    os.kill(int(second), signal.SIGKILL)
    # Twice within seconds: not at once any more.
    parent.wait_for_log(rf"^a \(process {second}\) was killed by SIGKILL\. It is started again in 1 s\.$")
    parent.wait_for_log(r"^a: ready (\d+)$", count=3)
    parent.sigterm()
    assert parent.wait() == 0


def test_what_fails_at_its_start_is_given_up_with_its_exit_code(supervise: Supervise) -> None:
    parent = supervise('child("a", WAIT), child("b", "sys.exit(7)")')
    assert parent.wait() == 7
    assert len(re.findall(r"^b \(process \d+\) ended with exit code 7", parent.output, re.MULTILINE)) == 3
    assert "starting it again does not help, so all end" in parent.output


def test_a_third_signal_kills(supervise: Supervise) -> None:
    deaf = "signal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True))\n"
    parent = supervise(f'child("a", """{deaf}""" + READY + "while True: signal.pause()")')
    parent.wait_for_log("^a: ready")
    parent.sigterm()
    parent.wait_for_log("^a: heard")
    parent.sigterm()
    parent.wait_for_log("^a: heard", count=2)
    parent.sigterm()
    assert parent.wait() == 128 + signal.SIGKILL
    assert re.search(r"^a \(process \d+\) was killed by SIGKILL\.$", parent.output, re.MULTILINE)


def test_one_that_all_need_ends_last(supervise: Supervise) -> None:
    slow = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print('ends', flush=True), sys.exit()))\n"
    parent = supervise(
        f'child("base", """{slow}""" + WAIT, stays_longest=True), child("a", """{slow}""" + WAIT), child("b", WAIT)'
    )
    parent.wait_for_log("ready", count=3)
    parent.send(signal.SIGINT)
    assert parent.wait() == 0
    assert re.findall(r"^(\w+): ends$", parent.output, re.MULTILINE) == ["a", "base"]


def test_its_own_end_is_seen_by_the_children(supervise: Supervise) -> None:
    parent = supervise('child("a", READY + "sys.stdin.read()")')
    child = int(parent.wait_for_log(r"^a: ready (\d+)$")[1])
    parent.send(signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL
    wait_until(lambda: gone(child), "the child ends")


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True
