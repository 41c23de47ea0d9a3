"""What can be said about a task when it is declared, and about a call when it is made; checked here."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypedDict

from django_cfg_tasks import conf
from django_cfg_tasks.attribution import UNSAID, current_key
from django_cfg_tasks.exceptions import DeclarationError, InvalidOptionError, TasksError
from django_cfg_tasks.jobs import MAX_NAME, MAX_QUEUE_NAME

Delay = float | dt.timedelta
Moment = dt.datetime | dt.timedelta | float
Errors = tuple[type[BaseException], ...]
ErrorClasses = type[BaseException] | Iterable[type[BaseException]]
UniqueFor = Literal["until_start", "until_done"] | float | dt.timedelta
_RATE = re.compile(r"(?P<count>[1-9]\d{0,8})/(?P<number>[1-9]\d{0,8})?(?P<unit>[smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST_SECONDS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is run. None means: as `RearqConfig` says. Times are seconds."""

    queue: str = "default"
    job_retry: int | None = None
    job_retry_after: int | None = None
    job_timeout: float | None = None
    """How long a run may take; ``math.inf`` sets no limit."""
    retry_backoff: bool | float = False
    """The pause before the first retry, doubled before each further one; True: starts with ``job_retry_after``."""
    retry_backoff_max: float = 3600
    """What the doubled pause never exceeds."""
    retry_jitter: bool = False
    """Take up to half of each pause off, by chance, so that jobs which failed together don't come back together."""
    retry_on: Errors | None = None
    """Only these errors are retried."""
    do_not_retry: Errors = ()
    """These errors are not retried; they go before ``retry_on``."""
    expire: Moment | None = None
    bind: bool = False
    run_with_lock: bool = False
    lock_timeout: float = 300
    lock_key: str | None = None
    """A template of arguments: only jobs for which it gives the same text wait for each other. It implies the lock."""
    max_concurrent: int | None = None
    """How many jobs run at once, over all workers."""
    rate_limit: str | None = None
    """How many jobs start in a time, over all workers: "10/s", "100/m", "5/10s"."""
    unique: bool | str = False
    """Whether a second job with the same arguments (True), or for which this template gives the same text, is left."""
    unique_for: UniqueFor = "until_done"
    mask: tuple[str, ...] = ()
    """Further argument names whose values are never shown."""
    log_args: bool = True
    """False keeps arguments and result out of the history."""
    allow_api: bool = False
    """Whether jobs of it may be enqueued over the REST API."""

    def __post_init__(self) -> None:
        check_queue(self.queue, DeclarationError)
        _check_retries(self.job_retry, self.job_retry_after, DeclarationError)
        _check_timeout(self.job_timeout, DeclarationError)
        self._check_retry_policy()
        self._check_limits()
        if self.expire is not None:
            _check_moment(self.expire, "expire", DeclarationError)
        if isinstance(self.mask, str):
            raise DeclarationError(f"mask={self.mask!r}: it takes the names in a list, as in mask=[{self.mask!r}].")
        if not isinstance(self.mask, tuple) or not all(isinstance(name, str) for name in self.mask):
            raise DeclarationError(f"mask={self.mask!r}: it takes a list of names.")
        if not isinstance(self.allow_api, bool):
            raise DeclarationError(f"allow_api={self.allow_api!r}: it takes True or False.")

    def as_dict(self) -> dict[str, Any]:
        """Return all options as JSON data: exceptions by their names, times as seconds or in ISO 8601."""
        return {field.name: _shown(getattr(self, field.name)) for field in fields(self)}

    @property
    def is_gated(self) -> bool:
        """Whether its jobs may have to wait for others though a worker is free."""
        return self.run_with_lock or self.lock_key is not None or bool(self.max_concurrent) or bool(self.rate_limit)

    def _check_limits(self) -> None:
        if not _is_number(self.lock_timeout) or not 1 <= self.lock_timeout <= 86_400:
            raise DeclarationError(f"lock_timeout={self.lock_timeout!r}: a lock is held for 1 to 86400 seconds.")
        if self.lock_key is not None and not (isinstance(self.lock_key, str) and self.lock_key):
            raise DeclarationError(f'lock_key={self.lock_key!r}: it takes a text such as "account:{{account_id}}".')
        most = self.max_concurrent
        if most is not None and (type(most) is not int or not 1 <= most <= 100_000):
            raise DeclarationError(f"max_concurrent={most!r}: it takes a whole number from 1 to 100000.")
        if self.rate_limit is not None:
            rate_of(self.rate_limit)
        if not isinstance(self.unique, bool) and not (isinstance(self.unique, str) and self.unique):
            raise DeclarationError(f'unique={self.unique!r}: it takes True, or a text such as "report:{{day}}".')
        if self.unique_for not in ("until_start", "until_done"):
            try:
                seconds = seconds_of(self.unique_for, "unique_for")  # type: ignore[arg-type]
            except InvalidOptionError:
                seconds = 0
            if seconds <= 0:
                raise DeclarationError(
                    f'unique_for={self.unique_for!r}: it takes "until_start", "until_done", or seconds above 0.'
                )

    def _check_retry_policy(self) -> None:
        for name in ("retry_backoff", "retry_backoff_max"):
            value = getattr(self, name)
            if name == "retry_backoff" and isinstance(value, bool):
                continue
            if not _is_number(value) or not 0 < value <= _MOST_SECONDS:
                also = "True, or " if name == "retry_backoff" else ""
                raise DeclarationError(f"{name}={value!r}: it takes {also}seconds above 0.")
        if not isinstance(self.retry_jitter, bool):
            raise DeclarationError(f"retry_jitter={self.retry_jitter!r}: it takes True or False.")
        for name in ("retry_on", "do_not_retry"):
            value = getattr(self, name)
            if value is None and name == "retry_on":
                continue
            if not isinstance(value, tuple) or not all(_is_error_class(kind) for kind in value):
                raise DeclarationError(
                    f"{name}={value!r}: it takes exception classes, as in {name}=(ConnectionError,)."
                )


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one job is enqueued; unset fields leave it to the task, then to the configuration."""

    queue: str | None = None
    job_id: str | None = None
    countdown: Delay | None = None
    eta: dt.datetime | None = None
    expire: Moment | None = None
    job_retry: int | None = None
    job_retry_after: int | None = None
    job_timeout: float | None = None
    user: Any = UNSAID
    """For whom; None: for nobody, whoever is current."""
    on_commit: bool = True
    even_if_disabled: bool = False

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_queue(self.queue, InvalidOptionError)
        if self.job_id is not None:
            check_job_id(self.job_id)
        if self.countdown is not None and self.eta is not None:
            raise InvalidOptionError("countdown= and eta= both say when; give one of them.")
        if self.eta is not None and not isinstance(self.eta, dt.datetime):
            raise InvalidOptionError(f"eta={self.eta!r}: it takes a datetime; for a delay use countdown=.")
        if self.expire is not None:
            _check_moment(self.expire, "expire", InvalidOptionError)
        if self.countdown is not None:
            seconds_of(self.countdown, "countdown")
        _check_retries(self.job_retry, self.job_retry_after, InvalidOptionError)
        _check_timeout(self.job_timeout, InvalidOptionError)

    def changed(self, **options: Any) -> Self:
        """Return a copy with ``options`` changed; InvalidOptionError names one that doesn't exist."""
        unknown = options.keys() - CALL_OPTIONS
        if unknown:
            raise InvalidOptionError(
                f"There is no option {sorted(unknown)[0]!r}. There are: {', '.join(sorted(CALL_OPTIONS))}."
            )
        return replace(self, **options)

    def due_time(self, now: dt.datetime) -> dt.datetime | None:
        """Return when the job is due, or None for at once."""
        if self.countdown is not None:
            seconds = seconds_of(self.countdown, "countdown")
            return now + dt.timedelta(seconds=seconds) if seconds > 0 else None
        if self.eta is not None:
            eta = aware(self.eta)
            return eta if eta > now else None
        return None

    def user_key(self) -> Any:
        """Return the primary key of the user the job belongs to, as JSON data, or None.

        Where the call does not say, it is the current user's.
        """
        key = current_key() if self.user is UNSAID else getattr(self.user, "pk", self.user)
        return key if key is None or isinstance(key, int | str) else str(key)


class Options(TypedDict, total=False):
    """The fields of CallOptions, for type checkers: what `Task.using` takes."""

    queue: str | None
    job_id: str | None
    countdown: Delay | None
    eta: dt.datetime | None
    expire: Moment | None
    job_retry: int | None
    job_retry_after: int | None
    job_timeout: float | None
    user: Any
    on_commit: bool
    even_if_disabled: bool


class TaskDeclaration(TypedDict, total=False):
    """What `@task` and `@cron_task` take beside ``name`` and ``bind``, for type checkers."""

    queue: str
    job_retry: int | None
    job_retry_after: int | None
    job_timeout: float | None
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    retry_on: ErrorClasses | None
    do_not_retry: ErrorClasses
    expire: Moment | None
    run_with_lock: bool
    lock_timeout: float
    lock_key: str | None
    max_concurrent: int | None
    rate_limit: str | None
    unique: bool | str
    unique_for: UniqueFor
    mask: Iterable[str]
    log_args: bool
    allow_api: bool


CALL_OPTIONS = frozenset(field.name for field in fields(CallOptions))
DELAY_OPTIONS = frozenset({"job_id", "countdown", "eta", "expire", "job_retry", "job_retry_after"})
"""What ReArq's own ``delay()`` takes among a task's arguments."""


def expire_time(expire: Moment | None, now: dt.datetime) -> dt.datetime | None:
    """Return the moment after which a job is not started any more."""
    if expire is None:
        return None
    if isinstance(expire, dt.datetime):
        return aware(expire)
    return now + dt.timedelta(seconds=seconds_of(expire, "expire"))


def aware(moment: dt.datetime) -> dt.datetime:
    """Return ``moment`` in UTC; a naive one is read in Django's time zone."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=conf.current_timezone())
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise InvalidOptionError(f"{moment!r} lies outside the calendar in UTC.") from None


def seconds_of(value: Delay, name: str) -> float:
    """Return a number or timedelta as seconds; InvalidOptionError where it is neither, or endless."""
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    if not _is_number(seconds):
        raise InvalidOptionError(f"{name}={value!r}: it takes seconds as a number, or a timedelta.")
    if not abs(seconds) <= _MOST_SECONDS:
        raise InvalidOptionError(f"{name}={value!r}: it takes at most {_MOST_SECONDS:,} seconds, about 300 years.")
    return float(seconds)


def rate_of(rate_limit: str) -> tuple[int, float]:
    """Return a rate limit as how many, and in how many seconds; DeclarationError where it is none."""
    match = _RATE.fullmatch(rate_limit) if isinstance(rate_limit, str) else None
    if match is None:
        raise DeclarationError(
            f'rate_limit={rate_limit!r}: it takes a number and a time, as in "10/s", "100/m", "5/10s" or "1000/d".'
        )
    return int(match["count"]), float(int(match["number"] or 1) * _UNIT_SECONDS[match["unit"]])


def check_queue(queue: Any, error: type[TasksError]) -> None:
    """Raise ``error`` unless ``queue`` can be a queue's name."""
    if not isinstance(queue, str) or not queue or len(queue) > MAX_QUEUE_NAME:
        raise error(f"queue={queue!r}: a queue's name has 1 to {MAX_QUEUE_NAME} characters.")
    if ":" in queue or not queue.isprintable() or any(character.isspace() for character in queue):
        raise error(f"queue={queue!r}: a queue's name holds no spaces, colons or control characters.")


def check_job_id(job_id: Any) -> None:
    """Raise InvalidOptionError unless ``job_id`` can be a job's id."""
    if not isinstance(job_id, str) or not 0 < len(job_id) <= MAX_NAME or not job_id.isprintable():
        raise InvalidOptionError(f"job_id={job_id!r}: an id is a text of 1 to {MAX_NAME} printable characters.")


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(each) for each in value]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}".removeprefix("builtins.")
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return "inf" if value == math.inf else value


def _check_moment(value: Any, name: str, error: type[TasksError]) -> None:
    if isinstance(value, dt.datetime):
        return
    if not isinstance(value, dt.timedelta) and not _is_number(value):
        raise error(f"{name}={value!r}: it takes seconds as a number, a timedelta or a datetime.")
    try:
        seconds_of(value, name)
    except InvalidOptionError as unusable:
        raise error(str(unusable)) from None


def _check_retries(retry: Any, after: Any, error: type[TasksError]) -> None:
    for name, value in (("job_retry", retry), ("job_retry_after", after)):
        if value is not None and (type(value) is not int or not 0 <= value <= 31_536_000):
            what = "how often a failed job is run again" if name == "job_retry" else "the seconds before a retry"
            raise error(f"{name}={value!r}: it takes {what}, a whole number from 0.")


def _check_timeout(timeout: Any, error: type[TasksError]) -> None:
    if timeout is None or timeout == math.inf:
        return
    if not _is_number(timeout) or not 0 < timeout <= _MOST_SECONDS:
        raise error(f"job_timeout={timeout!r}: it takes seconds above 0, or math.inf for no limit.")


def _is_error_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)
