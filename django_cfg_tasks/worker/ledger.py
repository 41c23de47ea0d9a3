"""Group commit of outcomes: record in SQL, tell the listeners, then settle with Redis. In that order, always.

Whatever ends while one write is under way goes into the next. While SQL is away outcomes wait here and
nothing is acknowledged; while Redis is away acknowledgements wait.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from django_cfg_tasks.broker import Bell, Broker, Entry, Settlement, bell_of
from django_cfg_tasks.dispatcher import SignalDispatcher
from django_cfg_tasks.exceptions import BrokerUnavailableError, StoreUnavailableError
from django_cfg_tasks.jobs import WAITING, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.loop import set_within
from django_cfg_tasks.signals import announce, signal_of
from django_cfg_tasks.store import Outcome, Store, is_refusal

logger = logging.getLogger("django_cfg_tasks.worker")

MOST_AT_ONCE = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


@dataclass(slots=True)
class Line:
    """One ended delivery: its entry, and the outcome that has to be recorded before it is acknowledged."""

    entry: Entry
    outcome: Outcome
    error: BaseException | None = None
    """What the task raised, if that is its outcome."""


def msg_id_of(entry: Entry, record: JobRecord) -> str:
    """Return the id of an attempt: ReArq wants a unique one, an entry can be delivered again, two streams share ids."""
    return f"{entry.msg_id}#{record.id}.{record.attempt}"


class Ledger:
    """The outcomes of one worker, on their way into SQL and out of Redis."""

    def __init__(self, store: Store, broker: Broker, signals: SignalDispatcher, group: str) -> None:
        self._store = store
        self._broker = broker
        self._signals = signals
        self._group = group
        self._lines: list[Line] = []
        self._held: set[str] = set()
        self._settlement = Settlement()
        self._changed = asyncio.Event()
        self._to_settle = asyncio.Event()
        self._unrecorded = self._unsettled = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.healthy = True
        """False while SQL can't be written: no new jobs should be fetched."""

    @property
    def unrecorded(self) -> int:
        """How many outcomes are not in SQL yet."""
        return self._unrecorded

    def add(self, line: Line) -> None:
        """Take an outcome in."""
        self._lines.append(line)
        self._held.add(line.entry.job_id)
        self._unrecorded += 1
        self._idle.clear()
        self._changed.set()

    def holds(self, job_id: str) -> bool:
        """Whether an outcome of this job waits to be recorded."""
        return job_id in self._held

    def drop(self, entries: list[Entry], bells: list[Bell] | None = None, *, finished: list[str] | None = None) -> None:
        """Acknowledge entries that have no outcome to record; ring anew for ``bells``, tell of ``finished`` jobs."""
        self._settle(Settlement(list(entries), list(bells or ()), list(finished or ())))

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record_all(), name="django_cfg_tasks-record")
            group.create_task(self._settle_all(), name="django_cfg_tasks-settle")

    async def drained(self, timeout: float) -> bool:
        """Wait until all that was added is recorded and settled; False after ``timeout`` seconds."""
        return await set_within(self._idle, timeout)

    async def _record_all(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._lines:
                lines, self._lines = self._lines[:MOST_AT_ONCE], self._lines[MOST_AT_ONCE:]
                await self._record(lines)
                self._unrecorded -= len(lines)
                self._held.difference_update(line.entry.job_id for line in lines)
                self._note_idle()

    async def _record(self, lines: list[Line]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                taken = await self._store.record([line.outcome for line in lines])
                await self._recorded(lines, taken)
            except Exception as error:
                outage = isinstance(error, StoreUnavailableError)
                if outage or not is_refusal(error):
                    # Not known to be the fault of what is written: an outcome is never changed on a guess.
                    self.healthy = False
                    logger.log(
                        logging.WARNING if outage else logging.ERROR,
                        "%d outcome(s) wait to be recorded; trying again in %.1f s. %s", len(lines), pause, error,
                        exc_info=None if outage else error,
                    )  # fmt: skip
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
                if len(lines) > 1:
                    # One outcome that the database refuses must not keep the others from being recorded.
                    for line in lines:
                        await self._record([line])
                    return
                if not _made_recordable(lines[0].outcome, error):
                    logger.exception("The outcome of job %s can't be recorded.", lines[0].entry.job_id)
                    return
                lines[0].error = error
            else:
                if not self.healthy:
                    self.healthy = True
                    logger.info("Outcomes are being recorded again.")
                return

    async def _recorded(self, lines: list[Line], taken: set[int]) -> None:
        done = [line for line in lines if line.outcome.record.id in taken]
        if len(done) < len(lines):
            ours = await self._look_into([line for line in lines if line.outcome.record.id not in taken])
            # Who canceled a job in SQL tells of that; how its run ended is told here.
            canceled = [line for line in ours if line.outcome.record.status is JobStatus.canceled]
            if canceled:
                await self._store.keep_attempts([line.outcome for line in canceled])
            self._tell(done + [line for line in ours if line.outcome.record.status is not JobStatus.canceled])
            done += ours
        else:
            self._tell(done)
        records = [line.outcome.record for line in done]
        if records:
            announce(records)
        self._settle(
            Settlement(
                entries=[line.entry for line in done],
                bells=[bell_of(record) for record in records if record.status in WAITING],
                finished=[record.job_id for record in records if record.status.is_final],
            )
        )

    def _tell(self, lines: list[Line]) -> None:
        for line in lines:
            record, attempt = line.outcome.record, line.outcome.attempt
            signal = signal_of(record, attempt)
            if signal is not None:
                duration = attempt.duration if attempt is not None else None
                self._signals.send(signal, record, duration=duration, exception=line.error)

    async def _look_into(self, refused: list[Line]) -> list[Line]:
        """Sort out outcomes that took no effect; return those that had, as an earlier try got through unheard."""
        now = await self._store.load([line.entry.job_id for line in refused])
        ours = []
        for line in refused:
            record, current = line.outcome.record, now.get(line.entry.job_id)
            if current is not None and current.attempt == record.attempt and current.status is JobStatus.canceled:
                call_canceled(line.outcome)
                ours.append(line)
            elif current is not None and current.attempt == record.attempt and current.status is record.status:
                ours.append(line)
            elif current is None or current.status.is_final:
                logger.info("Job %s ended otherwise meanwhile; this outcome is dropped.", line.entry.job_id)
                self.drop([line.entry])
            else:
                # Another worker has taken the job over, and with it the right to acknowledge its entry.
                logger.warning("Job %s was taken over by another worker; this outcome is dropped.", line.entry.job_id)
        return ours

    def _settle(self, more: Settlement) -> None:
        self._settlement.entries += more.entries
        self._settlement.bells += more.bells
        self._settlement.finished += more.finished
        self._unsettled += 1
        self._idle.clear()
        self._to_settle.set()

    async def _settle_all(self) -> None:
        while True:
            await self._to_settle.wait()
            self._to_settle.clear()
            settlement, self._settlement = self._settlement, Settlement()
            count, pause = self._unsettled, FIRST_PAUSE
            while True:
                try:
                    await self._broker.settle(settlement, self._group)
                    break
                except Exception as error:
                    # Also if it is no outage: outcomes must be recorded, whatever Redis has against being told.
                    level = logging.WARNING if isinstance(error, BrokerUnavailableError) else logging.ERROR
                    logger.log(level, "%d acknowledgement(s) wait for Redis. %s", len(settlement.entries), error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
            self._unsettled -= count
            self._note_idle()

    def _note_idle(self) -> None:
        if self._unrecorded == 0 and self._unsettled == 0:
            self._idle.set()


def call_canceled(outcome: Outcome) -> None:
    """Turn the outcome of a run whose job was canceled meanwhile into that, however it ended."""
    record = outcome.record
    record.status, record.result, record.due_time = JobStatus.canceled, None, None
    record.error_class = record.error_message = record.traceback = None
    if outcome.attempt is not None:
        outcome.attempt.outcome = AttemptOutcome.canceled
        outcome.attempt.error_class = outcome.attempt.error_message = outcome.attempt.traceback = None


def _made_recordable(outcome: Outcome, error: Exception) -> bool:
    """Turn an outcome that the database refuses into a failure that says so; False if it is one already."""
    attempt, record = outcome.attempt, outcome.record
    message = f"The outcome could not be recorded: {type(error).__name__}: {error}"[:1000]
    if attempt is None or attempt.error_message == message:
        return False
    record.status, record.result, record.due_time = JobStatus.failed, None, None
    attempt.outcome = AttemptOutcome.failed
    for holder in (record, attempt):
        holder.error_class, holder.error_message, holder.traceback = type(error).__name__, message, None
    return True
