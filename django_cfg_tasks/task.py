"""A declared task: a frozen value that calls its function, and enqueues jobs of it."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload
from uuid import uuid4

from django_cfg_tasks import attribution
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.cron import Cron
from django_cfg_tasks.exceptions import DeclarationError, InvalidOptionError
from django_cfg_tasks.job import Job
from django_cfg_tasks.jobs import MAX_NAME, JobRecord, JobStatus
from django_cfg_tasks.options import (
    DELAY_OPTIONS,
    CallOptions,
    Delay,
    Moment,
    Options,
    TaskOptions,
    expire_time,
    seconds_of,
)
from django_cfg_tasks.serialization import Codec, dumps
from django_cfg_tasks.templates import filled

P = ParamSpec("P")
R = TypeVar("R")

Arguments = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, eq=False)
class Task(Generic[P, R]):
    """A task. Calling it calls the function; `delay`, `enqueue` and their kin make jobs of it.

    ``P`` are the arguments of a job (without the context of a ``bind=True`` task), ``R`` is its result.
    """

    function: Callable[..., Any]
    name: str
    options: TaskOptions = field(default_factory=TaskOptions)
    cron: Cron | None = None
    call: CallOptions = field(default_factory=CallOptions)
    codec: Codec = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= MAX_NAME or not self.name.isprintable():
            raise DeclarationError(f"name={self.name!r}: a task's name has 1 to {MAX_NAME} printable characters.")
        object.__setattr__(self, "codec", Codec(self.function, skip_first=self.options.bind))
        # So that help(), tracebacks and documentation tools show the function; the value itself is frozen.
        for attribute in functools.WRAPPER_ASSIGNMENTS:
            if hasattr(self.function, attribute):
                object.__setattr__(self, attribute, getattr(self.function, attribute))
        object.__setattr__(self, "__wrapped__", self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name} on {self.call.queue or self.options.queue}>"

    @property
    def path(self) -> str:
        """Where the function is written: ``module.qualname``."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the function's parameters, without the context."""
        return self.codec.parameters

    @functools.cached_property
    def is_async(self) -> bool:
        """Whether the function runs on the worker's event loop; others run in threads."""
        return inspect.iscoroutinefunction(self.function)

    def using(self, **options: Unpack[Options]) -> Self:
        """Return a copy whose jobs are enqueued with ``options``; the task itself stays as it is.

        ``queue``, ``countdown`` or ``eta``, ``expire``, ``job_id``, ``job_retry``, ``job_retry_after``,
        ``job_timeout``, ``user``, ``on_commit``, ``even_if_disabled``. InvalidOptionError names what is wrong.
        """
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        object.__setattr__(copy, "call", self.call.changed(**options))
        return copy

    @overload
    async def delay(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, args: Sequence[Any], **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, kwargs: Mapping[str, Any], **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, countdown: Delay | None, **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, eta: dt.datetime | None, **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, expire: Moment | None, **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, job_id: str | None, **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, job_retry: int | None, **options: Any) -> Job[R]: ...
    @overload
    async def delay(self, *arguments: Any, job_retry_after: int | None, **options: Any) -> Job[R]: ...
    async def delay(self, *args: Any, **kwargs: Any) -> Job[R]:
        """Enqueue a job and return its handle, once it is stored.

        Takes the task's arguments, and ReArq's own options among them: ``args=``, ``kwargs=``, ``job_id=``,
        ``countdown=``, ``eta=``, ``expire=``, ``job_retry=``, ``job_retry_after=``. A name that is the task's
        own parameter is the task's; `using` never collides.

        Raises EnqueueError where the job was not accepted: ArgumentsError and SerializationError for
        arguments, InvalidOptionError for options, TasksDisabledError.
        """
        task, own_args, own_kwargs = self._separated(args, kwargs)
        return await task._aenqueue(own_args, own_kwargs)

    @overload
    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, args: Sequence[Any], **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, kwargs: Mapping[str, Any], **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, countdown: Delay | None, **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, eta: dt.datetime | None, **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, expire: Moment | None, **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, job_id: str | None, **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, job_retry: int | None, **options: Any) -> Job[R]: ...
    @overload
    def enqueue(self, *arguments: Any, job_retry_after: int | None, **options: Any) -> Job[R]: ...
    def enqueue(self, *args: Any, **kwargs: Any) -> Job[R]:
        """`delay`, for sync code. Inside ``transaction.atomic()`` the job is part of the transaction."""
        task, own_args, own_kwargs = self._separated(args, kwargs)
        return task._enqueue_all([task.record(own_args, own_kwargs)])[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue a job; all arguments are the task's own, options come by `using`."""
        return await self._aenqueue(args, kwargs)

    def enqueue_many(self, calls: Iterable[Arguments]) -> list[Job[R]]:
        """Enqueue a job for each of ``calls`` in one statement: a mapping of keywords, or a sequence of positionals.

        All are refused where one is. For sync code; inside a transaction as `enqueue`.
        """
        return self._enqueue_all([self.record(*_arguments(call)) for call in calls])

    async def delay_many(self, calls: Iterable[Arguments]) -> list[Job[R]]:
        """`enqueue_many`, for async code."""
        task = await self.attributed()
        records = [task.record(*_arguments(call)) for call in calls]
        client = get_rearq_client()
        return self._jobs(records, await client.aenqueue(records) if records else [])

    aenqueue_many = delay_many

    def _separated(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Self, Sequence[Any], dict[str, Any]]:
        """Part ReArq's options from the task's own arguments."""
        if not kwargs:
            return self, args, kwargs
        own = self.codec.signature.parameters
        chosen = {name: kwargs.pop(name) for name in DELAY_OPTIONS & kwargs.keys() if name not in own}
        positional: Sequence[Any] = args
        if "args" in kwargs and "args" not in own:
            given = kwargs.pop("args")
            if given and args:
                raise InvalidOptionError("Positional arguments were given twice: as such, and as args=.")
            positional = given or args
        if "kwargs" in kwargs and "kwargs" not in own:
            kwargs = {**(kwargs.pop("kwargs") or {}), **kwargs}
        return (self.using(**chosen) if chosen else self), positional, kwargs

    async def _aenqueue(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job[R]:
        record = (await self.attributed()).record(args, kwargs)
        return self._jobs([record], await get_rearq_client().aenqueue([record]))[0]

    async def attributed(self) -> Self:
        """Return the task for the current user, whom `record` could not ask for without blocking the loop."""
        if not attribution.is_known() or self.call.user is not attribution.UNSAID:
            return self
        return self.using(user=await attribution.acurrent_key())

    def _enqueue_all(self, records: list[JobRecord]) -> list[Job[R]]:
        if not records:
            return []
        known = get_rearq_client().enqueue(records, on_commit=self.call.on_commit)
        return self._jobs(records, known)

    def _jobs(self, records: list[JobRecord], known: list[JobRecord | None]) -> list[Job[R]]:
        return [
            Job(existing or record, created=existing is None) for record, existing in zip(records, known, strict=True)
        ]

    def record(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JobRecord:
        """Return the job that a call with these arguments would store; EnqueueError where it is refused."""
        config = get_rearq_client().rearq_config
        call, options = self.call, self.options
        stored_args, stored_kwargs = self.codec.encode(args, kwargs, limit=config.max_argument_bytes)
        now = dt.datetime.now(dt.UTC)
        due = call.due_time(now)
        extra: dict[str, Any] = {}
        if (user := call.user_key()) is not None:
            extra["user"] = user
        if call.job_timeout is not None:
            # JSON knows no infinity; float() reads the word.
            extra["job_timeout"] = "inf" if call.job_timeout == math.inf else call.job_timeout
        if options.lock_key is not None:
            self.lock_key(stored_args, stored_kwargs)  # refuse here what no worker could do
        unique_key, unique_until = self._unique(stored_args, stored_kwargs, now)
        return JobRecord(
            job_id=call.job_id or uuid4().hex,
            task=self.name,
            queue=call.queue or options.queue,
            args=stored_args,
            kwargs=stored_kwargs,
            status=JobStatus.queued if due is None else JobStatus.deferred,
            job_retry=_first(call.job_retry, options.job_retry, config.job_retry),
            job_retry_after=_first(call.job_retry_after, options.job_retry_after, config.job_retry_after),
            enqueue_time=now,
            expire_time=expire_time(call.expire if call.expire is not None else options.expire, now),
            due_time=due,
            options=extra,
            unique_key=unique_key,
            unique_until=unique_until,
            even_if_disabled=call.even_if_disabled,
        )

    def lock_key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return what a job with these stored arguments locks; EnqueueError where ``lock_key=`` can't be filled."""
        template = self.options.lock_key
        return self.name if template is None else filled("lock_key", template, self.codec.arguments(args, kwargs))

    def _unique(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], now: dt.datetime
    ) -> tuple[str | None, dt.datetime | None]:
        """Return what no second job may have, and until when; see `JobRecord.unique_key`."""
        unique, lasting = self.options.unique, self.options.unique_for
        if unique is False:
            return None, None
        arguments = self.codec.arguments(args, kwargs)
        text = dumps(arguments, sort_keys=True) if unique is True else filled("unique", unique, arguments)
        key = hashlib.sha256(f"{self.name}\0{text}".encode()).hexdigest()
        if isinstance(lasting, str):
            return f"{lasting.removeprefix('until_')[0]}:{key}", None
        return f"t:{key}", now + dt.timedelta(seconds=seconds_of(lasting, "unique_for"))


@dataclass(frozen=True, eq=False, repr=False)
class AsyncTask(Task[P, R]):
    """A task whose function is an ``async def``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function; await what it returns."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False, repr=False)
class SyncTask(Task[P, R]):
    """A task whose function is a ``def``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


def _first(chosen: int | None, declared: int | None, configured: int) -> int:
    return chosen if chosen is not None else declared if declared is not None else configured


def _arguments(call: Arguments) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(call, Mapping):
        return (), call
    if isinstance(call, Sequence) and not isinstance(call, str | bytes):
        return call, {}
    raise InvalidOptionError(
        f"{call!r}: each call is a mapping of keyword arguments, or a sequence of positional ones."
    )
