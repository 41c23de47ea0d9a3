"""Tells whether jobs get done: Redis and SQL answer, a timer leads, and each queue has a worker that consumes it.

It only asks and never waits long; what is asked of it later (REST, metrics) starts from `HealthReport`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from django_cfg_tasks.client import ReArqClient, get_rearq_client
from django_cfg_tasks.exceptions import ConfigurationError, InvalidOptionError, TasksError
from django_cfg_tasks.options import check_queue
from django_cfg_tasks.registry import tasks

if TYPE_CHECKING:  # redis-py is for those who ask
    from django_cfg_tasks.broker import Broker, Peer
    from django_cfg_tasks.store import Store

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds after which Redis or SQL count as not answering. Both are asked at the same time."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to work. ``detail`` says how it is, and if it is not well, what to do."""

    name: str
    """``redis``, ``sql``, ``timer`` or ``queue:<name>``."""
    healthy: bool
    detail: str
    ms: float | None = None
    """How long the answer took, where something was asked."""


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """A worker whose lease stands. One that is alive and does not consume is not healthy."""

    name: str
    healthy: bool
    state: str
    queues: tuple[str, ...]
    running: int
    slots: int


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks, the workers that are alive, and how many jobs wait or run in each queue."""

    checks: tuple[Check, ...]
    workers: tuple[WorkerHealth, ...] = ()
    queues: dict[str, int] | None = None
    """None where Redis could not be asked."""

    @property
    def healthy(self) -> bool:
        """Whether every check is well."""
        return all(check.healthy for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return {"healthy": self.healthy, **asdict(self)}


def check_health(queues: Iterable[str] = ()) -> HealthReport:
    """Check all queues that declared tasks use, and ``queues`` besides; takes some seconds at most. For sync code.

    Whatever is wrong is in the report; InvalidOptionError only for a name that no queue can have, and
    ConfigurationError where the configuration can't be used.
    """
    client = get_rearq_client()
    return client.call(_check(client, _wanted(queues)), instead="await acheck_health()")


async def acheck_health(queues: Iterable[str] = ()) -> HealthReport:
    """`check_health`, for async code, on any event loop."""
    client = get_rearq_client()
    return await client.home.run(_check(client, _wanted(queues)))


def _wanted(further: Iterable[str]) -> list[str]:
    asked = list(further)
    for queue in asked:
        check_queue(queue, InvalidOptionError)
    return sorted({task.options.queue for task in tasks} | set(asked))


@dataclass(frozen=True, slots=True)
class _Sight:
    """What Redis says."""

    version: str
    master: str | None
    peers: list[Peer]
    timer_leads: bool
    depths: dict[str, int]


async def _check(client: ReArqClient, queues: Sequence[str]) -> HealthReport:
    asking_redis = _ask("redis", lambda: _look(client.broker, queues), _well)
    asking_sql = _ask("sql", lambda: _answers(client.store), lambda name: f"{name} answers and has its tables.")
    (redis, sight), (sql, _) = await asyncio.gather(asking_redis, asking_sql)
    if sight is None:
        unknown = "Unknown, for Redis can't be asked."
        blind = [Check(name, False, unknown) for name in ("timer", *(f"queue:{queue}" for queue in queues))]
        return HealthReport((redis, sql, *blind))
    return HealthReport(
        (redis, sql, _timer(sight), *(_queue(queue, sight) for queue in queues)),
        tuple(_worker(peer) for peer in sight.peers if peer.alive and not _is_timer(peer)),
        sight.depths,
    )


def _well(seen: _Sight) -> str:
    return f"Redis {seen.version} answers" + (f"; the master is {seen.master}." if seen.master else ".")


async def _ask(name: str, ask: Callable[[], Awaitable[T]], well: Callable[[T], str]) -> tuple[Check, T | None]:
    """Await an answer for a while. A question that hangs is given up without waiting for that either."""
    started = time.perf_counter()
    task = asyncio.ensure_future(_asked(ask))
    done, _ = await asyncio.wait([task], timeout=PATIENCE)
    ms = round((time.perf_counter() - started) * 1000, 1)
    if not done:
        task.cancel()
        return Check(name, False, f"No answer in {PATIENCE:g} s. Is it frozen, overloaded or cut off?", ms), None
    answer = task.result()
    if isinstance(answer, Exception):
        # Our own errors say where, without passwords, and what to do.
        detail = str(answer) if isinstance(answer, TasksError) else f"{type(answer).__name__}: {answer}"
        return Check(name, False, detail, ms), None
    return Check(name, True, well(answer), ms), answer


async def _asked(ask: Callable[[], Awaitable[T]]) -> T | Exception:
    try:
        return await ask()
    except Exception as error:
        return error


async def _look(broker: Broker, queues: Sequence[str]) -> _Sight:
    from django_cfg_tasks.broker import keys

    return _Sight(
        version=await broker.ping(),
        master=broker.master,
        peers=await broker.workers(),
        timer_leads=await broker.exists(keys.TIMER_LEASE),
        depths=await broker.depths(queues),
    )


async def _answers(store: Store) -> str:
    if not await store.answers():
        way_out = (
            "Run: python manage.py migrate tasks" if store.target.in_django else "A worker makes them at its start."
        )
        raise ConfigurationError(f"{store.target.name} lacks the tables that hold jobs, or some columns. {way_out}")
    return store.target.name


def _timer(sight: _Sight) -> Check:
    alive = [peer for peer in sight.peers if peer.alive and _is_timer(peer)]
    ticking = [peer for peer in alive if peer.line.get("ticking")]
    leader = next((peer for peer in ticking if peer.line.get("leads")), None)
    if leader is not None:
        return Check("timer", True, f"{leader.name} leads; {len(alive)} alive.")
    if not alive:
        return Check(
            "timer", False,
            "None is alive: cron tasks, delayed jobs and retries wait. Start one: rearq main:rearq timer, "
            "or a worker with --with-timer.",
        )  # fmt: skip
    if not ticking:
        return Check("timer", False, f"Alive, but not doing its rounds: {_names(alive)}. Its log says why.")
    if sight.timer_leads:
        # The leader has not said so yet, or has just died and another follows when its lease lapses.
        return Check("timer", True, f"The lead is changing hands; {len(ticking)} alive.")
    return Check("timer", False, f"None leads, of {_names(ticking)}. If this lasts, their logs say why.")


def _queue(queue: str, sight: _Sight) -> Check:
    name = f"queue:{queue}"
    serving = [peer for peer in sight.peers if not _is_timer(peer) and queue in _queues(peer)]
    alive = [peer for peer in serving if peer.alive]
    consuming = [peer for peer in alive if peer.line.get("consuming")]
    idle = [f"{peer.name} ({_state(peer)})" for peer in alive if peer not in consuming]
    dead = [peer.name for peer in serving if not peer.alive]
    parts = [f"{sight.depths[queue]} jobs wait or run."]
    if consuming:
        parts.insert(0, f"{len(consuming)} worker(s) consume it.")
    elif not alive:
        parts.insert(0, f"No worker is alive. Start one: rearq main:rearq worker --queue {queue}.")
    if idle:
        parts.append(f"Alive, but not reading: {', '.join(idle)}{'.' if consuming else '; their logs say why.'}")
    if dead and not consuming:
        parts.append(f"Last seen: {', '.join(dead)}.")
    return Check(name, bool(consuming), " ".join(parts))


def _worker(peer: Peer) -> WorkerHealth:
    line = peer.line
    return WorkerHealth(
        name=peer.name,
        healthy=bool(line.get("consuming")),
        state=_state(peer),
        queues=tuple(_queues(peer)),
        running=int(line.get("running", 0)),
        slots=int(line.get("slots", 0)),
    )


def _is_timer(peer: Peer) -> bool:
    return bool(peer.line.get("is_timer"))


def _queues(peer: Peer) -> list[str]:
    return [str(queue) for queue in peer.line.get("queues") or ()]


def _state(peer: Peer) -> str:
    return str(peer.line.get("state", "unknown"))


def _names(peers: Sequence[Peer]) -> str:
    return ", ".join(peer.name for peer in peers)
