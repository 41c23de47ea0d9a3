"""The processes of a run, and a supervisor that starts them again, as systemd or Kubernetes would.

It knows of each process how it lived and what was done to it: that is what explains a second run of a job.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos.ledger import ran_poison
from chaos.plan import Plan
from chaos.producer import START
from chaos.stage import HOST, HOSTS
from tests.processes import Process
from tests.project import TaskProject
from tests.servers import tail

STOP_SECONDS = 30
READY = {"worker": " consumes ", "timer": " started.", "producer": "goes on after"}


@dataclass(slots=True)
class Life:
    """One process, from its start to its end, and what was done to it. Times are seconds since the epoch."""

    slot: str
    process: Process
    began: float
    ended: float | None = None
    killed: str | None = None
    """What killed it: a kind of fault, or ``poison``."""
    asked: float | None = None
    """When it was told to stop (SIGTERM)."""
    stops: list[tuple[float, float]] = field(default_factory=list)
    """From when to when it was frozen (SIGSTOP)."""
    frozen: float | None = None
    """Since when it is frozen."""
    is_ready: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def role(self) -> str:
        return self.slot.partition("-")[0]

    def ready(self) -> bool:
        """Tell whether it is at work: it came up, and nothing is being done to it."""
        if not self.is_ready:
            self.is_ready = READY[self.role] in self.process.output
        return self.is_ready and self.ended is None and self.process.running and not (self.frozen or self.asked)


class Fleet:
    """Workers, timers and producers. A slot is a place that one process after another has."""

    def __init__(self, project: TaskProject, ledger: Path, plan: Plan, workers: int, timers: int) -> None:
        self._project = project
        self._ledger = ledger
        self._plan = plan
        self._workers = workers
        self.lives: list[Life] = []
        self.faults: list[str] = []
        """What went wrong with processes by itself."""
        self.now: dict[str, Life] = {}
        self._slots = [f"worker-{n}" for n in range(workers)] + [f"timer-{n}" for n in range(timers)]
        self._stopping = False

    def start(self) -> None:
        """Start workers and timers, and return when all are up."""
        for slot in self._slots:
            self._start(slot)
        for life in list(self.now.values()):
            life.process.wait_for_log(READY[life.role], timeout=60)

    def start_producers(self) -> None:
        """Start the producers; the plan's time runs from now on (``CHAOS_START``)."""
        self._started = time.time()
        for number in range(len(self._plan.steps)):
            self._start(f"producer-{number}")

    @property
    def producing(self) -> bool:
        """Whether a producer has still something to enqueue."""
        return any(life.role == "producer" for life in self.now.values())

    def supervise(self) -> None:
        """Look after all: what died is started again."""
        for slot, life in list(self.now.items()):
            code = life.process.returncode
            if code is None:
                continue
            life.ended = life.ended or time.time()
            self._judge(life, code)
            del self.now[slot]
            if not self._stopping and not (life.role == "producer" and code == 0):
                self._start(slot)

    def kill(self, life: Life, why: str) -> None:
        """SIGKILL."""
        life.killed, life.ended = why, time.time()
        life.process.sigkill()

    def terminate(self, life: Life) -> None:
        """SIGTERM."""
        life.asked = time.time()
        life.process.sigterm()

    def freeze(self, life: Life) -> None:
        """SIGSTOP."""
        life.frozen = time.time()
        life.process.send(signal.SIGSTOP)

    def thaw(self, life: Life) -> None:
        """SIGCONT."""
        if life.frozen is not None:
            life.process.send(signal.SIGCONT)
            life.stops.append((life.frozen, time.time()))
            life.frozen = None

    def stop(self) -> None:
        """SIGTERM to all, and wait for their ends."""
        self._stopping = True
        for life in self.now.values():
            self.thaw(life)
            self.terminate(life)
        deadline = time.monotonic() + STOP_SECONDS
        while self.now and time.monotonic() < deadline:
            self.supervise()
            time.sleep(0.02)
        for life in self.now.values():
            self._blame(life, f"did not end within {STOP_SECONDS} s of SIGTERM")

    def _start(self, slot: str) -> None:
        role, _, number = slot.partition("-")
        env = {HOST: HOSTS[int(number) % len(HOSTS)]}
        if role == "producer":
            plan = self._plan
            words = (number, plan.seed, plan.jobs, plan.seconds, len(plan.steps), self._workers)
            command = [sys.executable, "-m", "chaos.producer", *map(str, words)]
            process = self._project.start(*command, name=slot, env=env | {START: repr(self._started)})
        else:
            process = self._project.rearq(role, name=slot, env=env)
        life = Life(slot, process, time.time())
        self.now[slot] = life
        self.lives.append(life)

    def _judge(self, life: Life, code: int) -> None:
        if code == -signal.SIGKILL and life.killed is None:
            if life.role == "producer":
                life.killed = "producer-gap"
            elif ran_poison(self._ledger, life.pid):
                life.killed = "poison"
            else:
                self._blame(life, "was killed, and by nobody here")
        elif life.killed is None and (code != 0 or (life.role != "producer" and life.asked is None)):
            self._blame(life, f"ended by itself with exit code {code}" if life.asked is None else f"exit code {code}")

    def _blame(self, life: Life, what: str) -> None:
        self.faults.append(f"{life.slot} (pid {life.pid}) {what}; its log ends:\n{tail(life.process.log, 15)}")
