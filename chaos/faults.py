"""Inflicts the planned faults at their times, and keeps the log of what was done to whom, and when."""

from __future__ import annotations

import heapq
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from chaos.fleet import Fleet, Life
from chaos.ledger import PRODUCERS
from chaos.plan import Fault, Plan
from chaos.producer import gap_file
from chaos.stage import DATABASE, Stage

PATIENCE = 20.0
"""Seconds that a fault waits for its target to be there; then it is left out."""
IN_THE_MIDDLE = 3.0
"""Seconds to wait for the moment that a producer is in the middle of enqueueing."""


@dataclass(slots=True)
class Event:
    """A fault as it really happened; times are seconds since the epoch."""

    fault: Fault
    began: float
    ended: float
    pid: int | None = None
    what: str = ""

    @property
    def kind(self) -> str:
        return self.fault.kind


class TargetMissingError(Exception):
    """The target of a fault is not there now."""


class Faults:
    """The schedule, and its log. A fault is a generator: it yields seconds to wait, and returns what it did."""

    def __init__(self, plan: Plan, stage: Stage, fleet: Fleet, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._fleet = fleet
        self._say = say
        self.events: list[Event] = []
        self.left_out: list[Fault] = []
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        for fault in plan.faults:
            self._at(fault.at, self._beginning(fault))

    @property
    def pending(self) -> bool:
        """Whether faults are to come, or to end."""
        return bool(self._due)

    def act(self, seconds: float) -> None:
        """Do what is due ``seconds`` after the start."""
        while self._due and self._due[0][0] <= seconds:
            heapq.heappop(self._due)[2](seconds)

    def _at(self, seconds: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (seconds, next(self._order), action))

    def _beginning(self, fault: Fault) -> Callable[[float], None]:
        def begin(seconds: float) -> None:
            event = Event(fault, time.time(), 0.0)
            self._go_on(event, getattr(self, f"_{fault.kind.replace('-', '_')}")(event), seconds)

        return begin

    def _go_on(self, event: Event, steps: Iterator[float], seconds: float) -> None:
        fault = event.fault
        try:
            pause = next(steps, None)
        except (TargetMissingError, redis.RedisError) as reason:
            if seconds < fault.at + PATIENCE:
                self._at(seconds + 0.1, self._beginning(fault))
            else:
                self.left_out.append(fault)
                self._say(f"{fault.kind} left out: {reason}")
            return
        if pause is not None:
            self._at(seconds + pause, lambda later: self._go_on(event, steps, later))
            return
        event.ended = time.time()
        self.events.append(event)
        self._say(f"{event.kind} {event.what} ({event.ended - event.began:.1f} s)")

    # Whom

    def _life(self, event: Event, role: str) -> Life:
        slot = f"{role}-{event.fault.target}"
        life = self._fleet.now.get(slot)
        if life is None or not life.ready():
            raise TargetMissingError(f"{slot} is not at work")
        return self._aimed(event, life)

    def _aimed(self, event: Event, life: Life) -> Life:
        event.pid, event.what = life.pid, f"{life.slot}, pid {life.pid}"
        return life

    def _leader(self, event: Event) -> Life:
        with self._stage.redis.client() as client:
            lines = [json.loads(line) for line in client.hgetall("rearq:worker").values()]
        leaders = {line["pid"] for line in lines if line.get("leads")}
        for life in self._fleet.now.values():
            if life.pid in leaders and life.ready():
                return self._aimed(event, life)
        raise TargetMissingError("no timer leads")

    # What

    def _worker_kill(self, event: Event) -> Iterator[float]:
        self._fleet.kill(self._life(event, "worker"), event.kind)
        yield from ()

    def _worker_term(self, event: Event) -> Iterator[float]:
        life = self._life(event, "worker")
        self._fleet.terminate(life)
        while life.ended is None:
            yield 0.05

    def _worker_stop(self, event: Event) -> Iterator[float]:
        life = self._life(event, "worker")
        self._fleet.freeze(life)
        yield event.fault.seconds
        self._fleet.thaw(life)

    def _timer_kill(self, event: Event) -> Iterator[float]:
        self._fleet.kill(self._leader(event), event.kind)
        yield from ()

    def _producer_kill(self, event: Event) -> Iterator[float]:
        life = self._life(event, "producer")
        ledger = self._stage.folder / PRODUCERS
        deadline = time.monotonic() + IN_THE_MIDDLE
        while not (in_the_middle := _asks(ledger, event.fault.target)) and time.monotonic() < deadline:
            time.sleep(0.0005)
        self._fleet.kill(life, event.kind)
        event.what += ", in the middle of a call" if in_the_middle else ", between two calls"
        yield from ()

    def _producer_gap(self, event: Event) -> Iterator[float]:
        life = self._life(event, "producer")
        file = gap_file(self._stage.folder, event.fault.target)
        file.touch()
        while life.ended is None:
            yield 0.02
        if life.killed is None:
            raise TargetMissingError("the producer was done before")
        event.what += ", between storing a job and ringing for it"
        file.unlink(missing_ok=True)

    def _redis_term(self, event: Event, *, kill: bool = False) -> Iterator[float]:
        server = self._stage.redis
        if not server.running:
            raise TargetMissingError("Redis is down")
        (server.kill if kill else server.stop)()
        yield event.fault.seconds
        server.start()

    def _redis_kill(self, event: Event) -> Iterator[float]:
        return self._redis_term(event, kill=True)

    def _redis_flush(self, event: Event) -> Iterator[float]:
        with self._stage.redis.client() as client:
            keys = client.dbsize()
            client.flushall()
        event.what = f"{keys} keys"
        yield from ()

    def _postgres_stop(self, event: Event, *, kill: bool = False) -> Iterator[float]:
        server = self._stage.postgres
        if not server.running:
            raise TargetMissingError("PostgreSQL is down")
        (server.kill if kill else server.stop)()
        yield event.fault.seconds
        server.start()

    def _postgres_kill(self, event: Event) -> Iterator[float]:
        return self._postgres_stop(event, kill=True)

    def _postgres_cut(self, event: Event) -> Iterator[float]:
        if not self._stage.postgres.running:
            raise TargetMissingError("PostgreSQL is down")
        event.what = f"{self._stage.postgres.terminate_backends(DATABASE)} connections"
        yield from ()


def _asks(ledger: Path, producer: int) -> bool:
    """Tell whether a producer has asked for a step and not been told of its jobs."""
    with ledger.open("rb") as file:
        file.seek(max(0, ledger.stat().st_size - 4_000))
        lines = [line.split() for line in file.read().decode().splitlines()[1:]]
    mine = [line for line in lines if len(line) > 3 and line[2] == str(producer)]
    return bool(mine) and mine[-1][1] == "asks"
