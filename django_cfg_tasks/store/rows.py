"""Between rows and records: what is written to ReArq's tables, and what is read from them. No SQL, no connection."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.serialization import dumps

_TEXTS = (str, bytes)
_STATUSES = {status.value: status for status in JobStatus}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Outcome:
    """What became of one attempt: the job as it is now, and what is kept of the attempt.

    ``record.attempt`` is the fence: the outcome takes effect only while that attempt still owns the job.
    ``attempt`` is None for a job that was claimed and put back before it started.
    """

    record: JobRecord
    attempt: Attempt | None
    msg_id: str


class Success(NamedTuple):
    """What there is to write of a run that ended well and has told nothing of its progress."""

    id: int | None
    attempt: int
    worker: str
    msg_id: str
    result: str
    start_time: dt.datetime | None
    finish_time: dt.datetime | None


@dataclass(frozen=True, slots=True)
class OpenJob:
    """What the sweeper wants to know of a job that is not final."""

    id: int
    job_id: str
    task: str
    queue: str
    status: JobStatus
    enqueue_time: dt.datetime
    due_time: dt.datetime | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class OpenCount:
    """How many jobs of one task in one queue have one status that is not final."""

    task: str
    queue: str
    status: JobStatus
    number: int


@dataclass(frozen=True, slots=True)
class OldJob:
    """What retention wants to know of a job: its row, where it is in time, whether it ended long enough ago."""

    id: int
    enqueued: str
    """As the database wrote it."""
    ended: bool


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of a task beside its jobs, by its name."""

    name: str
    disabled: bool = False
    paused: bool = False
    """Whether timers leave its due times out."""
    fired_until: dt.datetime | None = None
    """Up to when a timer has seen to its due times; None for a task that no timer has met."""
    fired_job: str | None = None
    """The id of the last job that a timer enqueued for a due time."""


def insert_document(records: Sequence[JobRecord]) -> str:
    """Return new jobs as the JSON document that `insert` takes.

    In the order of their unique keys, so that two who insert the same ones wait for each other, and don't dead-lock.
    """
    ordered = sorted(records, key=lambda record: record.unique_key or "")  # stable: others stay as they are
    return dumps([_inserted(record) for record in ordered])


def _inserted(record: JobRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "task": record.task,
        "args": record.args,
        "kwargs": record.kwargs,
        "job_retry": record.job_retry,
        "job_retries": record.job_retries,
        "job_retry_after": record.job_retry_after,
        "job_id": record.job_id,
        "enqueue_time": written_moment(record.enqueue_time),
        "status": record.status,
        "queue": record.queue,
        "options": record.options,
    }
    # What most jobs lack is left out: it would be written, sent and read for each of thousands.
    if record.expire_time is not None:
        row["expire_time"] = written_moment(record.expire_time)
    if record.due_time is not None:
        row["due_time"] = written_moment(record.due_time)
    if record.unique_key is not None:
        row["unique_key"] = record.unique_key
    if record.unique_until is not None:
        row["unique_until"] = written_moment(record.unique_until)
    if record.even_if_disabled:
        row["even_if_disabled"] = True
    return row


def lone_row(record: JobRecord) -> list[Any]:
    """Return a new job as the parameters of `insert_lone`, in the order of its columns.

    The last is the task that may not be disabled, None where it may.
    """
    return [
        record.task,
        dumps(record.args),
        dumps(record.kwargs),
        record.job_retry,
        record.job_retries,
        record.job_retry_after,
        record.job_id,
        written_moment(record.enqueue_time),
        written(record.expire_time),
        record.status.value,
        record.queue,
        written(record.due_time),
        dumps(record.options),
        None if record.even_if_disabled else record.task,
    ]


def successes_among(outcomes: Iterable[Outcome]) -> tuple[list[Success], list[Outcome]]:
    """Return the good ends among ``outcomes``, of which there is less to write, and the other outcomes."""
    successes: list[Success] = []
    others: list[Outcome] = []
    for outcome in outcomes:
        record, attempt = outcome.record, outcome.attempt
        if record.status is not JobStatus.success or attempt is None or record.progress is not None:
            others.append(outcome)
            continue
        result = "null" if record.result is None else dumps(record.result)
        times = attempt.start_time, attempt.finish_time
        successes.append(Success(record.id, record.attempt, attempt.worker, outcome.msg_id, result, *times))
    return successes, others


def outcome_document(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as the JSON document that `record` takes."""
    return to_json([_outcome_row(outcome) for outcome in outcomes]).decode()


def _outcome_row(outcome: Outcome) -> dict[str, Any]:
    record, attempt = outcome.record, outcome.attempt
    row: dict[str, Any] = {
        "id": record.id,
        "attempt": record.attempt,
        "status": record.status.value,
        "job_retries": record.job_retries,
        "deliveries": record.deliveries,
    }
    if record.due_time is not None:
        row["due_time"] = written_moment(record.due_time)
    if record.progress is not None:
        row["progress"] = record.progress
        row["progress_message"] = _clean(record.progress_message) or None
    if attempt is None:
        return row
    row["keep_attempt"] = True
    row["msg_id"] = outcome.msg_id
    row["worker"] = attempt.worker
    row["outcome"] = attempt.outcome.value
    if attempt.start_time is not None:
        row["start_time"] = written_moment(attempt.start_time)
    if attempt.finish_time is not None:
        row["finish_time"] = written_moment(attempt.finish_time)
    if attempt.outcome is AttemptOutcome.success:
        row["success"] = True
        row["result"] = dumps(record.result)
    else:
        row["success"] = False
        row["result"] = row["error_message"] = _clean(attempt.error_message)
        row["error_class"] = (_clean(attempt.error_class) or "")[:255] or None
        row["traceback"] = _clean(attempt.traceback)
    return row


def _clean(text: str | None) -> str | None:
    """Replace what SQL databases can't store: NUL and broken Unicode."""
    if text is None or (text.isascii() and "\x00" not in text):
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def record_of(row: Mapping[str, Any]) -> JobRecord:
    """Return the job of a row, without its attempts."""
    return JobRecord(
        id=row["id"],
        job_id=row["job_id"],
        task=row["task"],
        queue=row["queue"] or "",
        args=_parsed(row["args"]) or [],
        kwargs=_parsed(row["kwargs"]) or {},
        status=_STATUSES[row["status"]],
        job_retry=row["job_retry"],
        job_retries=row["job_retries"],
        job_retry_after=row["job_retry_after"],
        enqueue_time=_read(row["enqueue_time"]) or EPOCH,
        expire_time=_read(row["expire_time"]),
        due_time=_read(row["due_time"]),
        start_time=_read(row["start_time"]),
        owner=row["owner"],
        attempt=row["attempt"] or 0,
        deliveries=row["deliveries"] or 0,
        options=_parsed(row["options"]) or {},
        unique_key=row["unique_key"],
        progress=row["progress"],
        progress_message=row["progress_message"] or "",
    )


def whole_record_of(row: Mapping[str, Any]) -> JobRecord:
    """Return the job of a row that holds its attempts as well."""
    record = record_of(row)
    for attempt in sorted(_parsed(row["attempts"]) or (), key=lambda attempt: attempt["id"]):
        add_attempt(record, attempt)
    return record


def ending_keys(records: Iterable[JobRecord]) -> list[str]:
    """Return the unique keys that last for a time; others are freed by what happens to their jobs."""
    return [
        record.unique_key for record in records if record.unique_key is not None and record.unique_until is not None
    ]


def keyed(records: Iterable[JobRecord], found: Container[str]) -> list[JobRecord]:
    """Return those of ``records`` that were not found by their ids, and may be by their unique keys."""
    return [record for record in records if record.job_id not in found and record.unique_key is not None]


def by_unique_key(records: Iterable[JobRecord], holders: Iterable[JobRecord]) -> dict[str, JobRecord]:
    """Return, by the ids of ``records``, those of ``holders`` that have the same unique keys."""
    by_key = {holder.unique_key: holder for holder in holders}
    return {record.job_id: by_key[record.unique_key] for record in records if record.unique_key in by_key}


def progress_document(records: Sequence[JobRecord]) -> str:
    """Return how far jobs are as the JSON document that `progress` takes."""
    return dumps(
        [
            {
                "id": record.id,
                "attempt": record.attempt,
                "progress": record.progress,
                "progress_message": _clean(record.progress_message) or None,
            }
            for record in records
        ]
    )


def task_state_of(row: Mapping[str, Any]) -> TaskState:
    """Return what is known of a task."""
    return TaskState(
        row["name"],
        disabled=row["disabled_since"] is not None,
        paused=row["paused_since"] is not None,
        fired_until=_read(row["fired_until"]),
        fired_job=row["fired_job"],
    )


def firings_document(states: Iterable[TaskState]) -> str:
    """Return the firings of cron tasks as the JSON document that `note_firings` takes."""
    return dumps(
        [
            {"name": state.name, "fired_until": written(state.fired_until), "fired_job": state.fired_job}
            for state in states
        ]
    )


def open_job_of(row: Mapping[str, Any]) -> OpenJob:
    """Return what the sweeper wants of a row."""
    return OpenJob(
        id=row["id"],
        job_id=row["job_id"],
        task=row["task"],
        queue=row["queue"] or "",
        status=JobStatus(row["status"]),
        enqueue_time=_read(row["enqueue_time"]) or EPOCH,
        due_time=_read(row["due_time"]),
        owner=row["owner"],
    )


def add_attempt(record: JobRecord, row: Mapping[str, Any]) -> None:
    """Add one stored attempt; the last one also tells how the job stands."""
    success = bool(row["success"])
    # ReArq's own workers wrote no outcome.
    outcome = AttemptOutcome(row["outcome"] or ("success" if success else "failed"))
    message = row["error_message"] if row["outcome"] else (None if success else row["result"])
    attempt = Attempt(
        number=row["attempt"] or len(record.attempts) + 1,
        worker=row["worker"],
        start_time=_read(row["start_time"]),
        finish_time=_read(row["finish_time"]),
        outcome=outcome,
        error_class=row["error_class"],
        error_message=message,
        traceback=row["traceback"],
    )
    record.attempts.append(attempt)
    if record.status is JobStatus.in_progress:
        return
    record.start_time, record.finish_time = attempt.start_time, attempt.finish_time
    record.owner = attempt.worker
    record.error_class, record.error_message, record.traceback = (
        attempt.error_class,
        message,
        attempt.traceback,
    )
    if success:
        record.result = _parsed_result(row["result"])


def _parsed(value: Any) -> Any:
    if not isinstance(value, _TEXTS):
        return value
    try:
        return from_json(value)  # on small texts ten times as fast as Python's
    except ValueError:
        return json.loads(value)  # which also reads what is no Unicode


def _parsed_result(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        # ReArq's own workers wrote str(result).
        return text


def written(moment: dt.datetime | None) -> str | None:
    """`written_moment`, of what may not be known."""
    return written_moment(moment) if moment is not None else None


def written_moment(moment: dt.datetime) -> str:
    """Write a time so that text order is time order, as Tortoise writes it in SQLite."""
    return (moment if moment.tzinfo is dt.UTC else moment.astimezone(dt.UTC)).isoformat(sep=" ")


def _read(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    if moment.tzinfo is dt.UTC:
        return moment
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
