"""Every error that this package raises, under one root.

A docstring is the default text; a raised message names the cause and the next step. This room knows no
other room.
"""

from __future__ import annotations

import datetime as dt


class TasksError(Exception):
    """Something in django_cfg_tasks went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).strip().splitlines()[0])


class ConfigurationError(TasksError):
    """The configuration of django_cfg_tasks can't be used."""


class DeclarationError(TasksError):
    """A task or a hook can't be declared like this."""


class DuplicateTaskError(DeclarationError):
    """Two tasks share one name."""


class InvalidCronError(DeclarationError):
    """The cron expression can't be read."""


class EnqueueError(TasksError):
    """The job was not accepted: nothing was stored and nothing will run."""


class TasksDisabledError(EnqueueError):
    """Tasks are switched off (TaskConfig(enabled=False)), so nothing can be enqueued."""


class TaskDisabledError(EnqueueError):
    """The task is disabled (client.disable), so no job of it is accepted."""


class ArgumentsError(EnqueueError):
    """The arguments don't fit the task's signature."""


class SerializationError(EnqueueError):
    """An argument or a result can't be written as JSON."""


class ResultError(SerializationError):
    """The task ended, but what it returned can't be written as JSON."""


class InvalidOptionError(EnqueueError):
    """An option of the call has a value that can't be used."""


class UnknownTaskError(TasksError):
    """No task of that name is declared."""


class JobNotFoundError(TasksError):
    """No job has that id."""


class WrongStateError(TasksError):
    """That can't be done to a job or a task as things stand."""


class StoreUnavailableError(TasksError):
    """The SQL database that holds the jobs can't be reached."""


class BrokerUnavailableError(TasksError):
    """Redis can't be reached."""


class EmbeddedRedisError(BrokerUnavailableError):
    """The embedded Redis could not be started."""


class LockTimeoutError(TasksError):
    """The lock was not free in time."""


class WrongThreadError(TasksError):
    """A blocking call was made on the event loop that would have to answer it."""


class JobTimeoutError(TasksError):
    """The job ran longer than its job_timeout."""


class WorkerLostError(TasksError):
    """The worker that ran the job died, or lost its lease."""


class PoisonedJobError(WorkerLostError):
    """Too many workers died while they ran the job."""


class JobCanceledError(TasksError):
    """The job was canceled."""


class JobExpiredError(TasksError):
    """The job expired before it could start."""


class HookError(TasksError):
    """A start hook of the worker failed."""


class Retry(Exception):  # noqa: N818 - control flow that tasks raise, named as Celery and ReArq users know it
    """Raise it in a task to run the job again later, within the job's retries.

    ``countdown`` (seconds or a timedelta) or ``eta`` (a datetime) say when; without either, the job's own
    ``job_retry_after`` does. ``count=False`` runs it again without using up one of the job's retries.
    """

    def __init__(
        self,
        message: str = "",
        *,
        countdown: float | dt.timedelta | None = None,
        eta: dt.datetime | None = None,
        count: bool = True,
    ) -> None:
        if countdown is not None and eta is not None:
            raise TypeError("Retry() takes countdown= or eta=, not both")
        super().__init__(message or "the task asked to be run again")
        self.countdown = countdown
        self.eta = eta
        self.count = count


def is_sql_away(error: BaseException) -> bool:
    """Tell whether the database could not be reached, be it in an enqueue that was not accepted for that."""
    return isinstance(error, StoreUnavailableError) or isinstance(error.__cause__, StoreUnavailableError)
