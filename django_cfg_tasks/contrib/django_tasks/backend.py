"""The backend: takes Django's tasks in as jobs, and answers what became of them. It knows the client's public face."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core import checks

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.contrib.django_tasks.declared import declare, declared
from django_cfg_tasks.contrib.django_tasks.framework import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    normalize_json,
    task_backends,
    task_enqueued,
)
from django_cfg_tasks.contrib.django_tasks.priorities import (
    HIGHEST,
    LEVELS,
    LOWEST,
    SEPARATOR,
    lane_of,
    lanes_of,
    note_levels,
)
from django_cfg_tasks.contrib.django_tasks.results import described, result_of, task_of
from django_cfg_tasks.exceptions import ArgumentsError, DeclarationError, InvalidOptionError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.options import CallOptions, TaskOptions, check_queue
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task as EngineTask

NOT_INSTALLED = "django_cfg_tasks.E007"
PRIORITY_LEVELS = "priority_levels"
OF_A_JOB = ("job_retry", "job_retry_after", "job_timeout", "expire")
"""What ``OPTIONS`` says for each job that the backend takes in, and for any job of the tasks declared with it."""
OF_A_TASK = ("retry_backoff", "retry_backoff_max", "retry_jitter", "mask", "log_args")
"""What it says for those alone."""


class ReArqBackend(BaseTaskBackend):
    """Runs Django's tasks as jobs of the engine, on its workers.

    ``OPTIONS`` takes ``job_retry`` (0 by default, as Django knows no retries), ``job_retry_after``, ``job_timeout``,
    ``expire``, ``retry_backoff``, ``retry_backoff_max``, ``retry_jitter``, ``mask`` and ``log_args``, which mean what
    they mean to `task`, and ``priority_levels``. InvalidTaskBackend says what can't be used.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._levels = self._checked_levels(self.options.get(PRIORITY_LEVELS, LEVELS))
        self._for_jobs, self._for_tasks = self._checked_options(self.options)
        for queue in self.queues:
            self._check_queue(queue, InvalidTaskBackend, f"TASKS[{alias!r}]: ")
        note_levels(self.queues, self._levels)
        tasks.add_queues(self.queues)

    def validate_task(self, task: AnyTask) -> None:
        """Raise InvalidTask where it can't be run, as Django's backends do; the engine knows it from then on."""
        super().validate_task(task)
        self._check_queue(task.queue_name, InvalidTask)
        try:
            declare(task, self._for_tasks | self._for_jobs)
        except DeclarationError as error:
            raise InvalidTask(str(error)) from error

    def enqueue(  # type: ignore[override]  # what a task takes and returns is not asked here
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AnyResult:
        """Store a job, inside ``transaction.atomic()`` as part of the transaction, and return its result.

        TypeError for arguments that are no JSON, or that the function does not take; EnqueueError where the job was
        not accepted.
        """
        self.validate_task(task)
        record = self._record(task, tasks[task.module_path], args, kwargs)
        get_rearq_client().enqueue([record])
        result = result_of(record, task)
        task_enqueued.send(type(self), task_result=result)
        return result

    async def aenqueue(  # type: ignore[override]
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AnyResult:
        """`enqueue`, for async code; it knows no transaction."""
        self.validate_task(task)
        record = self._record(task, await tasks[task.module_path].attributed(), args, kwargs)
        await get_rearq_client().aenqueue([record])
        result = result_of(record, task)
        await task_enqueued.asend(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> AnyResult:
        """Return how a job stands; TaskResultDoesNotExist if there is none of that id, or its task is not Django's."""
        return self._found(result_id, get_rearq_client().load([str(result_id)]))

    async def aget_result(self, result_id: str) -> AnyResult:
        """`get_result`, for async code."""
        return self._found(result_id, await get_rearq_client().aload([str(result_id)]))

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Report that the app is missing without which no job is stored."""
        found = list(super().check(**kwargs))
        if not apps.is_installed("django_cfg_tasks"):
            found.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] names {type(self).__name__}, but the app 'django_cfg_tasks' is not "
                    "installed.",
                    hint="Add 'django_cfg_tasks' to INSTALLED_APPS, and run migrate.",
                    id=NOT_INSTALLED,
                )
            )
        return found

    def _record(
        self, task: AnyTask, engine: EngineTask[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> JobRecord:
        lane = lane_of(task.queue_name, task.priority, self._levels)
        call = engine.using(queue=lane, eta=task.run_after, **self._for_jobs)
        try:
            record = call.record(normalize_json(args), normalize_json(kwargs))
        except ArgumentsError as error:
            # As calling the function would; who uses Django's framework knows none of our errors.
            raise TypeError(str(error)) from error
        record.options |= described(task)
        return record

    def _found(self, result_id: str, found: Mapping[str, JobRecord]) -> AnyResult:
        record = found.get(str(result_id))
        task = declared(record.task) if record is not None else None
        if record is None or task is None:
            raise TaskResultDoesNotExist(result_id)
        if task.backend != self.alias:
            task = task.using(backend=self.alias)
        return result_of(record, task_of(record, task))

    def _check_queue(self, queue: str, error: type[Exception], where: str = "") -> None:
        try:
            check_queue(queue, InvalidOptionError)
        except InvalidOptionError as refusal:
            raise error(f"{where}{refusal}") from None
        if SEPARATOR in queue:
            raise error(f"{where}queue={queue!r}: a queue's name holds no {SEPARATOR!r}, which parts its priorities.")

    def _checked_levels(self, levels: Any) -> tuple[int, ...]:
        if not isinstance(levels, list | tuple | set) or not all(_is_priority(level) for level in levels):
            why = f"it takes a list of whole numbers from {LOWEST} to {HIGHEST}"
            raise InvalidTaskBackend(self._told(PRIORITY_LEVELS, levels, why))
        return tuple(levels)

    def _checked_options(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        known = {*OF_A_JOB, *OF_A_TASK, PRIORITY_LEVELS}
        for name in options.keys() - known:
            raise InvalidTaskBackend(self._told(name, options[name], f"there are {', '.join(sorted(known))}"))
        for_jobs = {"job_retry": 0, **{name: options[name] for name in OF_A_JOB if name in options}}
        for_tasks = {name: options[name] for name in OF_A_TASK if name in options}
        if isinstance(for_tasks.get("mask"), list):
            for_tasks["mask"] = tuple(for_tasks["mask"])
        try:
            CallOptions(**for_jobs)
            TaskOptions(**for_tasks)
        except (InvalidOptionError, DeclarationError) as refusal:
            raise InvalidTaskBackend(f"TASKS[{self.alias!r}]: OPTIONS: {refusal}") from None
        return for_jobs, for_tasks

    def _told(self, name: str, value: Any, why: str) -> str:
        return f"TASKS[{self.alias!r}]: OPTIONS[{name!r}] = {value!r}: {why}."


def _is_priority(value: Any) -> bool:
    return type(value) is int and LOWEST <= value <= HIGHEST


def connect(backends: Iterable[str]) -> None:
    """Make those of these backends that are ours, so that this process consumes their queues and finds their tasks."""
    for alias in backends:
        if task_backends.settings[alias].get("BACKEND", "").startswith(f"{__package__}."):
            task_backends[alias]


tasks.lanes = lanes_of
