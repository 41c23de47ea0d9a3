"""How things stand now: workers, queues, tasks and schedules, put together from Redis, SQL and this process's tasks.

It only asks. What is declared is what this process knows, which in a project is what its workers know. Whether things
are well is `health`'s to say; BrokerUnavailableError and StoreUnavailableError come from whoever can't be asked.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from django_cfg_tasks import conf
from django_cfg_tasks.client import ReArqClient, get_rearq_client
from django_cfg_tasks.cron import Cron
from django_cfg_tasks.exceptions import BrokerUnavailableError, TasksError
from django_cfg_tasks.health import PATIENCE, HealthReport, acheck_health
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task

if TYPE_CHECKING:  # the admin imports this in every process of a project, and redis-py is for those who ask
    from django_cfg_tasks.broker import Backlog, Peer
    from django_cfg_tasks.store import OpenCount, TaskState

K = TypeVar("K")
T = TypeVar("T")

MOST_GATES = 5000
"""In front of how many gates who waits is counted."""

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker or timer process, by what it last said of itself."""

    name: str
    kind: str
    """``worker`` or ``timer``."""
    alive: bool
    """Whether its lease stands."""
    state: str
    """A worker's own word (consuming, busy, waiting, blocked, stopping), a timer's ``leads`` or ``stands by``, else
    ``dead``."""
    host: str
    pid: int | None
    queues: tuple[str, ...]
    running: int
    slots: int
    done: int
    """How many jobs it has run."""
    heartbeat_age: float | None
    """Seconds since it last said so, by the clocks of both hosts."""
    version: str
    python: str


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits in a queue and who takes from it."""

    name: str
    ready: int
    """Jobs that a free worker would start now."""
    oldest_ready_seconds: float | None
    """For how long the oldest of them has been ready; None if there is none."""
    delivered: int
    """Jobs that workers have taken: they run, or are about to."""
    queued: int
    """Jobs that SQL knows as queued: those that are ready, and those in front of gates."""
    deferred: int
    running: int
    waiting_at_gates: int
    """Jobs that wait for a lock, a limit, or for their task to be enabled."""
    workers: int
    """Workers that consume it."""

    @property
    def is_used(self) -> bool:
        """Whether there is any job of it that has not ended."""
        return any((self.ready, self.delivered, self.queued, self.deferred, self.running, self.waiting_at_gates))


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A declared task, and how many of its jobs are not final."""

    name: str
    path: str
    queue: str
    is_async: bool
    signature: str
    options: dict[str, Any]
    cron: str | None
    enabled: bool
    queued: int
    deferred: int
    running: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last job that a timer enqueued for a due time."""

    job_id: str
    status: str | None
    """None where the job was deleted since."""
    success: bool | None
    enqueue_time: dt.datetime | None
    start_time: dt.datetime | None
    finish_time: dt.datetime | None
    error_class: str | None


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """When a cron task runs by itself."""

    task: str
    expression: str
    description: str
    """The expression in words."""
    timezone: str
    catch_up: str
    overlap: str
    misfire_grace: float
    paused: bool
    enabled: bool
    next_run: dt.datetime | None
    """None while it is paused or disabled."""
    last_run: LastRun | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything at once. None is what Redis or SQL could not tell; ``health`` says why."""

    health: HealthReport
    workers: list[WorkerState] | None
    queues: list[QueueState] | None
    tasks: list[TaskInfo] | None
    schedules: list[ScheduleInfo] | None
    open: dict[JobStatus, int] | None
    """How many jobs are not final, by status."""


def ask(question: Callable[[ReArqClient], Coroutine[Any, Any, T]]) -> T:
    """Run one of the questions below from sync code, and wait some seconds at most for its answer.

    BrokerUnavailableError if none came, and what the question raises.
    """
    client = get_rearq_client()
    return client.call(_soon(question(client)), instead="await the question itself")


async def _soon(question: Coroutine[Any, Any, T]) -> T:
    # A question that hangs is given up without waiting for that either.
    asked = asyncio.ensure_future(question)
    done, _ = await asyncio.wait([asked], timeout=PATIENCE)
    if not done:
        asked.cancel()
        raise BrokerUnavailableError(f"Redis or SQL did not answer in {PATIENCE:g} s.")
    return asked.result()


def ask_all() -> Standing:
    """Ask everything below at once, from sync code; it takes some seconds at most, however things stand.

    ConfigurationError where the configuration can't be used.
    """
    client = get_rearq_client()
    return client.call(standing(client), instead="await standing(client)")


async def standing(client: ReArqClient) -> Standing:
    """Answer all questions, each of what they have in common being asked once."""
    store = client.store
    peers, counts, states = _once(client.broker.workers), _once(store.open_counts), _once(store.task_states)
    health, workers, queues, tasks, schedules, numbers = await asyncio.gather(
        acheck_health(),
        _if_known(_workers(peers)),
        _if_known(_queues_now(client, peers, counts)),
        _if_known(_tasks(states, counts)),
        _if_known(_schedules(client, states)),
        _if_known(_numbers(counts)),
    )
    return Standing(health, workers, queues, tasks, schedules, numbers)


def _once(question: Callable[[], Coroutine[Any, Any, T]]) -> Callable[[], Awaitable[T]]:
    """Return a question that several may ask, and that is asked once."""
    asked: list[asyncio.Task[T]] = []

    def answer() -> Awaitable[T]:
        if not asked:
            asked.append(_heard(question()))
        return asked[0]

    return answer


def _heard(asking: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    # asyncio complains of errors that nobody awaited, as with questions that were given up.
    task = asyncio.ensure_future(asking)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


async def _if_known(answer: Coroutine[Any, Any, T]) -> T | None:
    # A question that hangs is given up without waiting for that either.
    asked = _heard(answer)
    done, _ = await asyncio.wait([asked], timeout=PATIENCE)
    if not done:
        asked.cancel()
        return None
    try:
        return asked.result()
    except (TasksError, asyncio.CancelledError):  # canceled: with a question in common that another gave up
        return None


async def workers(client: ReArqClient) -> list[WorkerState]:
    """Return the workers and timers on the list, by name: those that are alive, and those that ended without a word."""
    return await _workers(client.broker.workers)


async def queues(client: ReArqClient) -> list[QueueState]:
    """Return all queues that tasks declare, workers serve or jobs wait in, ``default`` first; lanes while in use."""
    return await _queues_now(client, client.broker.workers, client.store.open_counts)


async def declared_tasks(client: ReArqClient) -> list[TaskInfo]:
    """Return the tasks that this process knows, by name."""
    return await _tasks(client.store.task_states, client.store.open_counts)


async def schedules(client: ReArqClient) -> list[ScheduleInfo]:
    """Return the cron tasks that this process knows, by name, with their next and last runs."""
    return await _schedules(client, client.store.task_states)


async def _numbers(ask_counts: Callable[[], Awaitable[list[OpenCount]]]) -> dict[JobStatus, int]:
    return dict(_counted((count.status, count) for count in await ask_counts()))


async def _workers(ask_peers: Callable[[], Awaitable[list[Peer]]]) -> list[WorkerState]:
    now = time.time()
    return [_worker(peer, now) for peer in await ask_peers()]


async def _queues_now(
    client: ReArqClient,
    ask_peers: Callable[[], Awaitable[list[Peer]]],
    ask_counts: Callable[[], Awaitable[list[OpenCount]]],
) -> list[QueueState]:
    # One after the other: where Redis is away, SQL is not asked in vain.
    peers = await ask_peers()
    waiting = await client.broker.gates.lengths(MOST_GATES)
    counts = await ask_counts()
    serving = Counter(queue for peer in peers if peer.alive and peer.line.get("consuming") for queue in _queues(peer))
    names = {*tasks.queues(), *serving, *waiting, *(count.queue for count in counts)} - {""}
    ordered = sorted(names, key=lambda name: (name != "default", name))
    backlogs = await client.broker.backlogs(ordered, client.rearq_config.group_name)
    by_status = _counted(((count.queue, count.status), count) for count in counts)
    states = [_queue(name, backlogs[name], by_status, waiting.get(name, 0), serving[name]) for name in ordered]
    # A worker of a queue consumes its lanes too: they are only worth a line while something is in them.
    return [state for state in states if state.is_used or not tasks.is_lane(state.name)]


async def _tasks(
    ask_states: Callable[[], Awaitable[dict[str, TaskState]]], ask_counts: Callable[[], Awaitable[list[OpenCount]]]
) -> list[TaskInfo]:
    states = await ask_states()
    counts = await ask_counts()
    by_status = _counted(((count.task, count.status), count) for count in counts)
    return [_task(task, states, by_status) for task in sorted(tasks, key=lambda task: task.name)]


async def _schedules(
    client: ReArqClient, ask_states: Callable[[], Awaitable[dict[str, TaskState]]]
) -> list[ScheduleInfo]:
    states = await ask_states()
    declared = [(task, task.cron) for task in sorted(tasks, key=lambda task: task.name) if task.cron is not None]
    last = {task.name: state.fired_job for task, _ in declared if (state := states.get(task.name)) and state.fired_job}
    records = await client.store.load(last.values(), attempts=True) if last else {}
    now, zone = dt.datetime.now(dt.UTC), conf.current_timezone()
    return [
        _schedule(task.name, cron, _state(states, task.name), last.get(task.name), records, now, zone)
        for task, cron in declared
    ]


def in_words(expression: str) -> str:
    """Say in English when a cron expression is due; the expression itself where there are no words for it."""
    # Imported here, as most processes never ask.
    import cron_descriptor

    options = cron_descriptor.Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        return str(cron_descriptor.get_description(_ALIASES.get(expression, expression.upper()), options))
    except Exception:  # some of its own, some of Python's: it was written for other dialects
        return expression


def _counted(counts: Iterable[tuple[K, OpenCount]]) -> Counter[K]:
    found: Counter[K] = Counter()
    for key, count in counts:
        found[key] += count.number
    return found


def _worker(peer: Peer, now: float) -> WorkerState:
    line = peer.line
    is_timer = bool(line.get("is_timer"))
    own_word = ("leads" if line.get("leads") else "stands by") if is_timer else str(line.get("state") or "unknown")
    said_at = line.get("ms")
    return WorkerState(
        name=peer.name,
        kind="timer" if is_timer else "worker",
        alive=peer.alive,
        state=own_word if peer.alive else "dead",
        host=str(line.get("host") or ""),
        pid=line.get("pid"),
        queues=tuple(_queues(peer)),
        running=int(line.get("running") or 0) if peer.alive else 0,
        slots=int(line.get("slots") or 0),
        done=int(line.get("done") or 0),
        heartbeat_age=round(max(0.0, now - said_at / 1000), 3) if isinstance(said_at, int | float) else None,
        version=str(line.get("version") or ""),
        python=str(line.get("python") or ""),
    )


def _queues(peer: Peer) -> list[str]:
    return [str(queue) for queue in peer.line.get("queues") or ()]


def _queue(
    name: str, backlog: Backlog, by_status: Counter[tuple[str, JobStatus]], waiting: int, workers: int
) -> QueueState:
    return QueueState(
        name=name,
        ready=backlog.ready,
        oldest_ready_seconds=backlog.oldest_seconds,
        delivered=backlog.delivered,
        queued=by_status[name, JobStatus.queued],
        deferred=by_status[name, JobStatus.deferred],
        running=by_status[name, JobStatus.in_progress],
        waiting_at_gates=waiting,
        workers=workers,
    )


def _state(states: dict[str, TaskState], task: str) -> TaskState:
    """Return what SQL knows of a task, which is nothing where it was never fired, disabled or paused."""
    from django_cfg_tasks.store import TaskState

    return states.get(task) or TaskState(task)


def _task(task: Task[..., Any], states: dict[str, TaskState], by_status: Counter[tuple[str, JobStatus]]) -> TaskInfo:
    state = _state(states, task.name)
    return TaskInfo(
        name=task.name,
        path=task.path,
        queue=task.options.queue,
        is_async=task.is_async,
        signature=str(task.codec.signature),
        options=task.options.as_dict(),
        cron=task.cron.schedule.expression if task.cron is not None else None,
        enabled=not state.disabled,
        queued=by_status[task.name, JobStatus.queued],
        deferred=by_status[task.name, JobStatus.deferred],
        running=by_status[task.name, JobStatus.in_progress],
    )


def _schedule(
    name: str,
    cron: Cron,
    state: TaskState,
    last: str | None,
    records: dict[str, JobRecord],
    now: dt.datetime,
    zone: dt.tzinfo,
) -> ScheduleInfo:
    resting = state.paused or state.disabled
    return ScheduleInfo(
        task=name,
        expression=cron.schedule.expression,
        description=in_words(cron.schedule.expression),
        timezone=str(cron.timezone or zone),
        catch_up=cron.catch_up,
        overlap=cron.overlap,
        misfire_grace=cron.misfire_grace,
        paused=state.paused,
        enabled=not state.disabled,
        next_run=None if resting else cron.schedule.next_after(now, cron.timezone or zone),
        last_run=_last_run(last, records.get(last)) if last is not None else None,
    )


def _last_run(job_id: str, record: JobRecord | None) -> LastRun:
    if record is None:
        return LastRun(job_id, None, None, None, None, None, None)
    return LastRun(
        job_id=job_id,
        status=record.status,
        success=record.success,
        enqueue_time=record.enqueue_time,
        start_time=record.start_time,
        finish_time=record.finish_time,
        error_class=record.error_class,
    )
