"""What becomes of the jobs of workers that died: their attempt is recorded as orphaned, and they run again.

An entry that can't be claimed is looked into here. Who is dead, Redis says (``heartbeat.lua``); who may write an
outcome, the attempt's number says in SQL, so that a worker which was only thought dead can't overwrite anything.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django_cfg_tasks.broker import Broker, Entry
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.exceptions import PoisonedJobError, WorkerLostError
from django_cfg_tasks.jobs import WAITING, Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.signals import announce, task_failed, task_orphaned
from django_cfg_tasks.store import NO_LIMIT, Outcome, Store
from django_cfg_tasks.worker.ledger import msg_id_of

logger = logging.getLogger("django_cfg_tasks.worker")


@dataclass(slots=True)
class Findings:
    """What to do with entries whose jobs could not be claimed."""

    drop: list[Entry] = field(default_factory=list)
    """Their jobs ended, are gone, or are run by a worker that lives: acknowledge them."""
    ended: list[Entry] = field(default_factory=list)
    """Their jobs were ended here, as poison: acknowledge them and tell who waits."""
    again: list[Entry] = field(default_factory=list)
    """Their jobs wait again: claim them."""
    alone: list[Entry] = field(default_factory=list)
    """Their jobs wait, and have cost so many workers that they must run with nothing beside them."""
    disabled: list[JobRecord] = field(default_factory=list)
    """Jobs that wait until their tasks are enabled."""


def deaths_before_running_alone(config: RearqConfig) -> int:
    """Return over how many deaths a job is suspected so much that it runs alone.

    One more death and it is failed; alone, so that the job which kills its workers is failed and not those that
    happened to run beside it.
    """
    return config.max_deliveries - 1 or NO_LIMIT


class Recovery:
    """Looks into jobs that can't be claimed, for one worker."""

    def __init__(self, config: RearqConfig, store: Store, broker: Broker, signals: SignalDispatcher) -> None:
        self._most_deaths = config.max_deliveries
        self._alone_from = deaths_before_running_alone(config)
        self._store = store
        self._broker = broker
        self._signals = signals

    async def look_into(self, entries: Iterable[Entry]) -> Findings:
        """Find out why these could not be claimed, and record the ends of attempts whose workers are dead.

        StoreUnavailableError and BrokerUnavailableError where that can't be done now; nothing is lost by it.
        """
        by_id = {entry.job_id: entry for entry in entries}
        records = await self._store.load(by_id, attempts=True)
        running = [record for record in records.values() if record.status is JobStatus.in_progress and record.owner]
        dead = await self._broker.dead({record.owner or "" for record in running}) if running else set()
        orphans = [record for record in running if dead and record.owner in dead]
        if orphans:
            await self._record_orphans(orphans, by_id)
            records |= await self._store.load([record.job_id for record in orphans], attempts=True)
        waiting = any(record.status in WAITING for record in records.values())
        disabled = await self._store.disabled() if waiting else set()
        findings = Findings()
        ended = {record.job_id for record in orphans}
        for job_id, entry in by_id.items():
            record = records.get(job_id)
            if record is None or record.status not in WAITING:
                poisoned = record is not None and record.status is JobStatus.failed and job_id in ended
                (findings.ended if poisoned else findings.drop).append(entry)
            elif record.task in disabled:
                findings.disabled.append(record)
            else:
                (findings.alone if record.deliveries >= self._alone_from else findings.again).append(entry)
        return findings

    async def _record_orphans(self, records: Sequence[JobRecord], entries: dict[str, Entry]) -> None:
        ends = [self._orphaned(record, entries[record.job_id]) for record in records]
        taken = await self._store.record([outcome for outcome, _ in ends])
        ours = [(outcome.record, error) for outcome, error in ends if outcome.record.id in taken]
        if not ours:
            return  # others were faster
        announce([record for record, _ in ours])
        for record, error in ours:
            logger.warning("%s %s: %s It is %s now.", record.task, record.job_id, error, record.status)
            self._signals.send(task_orphaned, record, exception=error)
            if record.status is JobStatus.failed:
                self._signals.send(task_failed, record, exception=error)

    def _orphaned(self, record: JobRecord, entry: Entry) -> tuple[Outcome, WorkerLostError]:
        worker, now = record.owner or "?", dt.datetime.now(dt.UTC)
        record.deliveries += 1
        poisoned = record.deliveries >= self._most_deaths
        error: WorkerLostError
        if poisoned:
            record.status = JobStatus.failed
            error = PoisonedJobError(
                f"{record.deliveries} worker(s) died while they ran this job (max_deliveries), the last one {worker}. "
                "It is not run again. Look for what ends the process: memory, a crash in a library, os._exit."
            )
        else:
            record.status = JobStatus.queued
            error = WorkerLostError(f"Its worker {worker} died or lost its lease ({record.deliveries} so far).")
        attempt = Attempt(
            number=record.attempt,
            worker=worker,
            start_time=record.start_time,
            finish_time=now,
            outcome=AttemptOutcome.orphaned,
            error_class=type(error).__name__,
            error_message=str(error),
        )
        record.attempts.append(attempt)
        record.owner, record.due_time = None, None
        if poisoned:
            record.finish_time = now
            record.error_class, record.error_message = attempt.error_class, attempt.error_message
        else:
            record.start_time = None
        return Outcome(record, attempt, msg_id_of(entry, record)), error
