"""The handle that enqueueing returns, and the result that it waits for."""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, TypeVar

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import JobNotFoundError
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.registry import tasks

R_co = TypeVar("R_co", covariant=True)


class JobResult(Generic[R_co]):
    """How a job ended."""

    def __init__(self, record: JobRecord) -> None:
        self._record = record
        self.job_id = record.job_id
        self.status = record.status
        self.success = record.status is JobStatus.success
        self.error = _error(record)
        """The exception's class and message, or why the job never ran; None after a success."""
        self.traceback = None if self.success else record.traceback
        self.worker = record.owner
        self.start_time: dt.datetime | None = record.start_time
        self.finish_time: dt.datetime | None = record.finish_time

    @property
    def result(self) -> R_co | None:
        """What the task returned, as its return annotation wants it; None unless it succeeded."""
        task = tasks.get(self._record.task)
        data = self.get_result_data()
        return task.codec.decode_result(data) if task is not None and self.success else data  # type: ignore[no-any-return]

    def get_result_data(self) -> Any:
        """Return what the task returned, as plain JSON data."""
        return self._record.result if self.success else None

    def __repr__(self) -> str:
        return f"<JobResult {self.job_id} {self.status}>"


class Job(Generic[R_co]):
    """One job, as it was when this handle was made or last refreshed. Times are aware, in UTC."""

    def __init__(self, record: JobRecord, *, created: bool = True) -> None:
        self._record = record
        self.created = created
        """False if a job of this id, or of this unique key, existed already: nothing was enqueued, this is that job."""

    @property
    def job_id(self) -> str:
        """Its id."""
        return self._record.job_id

    @property
    def task(self) -> str:
        """The name of its task."""
        return self._record.task

    @property
    def queue(self) -> str:
        """The queue that it was put in."""
        return self._record.queue

    @property
    def args(self) -> list[Any]:
        """Its positional arguments, as JSON data."""
        return self._record.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Its keyword arguments, as JSON data."""
        return self._record.kwargs

    @property
    def status(self) -> JobStatus:
        """Where it stood."""
        return self._record.status

    @property
    def enqueue_time(self) -> dt.datetime:
        """When it was accepted."""
        return self._record.enqueue_time

    @property
    def due_time(self) -> dt.datetime | None:
        """When it may start, if not at once."""
        return self._record.due_time

    @property
    def expire_time(self) -> dt.datetime | None:
        """After when it is not started any more."""
        return self._record.expire_time

    @property
    def job_retry(self) -> int:
        """How often it may be retried."""
        return self._record.job_retry

    @property
    def job_retries(self) -> int:
        """How often it was retried."""
        return self._record.job_retries

    @property
    def job_retry_after(self) -> int:
        """Seconds before a retry."""
        return self._record.job_retry_after

    @property
    def progress(self) -> float | None:
        """How far it was, from 0 to 1; None if it has not told."""
        return self._record.progress

    @property
    def progress_message(self) -> str:
        """What it said of it."""
        return self._record.progress_message

    async def result(self, timeout: float | None = None) -> JobResult[R_co] | None:
        """Wait until the job is final and return how it ended; None after ``timeout`` seconds.

        A failed attempt that will be retried is not the end. JobNotFoundError if the job is gone (its
        transaction was rolled back, or it was deleted as too old).
        """
        return self._ended(await get_rearq_client().await_final(self.job_id, timeout))

    def wait(self, timeout: float | None = None) -> JobResult[R_co] | None:
        """`result`, for sync code."""
        return self._ended(get_rearq_client().wait_final(self.job_id, timeout))

    def refresh(self) -> Job[R_co]:
        """Read the job again and return this handle. JobNotFoundError if it is gone."""
        return self._refreshed(get_rearq_client().load([self.job_id]))

    async def arefresh(self) -> Job[R_co]:
        """`refresh`, for async code."""
        return self._refreshed(await get_rearq_client().aload([self.job_id]))

    def cancel(self) -> bool:
        """Cancel the job unless it is final; tell whether it was canceled. A running one is told to stop."""
        return get_rearq_client().cancel(self.job_id)

    async def acancel(self) -> bool:
        """`cancel`, for async code."""
        return await get_rearq_client().acancel(self.job_id)

    def __repr__(self) -> str:
        return f"<Job {self.job_id} of {self.task}: {self.status}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.job_id == self.job_id

    def __hash__(self) -> int:
        return hash(self.job_id)

    def _ended(self, record: JobRecord | None) -> JobResult[R_co] | None:
        if record is None:
            return None
        self._record = record
        return JobResult(record)

    def _refreshed(self, found: dict[str, JobRecord]) -> Job[R_co]:
        if self.job_id not in found:
            raise JobNotFoundError(f"No job has the id {self.job_id!r} any more.")
        self._record = found[self.job_id]
        return self


def _error(record: JobRecord) -> str | None:
    if record.status is JobStatus.success:
        return None
    if record.error_message or record.error_class:
        return ": ".join(part for part in (record.error_class, record.error_message) if part)
    return {
        JobStatus.canceled: "The job was canceled.",
        JobStatus.expired: "The job expired before it could start.",
    }.get(record.status, "The job failed.")
