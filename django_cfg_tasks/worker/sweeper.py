"""The sweeper: SQL says which jobs are to be run, Redis which it knows of; for the difference the bell rings again.

What makes a difference: a producer that died before it could ring, a Redis that lost what it had, a worker whose
entry is gone. A bell too many does no harm, as a job is claimed in SQL. Only the leading timer sweeps.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Sequence

from django_cfg_tasks.broker import Bell, Census, Entry, Settlement, keys
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import OpenJob

logger = logging.getLogger("django_cfg_tasks.timer")

SWEEP_SECONDS = 45.0
"""Between two sweeps; longer when one takes long. With the grace below a lost bell is rung within a minute."""
GRACE_SECONDS = 5.0
"""Producers ring right after they have stored a job; one that is younger was not forgotten."""
SHARE = 0.1
"""At most this share of its time a timer spends sweeping."""
PAGE = 1000


class Sweeper:
    """Compares SQL with Redis, and rings."""

    def __init__(self, client: ReArqClient) -> None:
        self._config = client.rearq_config
        self._store = client.store
        self._broker = client.broker

    async def is_due(self) -> bool:
        """Whether the last sweep was long ago, or this Redis knows of none, as after a wipe."""
        return not await self._broker.exists(keys.SWEPT)

    async def sweep(self) -> int:
        """Ring for all jobs that Redis should know of and does not; return how many.

        StoreUnavailableError and BrokerUnavailableError where that can't be done now.
        """
        started, now = time.monotonic(), dt.datetime.now(dt.UTC)
        cutoff = now - dt.timedelta(seconds=GRACE_SECONDS)
        peers = await self._broker.workers()
        groups = {self._config.group_name, *(str(peer.line.get("group")) for peer in peers if peer.alive)}
        queues = {*tasks.in_lanes(tasks.queues()), *(queue for peer in peers for queue in peer.line.get("queues", ()))}
        census = await self._broker.take_census(queues, groups)
        await self._tidy(census)
        await self._open_enabled()
        rung, doubtful, after = 0, 0.0, 0
        while page := await self._store.open_page(after_id=after, limit=PAGE):
            after = page[-1].id
            missing = [job for job in page if job.enqueue_time < now and job.job_id not in census]
            missing = await self._still_missing(missing, census, groups)
            old = [job for job in missing if job.enqueue_time <= cutoff]
            lost, could_judge = await self._without_the_living(old)
            if not could_judge:
                # Once everybody has had a lease's time to give a sign of life it can be told who is dead.
                doubtful = max(doubtful, self._config.lease)
            if len(old) < len(missing):
                doubtful = max(doubtful, GRACE_SECONDS)
            if lost:
                await self._broker.ring([_bell(job) for job in lost])
                rung += len(lost)
            await asyncio.sleep(0)
        pause = max(min(doubtful or SWEEP_SECONDS, SWEEP_SECONDS), (time.monotonic() - started) / SHARE)
        await self._broker.mark(keys.SWEPT, pause)
        if rung:
            logger.warning("%d job(s) that Redis knew nothing of were rung for again.", rung)
        return rung

    async def forget_dead_workers(self) -> list[str]:
        """Take dead workers and timers off the list; return those that were on it."""
        ours = [peer.name for peer in await self._broker.workers() if not peer.alive and "pid" in peer.line]
        dead = sorted(await self._broker.dead(ours) or ()) if ours else []
        return dead if await self._broker.forget_workers(dead) else []

    async def _tidy(self, census: Census) -> None:
        """Delete entries that lead to nothing: a Redis that restarts may have forgotten acknowledgements."""
        for queue, msg_ids in census.left_over.items():
            logger.info("%d entries of queue %s were delivered and forgotten.", len(msg_ids), queue)
            await self._broker.discard(queue, msg_ids)
        for (queue, group), pending in census.pending.items():
            ids = list(pending)
            for start in range(0, len(ids), PAGE):
                page = ids[start : start + PAGE]
                still_open = await self._store.open_among([pending[msg_id] for msg_id in page])
                ended = [Entry(queue, msg_id, "") for msg_id in page if pending[msg_id] not in still_open]
                if ended:
                    await self._broker.settle(Settlement(entries=ended), group)

    async def _open_enabled(self) -> None:
        """Let jobs go on whose tasks were enabled by somebody who could not tell Redis."""
        names = await self._broker.gates.names()
        parked = {name.removeprefix(keys.DISABLED_GATE) for name in names if name.startswith(keys.DISABLED_GATE)}
        for task in parked - await self._store.disabled() if parked else ():
            await self._broker.release_disabled(task)

    async def _still_missing(self, jobs: list[OpenJob], census: Census, groups: set[str]) -> list[OpenJob]:
        """Look at queues that nobody had named before SQL was read."""
        if {_queue(job) for job in jobs} <= census.queues:
            return jobs
        await self._broker.extend_census(census, {_queue(job) for job in jobs}, groups)
        return [job for job in jobs if job.job_id not in census]

    async def _without_the_living(self, jobs: Sequence[OpenJob]) -> tuple[list[OpenJob], bool]:
        """Leave out jobs that a worker is running; False if it can't be told who lives."""
        owners = {job.owner for job in jobs if job.owner is not None}
        dead = await self._broker.dead(owners) if owners else set()
        lost = [
            job
            for job in jobs
            # A job that ReArq's own worker runs has no owner.
            if job.status is not JobStatus.in_progress or (dead and job.owner in dead)
        ]
        return lost, dead is not None


def _queue(job: OpenJob) -> str:
    """The job's queue; ReArq's own producers write none, and their tasks' are where they ring."""
    task = tasks.get(job.task)
    return job.queue or (task.options.queue if task is not None else "default")


def _bell(job: OpenJob) -> Bell:
    due = job.due_time if job.status is JobStatus.deferred else None
    return Bell(_queue(job), job.job_id, round(due.timestamp() * 1000) if due is not None else None)
