"""How things stand now: workers, queues, tasks and schedules, put together from Redis, SQL and this process's tasks.

It only asks. What is declared is what this process knows, which in a project is what its workers know. Whether things
are well is `health`'s to say; BrokerUnavailableError and StoreUnavailableError come from whoever can't be asked.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django_cfg_tasks import conf
from django_cfg_tasks.broker import Backlog, Peer
from django_cfg_tasks.client import ReArqClient, get_rearq_client
from django_cfg_tasks.cron import Cron
from django_cfg_tasks.exceptions import BrokerUnavailableError
from django_cfg_tasks.health import PATIENCE
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import OpenCount, TaskState
from django_cfg_tasks.task import Task

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


async def workers(client: ReArqClient) -> list[WorkerState]:
    """Return the workers and timers on the list, by name: those that are alive, and those that ended without a word."""
    now = time.time()
    return [_worker(peer, now) for peer in await client.broker.workers()]


async def queues(client: ReArqClient) -> list[QueueState]:
    """Return all queues that tasks declare, workers serve or jobs wait in, ``default`` first."""
    # One after the other: where Redis is away, SQL is not asked in vain.
    peers = await client.broker.workers()
    waiting = await client.broker.gates.lengths(MOST_GATES)
    counts = await client.store.open_counts()
    serving = Counter(queue for peer in peers if peer.alive and peer.line.get("consuming") for queue in _queues(peer))
    names = {*tasks.queues(), *serving, *waiting, *(count.queue for count in counts)} - {""}
    ordered = sorted(names, key=lambda name: (name != "default", name))
    backlogs = await client.broker.backlogs(ordered, client.rearq_config.group_name)
    by_status = _counted((count.queue, count) for count in counts)
    return [_queue(name, backlogs[name], by_status, waiting.get(name, 0), serving[name]) for name in ordered]


async def declared_tasks(client: ReArqClient) -> list[TaskInfo]:
    """Return the tasks that this process knows, by name."""
    states = await client.store.task_states()
    counts = await client.store.open_counts()
    by_status = _counted((count.task, count) for count in counts)
    return [_task(task, states, by_status) for task in sorted(tasks, key=lambda task: task.name)]


async def schedules(client: ReArqClient) -> list[ScheduleInfo]:
    """Return the cron tasks that this process knows, by name, with their next and last runs."""
    states = await client.store.task_states()
    declared = [(task, task.cron) for task in sorted(tasks, key=lambda task: task.name) if task.cron is not None]
    last = {task.name: state.fired_job for task, _ in declared if (state := states.get(task.name)) and state.fired_job}
    records = await client.store.load(last.values(), attempts=True) if last else {}
    now, zone = dt.datetime.now(dt.UTC), conf.current_timezone()
    return [
        _schedule(task.name, cron, states.get(task.name, TaskState(task.name)), last.get(task.name), records, now, zone)
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


def _counted(counts: Iterable[tuple[str, OpenCount]]) -> Counter[tuple[str, JobStatus]]:
    found: Counter[tuple[str, JobStatus]] = Counter()
    for name, count in counts:
        found[name, count.status] += count.number
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


def _task(task: Task[..., Any], states: dict[str, TaskState], by_status: Counter[tuple[str, JobStatus]]) -> TaskInfo:
    state = states.get(task.name, TaskState(task.name))
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
