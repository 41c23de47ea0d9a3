"""What was enqueued, as tests ask for it: captured in a block, counted, asserted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from django_cfg_tasks import conf
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import ArgumentsError, ConfigurationError
from django_cfg_tasks.job import Job
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.options import expire_time
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.serialization import encode_argument
from django_cfg_tasks.task import Task
from django_cfg_tasks.testing.settings import use_backend

if TYPE_CHECKING:
    from django_cfg_tasks.testing.client import LocalClient

MOST_SHOWN = 10


@dataclass(frozen=True)
class EnqueuedTask:
    """A job as it was enqueued. Arguments are what the task gets: written as JSON, and read back."""

    task: Task[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    job: Job[Any]
    """Its handle; ``job.refresh()`` tells how it stands now."""
    user: Any
    """The key of the user it belongs to, or None."""
    job_timeout: float | None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by the names of their parameters, without defaults."""
        return dict(self.task.codec.signature.bind(*self.args, **self.kwargs).arguments)

    @property
    def queue(self) -> str:
        """The queue that it was put in."""
        return self.job.queue

    def __str__(self) -> str:
        given = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        due = f", due {self.job.due_time.isoformat()}" if self.job.due_time is not None else ""
        return f"{self.task.name}({', '.join(given)}) on {self.queue}{due}"


class CapturedTasks(Sequence[EnqueuedTask]):
    """What was enqueued in a block, in that order; without what a rollback has undone."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._records: list[JobRecord] = []

    def note(self, records: list[JobRecord]) -> None:
        """Take jobs in."""
        self._records.extend(record.snapshot() for record in records)

    def __len__(self) -> int:
        return len(self._standing())

    @overload
    def __getitem__(self, index: int) -> EnqueuedTask: ...
    @overload
    def __getitem__(self, index: slice) -> list[EnqueuedTask]: ...
    def __getitem__(self, index: int | slice) -> EnqueuedTask | list[EnqueuedTask]:
        return self._standing()[index]

    def __repr__(self) -> str:
        return f"<CapturedTasks {[str(each) for each in self._standing()]}>"

    def of(self, task: Task[..., Any], /, *args: Any, **kwargs: Any) -> list[EnqueuedTask]:
        """Return those of ``task`` that have these arguments; see `enqueued`."""
        return [
            each
            for each in self._standing()
            if each.task.name == task.name and not _differences(each, task, args, kwargs)
        ]

    def _standing(self) -> list[EnqueuedTask]:
        there = {record.job_id for record in self._client.jobs.accepted()}
        return [_seen(record) for record in self._records if record.job_id in there]


@contextmanager
def capture_tasks() -> Iterator[CapturedTasks]:
    """Collect what is enqueued in the block, by any thread.

    With the backend of production nothing is sent there: within the block the backend is ``memory``.
    """
    if conf.get_config().backend == "rearq":
        with use_backend("memory"), _captured(local_client()) as found:
            yield found
    else:
        with _captured(local_client()) as found:
            yield found


@contextmanager
def _captured(client: LocalClient) -> Iterator[CapturedTasks]:
    found = CapturedTasks(client)
    client.listeners.append(found.note)
    try:
        yield found
    finally:
        client.listeners.remove(found.note)


def local_client() -> LocalClient:
    """Return the client; ConfigurationError where it is that of production."""
    from django_cfg_tasks.testing.client import LocalClient

    client = get_rearq_client()
    if not isinstance(client, LocalClient):
        raise ConfigurationError(
            'What is enqueued can be looked at with TaskConfig(backend="memory") or (backend="immediate"), and this is '
            f'backend={conf.get_config().backend!r}. Use capture_tasks(), use_backend("memory") or the pytest fixture '
            "memory_tasks."
        )
    return client


def enqueued(task: Task[..., Any] | None = None, /, *args: Any, **kwargs: Any) -> list[EnqueuedTask]:
    """Return what was enqueued in this test, oldest first: all of it, or jobs of ``task``.

    With arguments: jobs that have these, whatever others they have. What `Task.using` was given is compared too:
    ``enqueued(send.using(queue="high"), to="a@example.com")``. ArgumentsError for an argument that the task has not.
    """
    if task is None:
        return _all()
    return [each for each in _all() if each.task.name == task.name and not _differences(each, task, args, kwargs)]


def assert_enqueued(task: Task[..., Any], /, *args: Any, **kwargs: Any) -> EnqueuedTask:
    """Return the first job that `enqueued` finds; AssertionError, which shows what there is instead, for none."""
    __tracebackhide__ = True
    found = enqueued(task, *args, **kwargs)
    if not found:
        raise AssertionError(_nothing_like(task, args, kwargs))
    return found[0]


def assert_not_enqueued(task: Task[..., Any], /, *args: Any, **kwargs: Any) -> None:
    """Raise AssertionError if `enqueued` finds a job."""
    __tracebackhide__ = True
    found = enqueued(task, *args, **kwargs)
    if found:
        raise AssertionError(f"{len(found)} such job(s) were enqueued:\n{_listed(found)}")


def _all() -> list[EnqueuedTask]:
    return [_seen(record) for record in local_client().jobs.accepted()]


def _seen(record: JobRecord) -> EnqueuedTask:
    task = tasks[record.task]
    args, kwargs = task.codec.decode(record.args, record.kwargs)
    timeout = record.options.get("job_timeout")
    return EnqueuedTask(
        task=task,
        args=args,
        kwargs=kwargs,
        job=Job(record),
        user=record.options.get("user"),
        job_timeout=None if timeout is None else float(timeout),
    )


def _differences(each: EnqueuedTask, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Say how a job of ``task`` differs from what is expected."""
    stored = task.codec.signature.bind(*each.job.args, **each.job.kwargs).arguments
    found = []
    for name, value in _expected(task, args, kwargs).items():
        if name not in stored:
            found.append(f"{name} is not given")
        elif stored[name] != encode_argument(value, name):
            found.append(f"{name} is {each.arguments[name]!r}, not {value!r}")
    for name, (wanted, is_now) in _options(each, task).items():
        if wanted != is_now:
            found.append(f"{name} is {is_now!r}, not {wanted!r}")
    return found


def _expected(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(task.codec.signature.bind_partial(*args, **kwargs).arguments)
    except TypeError as error:
        raise ArgumentsError(f"{task.name}{task.codec.signature} takes no such arguments: {error}.") from None


def _options(each: EnqueuedTask, task: Task[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return, for each option that ``task`` was given by `using`, what it says and what the job has."""
    call, job = task.call, each.job
    now = job.enqueue_time
    pairs = {
        "queue": (call.queue, job.queue),
        "job_id": (call.job_id, job.job_id),
        "job_retry": (call.job_retry, job.job_retry),
        "job_retry_after": (call.job_retry_after, job.job_retry_after),
        "job_timeout": (call.job_timeout, each.job_timeout),
        "user": (call.user_key(), each.user),
        "expire": (expire_time(call.expire, now), job.expire_time),
    }
    given = {name: pair for name, pair in pairs.items() if pair[0] is not None}
    if call.countdown is not None or call.eta is not None:
        given["due"] = call.due_time(now), job.due_time
    return given


def _nothing_like(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    everything = _all()
    wanted = [repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    what = f"{task.name}({', '.join(wanted)})" if wanted else f"a job of {task.name}"
    if not everything:
        return f"Not enqueued: {what}. Nothing was. (What a rollback has undone does not count.)"
    near = sorted(
        ((_differences(each, task, args, kwargs), each) for each in everything if each.task.name == task.name),
        key=lambda pair: len(pair[0]),
    )
    lines = [f"Not enqueued: {what}."]
    if near:
        lines += ["The nearest:", f"  {near[0][1]}", *(f"    {difference}" for difference in near[0][0])]
    others = [each for each in everything if not near or each is not near[0][1]]
    if others:
        lines += ["There were also:" if near else "There were:", _listed(others)]
    return "\n".join(lines)


def _listed(found: Sequence[EnqueuedTask]) -> str:
    more = [f"  … and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
    return "\n".join([f"  {each}" for each in found[:MOST_SHOWN]] + more)


__all__ = ["CapturedTasks", "EnqueuedTask", "assert_enqueued", "assert_not_enqueued", "capture_tasks", "enqueued"]
