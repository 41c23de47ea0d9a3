"""Gates in Redis: who may pass now, and who waits in front of which, in order. ``gates.lua`` decides.

It knows of capacities, rates and holds, and not what makes a job have a gate.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.messages import Entry

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Gate:
    """What a job must pass: ``capacity`` jobs may be behind it at once, or ``starts`` pass it in ``window`` seconds.

    A hold of a place behind it lapses ``lease`` seconds after it was last renewed.
    """

    name: str
    capacity: int | None = None
    lease: float = 0.0
    starts: int = 0
    window: float = 0.0

    @property
    def terms(self) -> dict[str, int]:
        """What ``gates.lua`` calls its terms."""
        if self.capacity is not None:
            return {"capacity": self.capacity}
        return {"starts": self.starts, "window": round(self.window * 1000)}


class Place(StrEnum):
    """Which place behind a gate an applicant may use, where its job has one already."""

    any = "any"
    """Whoever holds it: the job may have to be taken over."""
    own = "own"
    """One that the same worker holds."""
    none = "none"
    """Not even that: the run that has it has not ended, whatever became of the job."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """An entry whose job must pass ``gates``; of those who wait, the lowest ``ticket`` is the first."""

    entry: Entry
    ticket: int
    gates: Sequence[Gate]
    place: Place = Place.own


class Admission(IntEnum):
    """What became of an applicant."""

    waits = 0
    """Its entry is acknowledged and deleted; it will be rung for when it may pass."""
    passed = 1
    passed_elsewhere = 2
    """Another worker holds its places: one that runs it, or has died over it. (Only with `Place.any`.)"""


class Gatekeeper:
    """Asks ``gates.lua``."""

    def __init__(self, client: Any, gates: Any, ask: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
        self._client = client
        self._gates = gates
        self._ask = ask

    async def admit(self, applicants: Sequence[Applicant], owner: str, group: str) -> list[Admission]:
        """Let those through who may pass all their gates, for ``owner``; let the others wait."""
        jobs = [
            {
                "job": applicant.entry.job_id,
                "stream": keys.stream(applicant.entry.queue),
                "entry": applicant.entry.msg_id,
                "ticket": applicant.ticket,
                "place": applicant.place,
                "member": keys.delayed_member(keys.base_queue(applicant.entry.queue), applicant.entry.job_id),
                "gates": [
                    {"name": gate.name, "terms": gate.terms, "lease": round(gate.lease * 1000)}
                    for gate in applicant.gates
                ],
            }
            for applicant in applicants
        ]
        return [Admission(answer) for answer in await self._do("admit", owner=owner, group=group, jobs=jobs)]

    async def leave(self, jobs: Mapping[str, Sequence[Gate]], owner: str) -> None:
        """Give up the places of jobs, by their ids, and call the next."""
        leavers = [{"job": job_id, "gates": [gate.name for gate in gates]} for job_id, gates in jobs.items()]
        await self._do("leave", owner=owner, jobs=leavers)

    async def take(self, jobs: Mapping[str, Sequence[Gate]], owner: str) -> None:
        """Hold the places of jobs that were a dead worker's."""
        await self._do("hold", owner=owner, force=True, jobs=holders(jobs))

    async def turn(self) -> float | None:
        """Call those who may pass by now; return in how many seconds to do so again, None: nobody waits for a time."""
        answer = await self._do("turn")
        return float(answer) / 1000 if answer != "" else None

    async def open(self, name: str) -> None:
        """Let all who wait at this gate go on to their queues."""
        while await self._do("open", gate=name):
            pass

    async def names(self) -> list[str]:
        """Return the gates with somebody in front."""
        return list(await self._ask(self._client.zrange(keys.GATES, 0, -1)))

    async def waiting(self) -> AsyncIterator[str]:
        """Give the members of those who wait in front of gates: ``<stream>:<job id>``."""
        seen: set[str] = set()
        for name in await self.names():
            for line in await self._ask(self._client.zrange(keys.gate(name, "lines"), 0, -1)):
                if line not in seen:
                    seen.add(line)
                    async for member in self._members(line):
                        yield member

    async def lengths(self, most: int) -> dict[str, int]:
        """Return how many jobs wait in front of gates, by their queues; only the first ``most`` gates are looked at.

        Those who wait for the same gates are counted together, with the queue of their first.
        """
        names = await self._ask(self._client.zrange(keys.GATES, 0, most - 1))
        found = await self._all("zrange", [(keys.gate(name, "lines"), 0, -1) for name in names])
        lines = [keys.GATE_LINE_PREFIX + line for line in {line for lines in found for line in lines}]
        firsts = await self._all("zrange", [(line, 0, 0) for line in lines])
        counts = await self._all("zcard", [(line,) for line in lines])
        by_queue: dict[str, int] = {}
        for first, count in zip(firsts, counts, strict=True):
            if first:
                queue = keys.queue_of(first[0].removesuffix(":" + keys.job_of(first[0])))
                by_queue[queue] = by_queue.get(queue, 0) + int(count)
        return by_queue

    async def _all(self, command: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not calls:
            return []
        pipe = self._client.pipeline(transaction=False)
        for arguments in calls:
            getattr(pipe, command)(*arguments)
        return list(await self._ask(pipe.execute()))

    async def _members(self, line: str) -> AsyncIterator[str]:
        cursor: Any = 0
        while True:
            cursor, pairs = await self._ask(self._client.zscan(keys.GATE_LINE_PREFIX + line, cursor, count=PAGE))
            for member, _ in pairs:
                yield member
            if not int(cursor):
                return

    async def _do(self, action: str, **what: Any) -> Any:
        return await self._ask(self._gates(args=[action, json.dumps(what)]))


def holders(jobs: Mapping[str, Iterable[Gate]]) -> list[dict[str, Any]]:
    """Return the holds of jobs as ``gates.lua`` takes them: gates with a rate are passed, and not held."""
    return [
        {
            "job": job_id,
            "gates": [
                {"name": gate.name, "capacity": gate.capacity, "lease": round(gate.lease * 1000)}
                for gate in gates
                if gate.capacity is not None
            ],
        }
        for job_id, gates in jobs.items()
    ]
