"""`@task` and `@cron_task`: they declare and register, and do nothing else.

Importing a tasks module needs no Redis, no database and no ready apps.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from django_cfg_tasks.cron import CatchUp, Cron, Overlap, grace_of, zone_of
from django_cfg_tasks.exceptions import DeclarationError, SerializationError
from django_cfg_tasks.options import TaskDeclaration, TaskOptions
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.schedule import Schedule
from django_cfg_tasks.task import AsyncTask, SyncTask, Task
from django_cfg_tasks.templates import check_template

P = ParamSpec("P")
R = TypeVar("R")
RunAtStart = bool | Sequence[Any] | Mapping[str, Any]


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class _BindDecorator(Protocol):
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
@overload
def task(function: Callable[P, R], /) -> SyncTask[P, R]: ...
@overload
def task(*, bind: Literal[True], name: str | None = ..., **options: Unpack[TaskDeclaration]) -> _BindDecorator: ...
@overload
def task(*, bind: Literal[False] = ..., name: str | None = ..., **options: Unpack[TaskDeclaration]) -> _Decorator: ...
def task(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Declare a function, ``async def`` or ``def``, as a task; as ``@task`` or ``@task(...)``.

    ``queue``: where its jobs wait. ``name``: by default the function's own; unique in the project.
    ``bind=True``: the function gets a context first (``job_id``, ``attempt``, ``task``, ``queue``,
    ``progress()``). ``job_retry``, ``job_retry_after`` and ``job_timeout`` (seconds): instead of the
    configuration's. ``retry_backoff`` (True, or seconds to start with), ``retry_backoff_max``,
    ``retry_jitter``: pauses between retries that grow. ``retry_on``, ``do_not_retry``: exception classes, which
    errors are worth a retry. ``expire``: jobs not started by then never are. ``run_with_lock``, ``lock_timeout``
    (seconds): one run at a time over all workers, or with ``lock_key`` (a template of arguments such as
    "account:{account_id}") one for each text that it gives. ``max_concurrent``, ``rate_limit`` ("10/s"): how many
    run at once, or start in a time, over all workers. ``unique`` (True, or a template of arguments), ``unique_for``
    ("until_start", "until_done" or seconds): a second job like it is not enqueued. ``mask``: argument names to hide
    wherever arguments are shown; ``log_args=False``: keep them out of the history altogether. ``allow_api=True``:
    jobs of it may be enqueued over the REST API.

    DeclarationError says what can't be declared; DuplicateTaskError names both places of a name.
    """
    if function is not None:
        return _declare(function, name, None, options)
    return lambda function: _declare(function, name, None, options)


@overload
def cron_task(
    cron: str,
    *,
    bind: Literal[True],
    run_at_start: RunAtStart = ...,
    timezone: str | dt.tzinfo | None = ...,
    misfire_grace: float | dt.timedelta = ...,
    catch_up: CatchUp = ...,
    overlap: Overlap = ...,
    name: str | None = ...,
    **options: Unpack[TaskDeclaration],
) -> _BindDecorator: ...
@overload
def cron_task(
    cron: str,
    *,
    bind: Literal[False] = ...,
    run_at_start: RunAtStart = ...,
    timezone: str | dt.tzinfo | None = ...,
    misfire_grace: float | dt.timedelta = ...,
    catch_up: CatchUp = ...,
    overlap: Overlap = ...,
    name: str | None = ...,
    **options: Unpack[TaskDeclaration],
) -> _Decorator: ...
def cron_task(
    cron: str,
    *,
    run_at_start: RunAtStart = False,
    timezone: str | dt.tzinfo | None = None,
    misfire_grace: float | dt.timedelta = 300,
    catch_up: CatchUp = "latest",
    overlap: Overlap = "allow",
    name: str | None = None,
    **options: Any,
) -> Any:
    """Declare a task that the timer enqueues by itself.

    ``cron``: five fields (minute hour day month weekday), six with seconds first, or an alias such as
    ``@hourly``, read in ``timezone`` (a name such as "Europe/Paris"), by default Django's. ``run_at_start``: also
    once when a timer starts, with a sequence of positional or a mapping of keyword arguments if given.
    ``catch_up``: which due times that passed while no timer ran are made up for, unless they passed more than
    ``misfire_grace`` (seconds) ago: "none", the "latest", or "all". ``overlap``: "skip" leaves a due time out while
    the job of an earlier one is not final. The other options are those of `task`; it can be enqueued like any other.

    InvalidCronError names the field at fault, DeclarationError the option.
    """
    if callable(cron):
        raise DeclarationError('@cron_task needs to know when: @cron_task(cron="0 * * * *").')
    if not isinstance(run_at_start, bool | Mapping):
        if isinstance(run_at_start, str | bytes) or not isinstance(run_at_start, Sequence):
            raise DeclarationError(f"run_at_start={run_at_start!r}: it takes True, or a tuple or dict of arguments.")
        run_at_start = tuple(run_at_start)
    elif isinstance(run_at_start, Mapping):
        run_at_start = dict(run_at_start)
    declared = Cron(
        Schedule.parse(cron),
        run_at_start,
        timezone=zone_of(timezone),
        misfire_grace=grace_of(misfire_grace),
        catch_up=catch_up,
        overlap=overlap,
    )
    return lambda function: _declare(function, name, declared, options)


def _declare(
    function: Callable[..., Any], name: str | None, cron: Cron | None, options: dict[str, Any]
) -> Task[..., Any]:
    if isinstance(function, Task):
        raise DeclarationError(f"{function.path} is a task already; one decorator is enough.")
    if isinstance(function, staticmethod | classmethod):
        raise DeclarationError(
            f"{function.__func__.__qualname__}: put @{type(function).__name__} above @task, not below."
        )
    if not callable(function) or not hasattr(function, "__qualname__") or inspect.isclass(function):
        raise DeclarationError(f"{function!r} can't be a task: a task is a function, async or not.")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise DeclarationError(f"{function.__qualname__} can't be a task: a task returns once, it doesn't yield.")
    unknown = options.keys() - TaskOptions.__dataclass_fields__.keys()
    if unknown:
        known = ", ".join(sorted(TaskOptions.__dataclass_fields__))
        raise DeclarationError(f"A task has no option {sorted(unknown)[0]!r}. It has: name, {known}.")
    if name is None and function.__name__ == "<lambda>":
        raise DeclarationError(
            f'A lambda in {function.__module__} has no name of its own: task(name="...")(lambda ...).'
        )
    options = {name: _frozen(value) if name in _TUPLES else value for name, value in options.items()}
    kind = AsyncTask if inspect.iscoroutinefunction(function) else SyncTask
    declared: Task[..., Any] = kind(function, function.__name__ if name is None else name, TaskOptions(**options), cron)
    for option in ("lock_key", "unique"):
        template = getattr(declared.options, option)
        if isinstance(template, str):
            check_template(option, template, declared.codec.signature.parameters)
    if cron is not None:
        _check_arguments(declared, cron)
    tasks.add(declared)
    return declared


_TUPLES = frozenset({"mask", "retry_on", "do_not_retry"})


def _frozen(value: Any) -> Any:
    """Return a list as a tuple, a lone exception class as one of one; `TaskOptions` checks the rest."""
    if isinstance(value, type) and issubclass(value, BaseException):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _check_arguments(declared: Task[..., Any], cron: Cron) -> None:
    """The timer calls without arguments, or with those of run_at_start: refuse here what it could not."""
    start = cron.run_at_start
    calls: list[tuple[Sequence[Any], Mapping[str, Any]]] = [((), {})]
    if not isinstance(start, bool):
        calls.append(((), start) if isinstance(start, dict) else (start, {}))
    for args, kwargs in calls:
        try:
            declared.codec.signature.bind(*args, **kwargs)
        except TypeError as error:
            shown = "run_at_start" if args or kwargs else "the timer, which gives no arguments,"
            raise DeclarationError(
                f"{declared.path}{declared.codec.signature}: {shown} can't call it: {error}."
            ) from None
        try:
            declared.codec.encode(args, kwargs)
        except SerializationError as error:
            raise DeclarationError(f"{declared.path}: run_at_start={start!r}: {error}") from None
