"""What a run will do: which jobs are enqueued when and how, and which faults come when. It depends on the seed alone.

Pure: no clock, no files. Producers draw the same plan again in their own processes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHARES = {"quick": 38.0, "nap": 20.0, "thread": 12.0, "late": 14.0, "flaky": 6.0, "failing": 4.0, "blocking": 1.5}
"""Kinds of jobs, and how many of a hundred are of each; `tasks.py` has a task of each name. Poison is counted out."""
POISON = "poison"
ALONE = frozenset({"flaky", "failing", "blocking", POISON})
"""Kinds that are not enqueued by the dozen."""
MUST_FAIL = frozenset({"failing", POISON})

LEASE = 2.0
"""Seconds: the shortest that the configuration allows."""
RETRIES = 2
"""How often the jobs that raise are retried."""

WAYS = {"one": 50, "many": 8, "transaction": 22, "async": 20}
"""How a step enqueues: ``enqueue``, ``enqueue_many``, in ``transaction.atomic()``, ``delay``; and its share."""
ROLLED_BACK = "rolled-back"

FAULTS = (
    "worker-kill", "worker-term", "worker-stop", "timer-kill", "producer-kill", "producer-gap",
    "redis-term", "redis-kill", "redis-flush", "postgres-stop", "postgres-kill", "postgres-cut",
)  # fmt: skip
"""Kinds of faults; `faults.py` has a method for each."""
EARLY = ("producer-kill", "producer-gap")
"""They need producers that still have something to enqueue, and leave jobs that nobody rang for."""
SPACING = 5.0
"""Seconds from one fault to the next, at most; a short run has less."""
SHORT = 120.0
"""Seconds; a run that is shorter has the faults of producers early, and once."""


@dataclass(frozen=True)
class Job:
    """One job: its id (that of a `many` step is not known before), and its task's argument or its countdown."""

    job_id: str
    kind: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Step:
    """One call of a producer, ``at`` seconds after the start: all its jobs are accepted, or none is."""

    number: int
    at: float
    way: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Fault:
    """One fault: what, when (seconds after the start), to which of its kind, and for how many seconds if it lasts."""

    at: float
    kind: str
    target: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All that is decided beforehand."""

    seed: int
    seconds: float
    steps: tuple[tuple[Step, ...], ...]
    faults: tuple[Fault, ...]

    @property
    def jobs(self) -> int:
        """How many jobs are to be accepted."""
        return sum(len(step.jobs) for steps in self.steps for step in steps if step.way != ROLLED_BACK)


def draw(seed: int, *, jobs: int, seconds: float, producers: int, workers: int, kinds: Sequence[str] = FAULTS) -> Plan:
    """Return the plan of a seed: ``jobs`` jobs over ``seconds``, and faults of ``kinds``, each kind at least once."""
    chance = random.Random(seed)  # noqa: S311  (a plan, no secret)
    dealt = _kinds(chance, jobs)
    steps = tuple(tuple(_steps(chance, producer, dealt[producer::producers], seconds)) for producer in range(producers))
    # Of their own: the jobs stay the same whatever faults are chosen.
    chance = random.Random(seed + 1)  # noqa: S311
    return Plan(seed, seconds, steps, tuple(_faults(chance, kinds, seconds, producers, workers)))


def _kinds(chance: random.Random, jobs: int) -> list[str]:
    poison = max(2, jobs // 1000) if jobs >= 100 else 0
    kinds = chance.choices(list(SHARES), list(SHARES.values()), k=jobs - poison) + [POISON] * poison
    chance.shuffle(kinds)
    return kinds


def _steps(chance: random.Random, producer: int, kinds: Sequence[str], seconds: float) -> Iterator[Step]:
    left, calls, count = deque(kinds), [], 0
    while left:
        way = chance.choices(list(WAYS), list(WAYS.values()))[0]
        if way == "many" and left[0] not in ALONE:
            chosen = _alike(left, chance.randint(10, 40))
        else:
            way = "one" if way == "many" else way
            chosen = [left.popleft() for _ in range(min(len(left), 1 if way == "one" else chance.randint(1, 3)))]
        calls.append((way, [_job(chance, producer, count + n, kind) for n, kind in enumerate(chosen)]))
        count += len(chosen)
        if chance.random() < 0.05 or not left:
            calls.append((ROLLED_BACK, [_job(chance, producer, count, "quick")]))
            count += 1
    chance.shuffle(calls)
    times = sorted(chance.uniform(0, seconds) for _ in calls)
    for number, ((way, jobs), at) in enumerate(zip(calls, times, strict=True)):
        yield Step(number, round(at, 3), way, tuple(jobs))


def _alike(left: deque[str], most: int) -> list[str]:
    """Take up to ``most`` of the first one's kind: one call of ``enqueue_many`` is for one task."""
    kind, found, others = left[0], 0, []
    while left and found < most:
        if (next_kind := left.popleft()) == kind:
            found += 1
        else:
            others.append(next_kind)
    left.extendleft(reversed(others))
    return [kind] * found


def _job(chance: random.Random, producer: int, number: int, kind: str) -> Job:
    ranges = {"nap": (0.05, 1.0), "thread": (0.05, 1.0), "blocking": (1.5, 3.0), "late": (0.5, 10.0)}
    seconds = round(chance.uniform(*ranges[kind]), 2) if kind in ranges else 0.0
    return Job(f"{kind}-{producer}-{number:05d}", kind, seconds)


def _faults(
    chance: random.Random, kinds: Sequence[str], seconds: float, producers: int, workers: int
) -> Iterator[Fault]:
    if not kinds:
        return
    others = [kind for kind in kinds if kind not in EARLY]
    order = list(others)
    more = max(2 if len(kinds) > 1 else 0, int(seconds / SPACING) - len(kinds))
    # A bell that is lost late keeps a short run waiting for the next sweep.
    order += chance.choices((order or list(kinds)) if seconds < SHORT else list(kinds), k=more)
    chance.shuffle(order)
    for kind in kinds:
        if kind in EARLY:
            order.insert(chance.randrange(len(order) // 2 + 1), kind)
    spacing = seconds / len(order)
    for number, kind in enumerate(order):
        at = 1.5 + spacing * (number + chance.uniform(0, 0.5))
        # Near the end producers may have nothing left to enqueue.
        late = kind in EARLY and at > 0.95 * seconds and others
        chosen = chance.choice(others) if late else kind
        yield Fault(round(at, 2), chosen, *_target(chance, chosen, producers, workers))


def _target(chance: random.Random, kind: str, producers: int, workers: int) -> tuple[int, float]:
    service, _, how = kind.partition("-")
    target = chance.randrange({"worker": workers, "producer": producers}.get(service, 1))
    if kind == "worker-stop":
        return target, round(chance.uniform(1.5, 2.5) * LEASE, 2)
    return target, round(chance.uniform(0.2, 2.0), 2) if how in ("term", "kill", "stop") else 0.0
