"""What the buttons do, and the same for machines: asked for by a user, done by the engine, and kept who did it.

Each takes the fields of ReArq's forms, as texts or as JSON data, and says what it did; PermissionDenied where the user
may not, and a TasksError where it can't be done.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.utils.dateparse import parse_datetime

from django_cfg_tasks.acts import audit, changes, jobs
from django_cfg_tasks.acts.permissions import CANCEL, DELETE, MANAGE, RUN
from django_cfg_tasks.acts.tasks import declared, enqueue
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import ArgumentsError, InvalidOptionError, JobNotFoundError, WrongStateError
from django_cfg_tasks.history.rows import masked
from django_cfg_tasks.live import ask
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.monitor.lists import MOST_ROWS

T = TypeVar("T")
Fields = Mapping[str, Any]

_KINDS: dict[type[Any], str] = {list: "a list, as in [1, 2]", dict: 'an object, as in {"to": "ada"}'}


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, in words and for machines."""

    said: str
    data: dict[str, Any] = field(default_factory=dict)
    job_id: str | None = None


def may_run(user: Any, task: Any) -> bool:
    """Tell whether a user may enqueue a job of a task with arguments of his own.

    As over the REST API: those that are declared with ``allow_api=True``. Who may do everything may do this too.
    """
    return bool(user.has_perm(RUN) and (task.options.allow_api or user.is_superuser))


def run(user: Any, fields: Fields) -> Done:
    """Enqueue a job."""
    _require(user, RUN)
    task = declared(_text(fields, "task"))
    args, kwargs = _json(fields, "args", list) or [], _json(fields, "kwargs", dict) or {}
    # A cron task's own call, which its timer makes as well, needs no more than the permission.
    if not may_run(user, task) and (task.cron is None or args or kwargs):
        raise PermissionDenied(f"The task {task.name!r} is not declared with allow_api=True.")
    task.codec.check(args, kwargs)
    options = {
        "job_id": _given(fields, "job_id", str),
        "countdown": _given(fields, "countdown", float),
        "eta": _moment(fields, "eta"),
        "expire": _when(fields, "expires"),
        "job_retry": _given(fields, "job_retry", int),
    }
    calling = task.using(user=user.pk, **{name: value for name, value in options.items() if value is not None})  # type: ignore[arg-type]
    job, created = enqueue(calling, args, kwargs)
    if created:
        audit.record(user, f"enqueued as {job.job_id}", f"Task {task.name}")
    said = f"A job of {task.name} is enqueued." if created else f"That job of {task.name} was there already."
    data = {"job_id": job.job_id, "task": job.task, "queue": job.queue, "status": job.status.value}
    return Done(said, data, job.job_id)


def switch(user: Any, fields: Fields) -> Done:
    """Enable or disable a task, for all processes."""
    _require(user, MANAGE)
    task, status = declared(_text(fields, "task_name")), _text(fields, "status")
    if status not in ("enabled", "disabled"):
        raise InvalidOptionError(f"status={status!r}: enabled or disabled.")
    client = get_rearq_client()
    (client.enable if status == "enabled" else client.disable)(task)
    audit.record(user, status, f"Task {task.name}")
    after = (
        "its jobs run" if status == "enabled" else "none of its jobs starts until it is enabled; those that run go on"
    )
    return Done(f"{task.name} is {status}: {after}.", {"task_name": task.name, "status": status})


def cancel(user: Any, fields: Fields) -> Done:
    """Cancel a job that has not ended; one that runs is told to stop."""
    _require(user, CANCEL)
    job_id = _job_id(fields)
    jobs.cancel(job_id)
    audit.record(user, "canceled", f"Job {job_id}", TaskLog.objects.filter(job_id=job_id).first())
    return Done(f"The job {job_id} is canceled.", {"job_id": job_id, "status": "canceled"}, job_id)


def edit(user: Any, fields: Fields) -> Done:
    """Change a job that waits. What is as it was shown stays as it is, masked secrets too."""
    _require(user, RUN)
    job_id = _job_id(fields)
    log = TaskLog.objects.filter(job_id=job_id).first()
    if log is None:
        raise JobNotFoundError(f"The history knows no job {job_id!r}.")
    args, kwargs = _json(fields, "args", list), _json(fields, "kwargs", dict)
    shown_args, shown_kwargs, _ = masked(log)
    args, kwargs = (None if args == shown_args else args), (None if kwargs == shown_kwargs else kwargs)
    if (args is not None or kwargs is not None) and not may_run(user, declared(log.task_name)):
        raise PermissionDenied(f"The task {log.task_name!r} is not declared with allow_api=True.")
    job = changes.edit(
        job_id,
        args=args,
        kwargs=kwargs,
        job_retry=_given(fields, "job_retry", int),
        job_retry_after=_given(fields, "job_retry_after", int),
        expire=_moment(fields, "expire_time"),
    )
    audit.record(user, "changed", f"Job {job_id}", log)
    return Done(f"The job {job_id} is changed.", {"job_id": job_id, "status": job.status.value}, job_id)


def remove(user: Any, fields: Fields) -> Done:
    """Delete jobs that have ended, with all that is known of them. ``ids`` are those of their rows."""
    _require(user, DELETE)
    ids = _ids(fields)
    job_ids = list(TaskLog.objects.filter(pk__in=ids).order_by().values_list("job_id", flat=True))
    if not job_ids:
        raise JobNotFoundError("None of these jobs is there any more." if ids else "No job was chosen.")
    outcome = changes.remove_many(job_ids)
    for job_id in sorted(outcome.done):
        audit.record(user, "deleted", f"Job {job_id}")
    if not outcome.done:
        raise WrongStateError(" ".join(f"{job_id}: {why}" for job_id, why in sorted(outcome.refused.items())))
    left = f" {len(outcome.refused)} have not ended, and stay: cancel them first." if outcome.refused else ""
    return Done(
        f"{len(outcome.done)} job(s) deleted, with all that was known of them.{left}",
        {"deleted": len(outcome.done), "refused": dict(outcome.refused)},
    )


def forget_worker(user: Any, fields: Fields) -> Done:
    """Take a worker that is dead off the list. Its jobs are taken over by others, whether it is on the list or not."""
    _require(user, MANAGE)
    name = _text(fields, "name")

    async def forget(client: Any) -> bool:
        if name not in {peer.name for peer in await client.broker.workers()}:
            raise JobNotFoundError(f"No worker is called {name!r}.")
        dead = await client.broker.dead([name])
        if not dead:
            raise WrongStateError(
                f"{name} is alive: stop its process."
                if dead is not None
                else f"It can't be told yet whether {name} is dead: Redis was away. Try again in a moment."
            )
        return bool(await client.broker.forget_workers([name]))

    ask(forget)
    audit.record(user, "taken off the list", f"Worker {name}")
    return Done(f"{name} is off the list.", {"name": name})


DEEDS: dict[str, Callable[[Any, Fields], Done]] = {
    "run": run,
    "switch": switch,
    "cancel": cancel,
    "edit": edit,
    "remove": remove,
    "forget": forget_worker,
}
"""By the names in the addresses of forms."""


def _require(user: Any, permission: str) -> None:
    if not user.has_perm(permission):
        raise PermissionDenied(f"That needs the permission {permission}.")


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidOptionError(f"{name}: a text is needed.")
    return value


def _job_id(fields: Fields) -> str:
    return _text(fields, "job_id")


def _ids(fields: Fields) -> list[int]:
    given = fields.get("ids") or []
    texts = given.split(",") if isinstance(given, str) else [str(each) for each in given]
    if any(not (text.isascii() and text.isdigit() and len(text) < 19) for text in texts):
        raise InvalidOptionError("ids: whole numbers, between commas.")
    if len(texts) > MOST_ROWS:
        raise InvalidOptionError(f"ids: at most {MOST_ROWS} at a time.")
    return [int(text) for text in texts]


def _given(fields: Fields, name: str, kind: Callable[[Any], T]) -> T | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidOptionError(f"{name}={value!r} can't be read.")
    try:
        return kind(value)
    except (ValueError, OverflowError):
        raise InvalidOptionError(f"{name}={value!r} is no number.") from None


def _json(fields: Fields, name: str, kind: type[T]) -> T | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ArgumentsError(f"{name}: this is not JSON. It takes {_KINDS[kind]}.") from None
    if not isinstance(value, kind):
        raise ArgumentsError(f"{name}: it takes {_KINDS[kind]}.")
    return value


def _moment(fields: Fields, name: str) -> dt.datetime | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidOptionError(f"{name}={value!r}: a moment such as 2030-12-24T18:00 or 2030-12-24T18:00:00Z.")
    return moment


def _when(fields: Fields, name: str) -> float | dt.datetime | None:
    """Return seconds, or a moment."""
    value = fields.get(name)
    try:
        return _given(fields, name, float)
    except InvalidOptionError:
        if not isinstance(value, str):
            raise
        return _moment(fields, name)
