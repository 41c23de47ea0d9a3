"""Turns a job's record into the values of its TaskLog row: masked, and fit for any database.

No SQL here. A value that no database would take (NUL characters, lone surrogates, NaN in JSON, text that is
too long) is replaced by the nearest one that fits.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
import re
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError
from django.db.models import CharField
from django.utils import timezone

from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord
from django_cfg_tasks.masking import is_sensitive, mask, mask_arguments
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks

logger = logging.getLogger("django_cfg_tasks.recorder")

MAX_TEXT = 100_000
"""Characters of an error message or a traceback that are kept; its middle goes first."""
MAX_TRACEBACKS = 20
"""How many of the newest attempts keep their traceback: a job may be retried thousands of times."""

DATA_ERRORS = (
    DataError,
    IntegrityError,
    ValidationError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
)
"""What speaks against a row, and not against the database it goes to."""

_encode = json.JSONEncoder(allow_nan=False).encode
_MAX_INTEGER = 2**31 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DOUBTFUL_JSON = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_WIDTHS = {field.attname: field.max_length or 0 for field in TaskLog._meta.fields if isinstance(field, CharField)}
_NARROWEST = min(width for name, width in _WIDTHS.items() if name != "status")  # statuses are our own, and short
_USER_KEY = TaskLog._meta.get_field("user").target_field

Values = dict[str, Any]
"""A row: one Python value for each column of TaskLog but its id, or for some of them."""


def values(record: JobRecord) -> Values:
    """Return the row of ``record``. ValueError for a number that has too many digits to be read back; else nothing."""
    now = moment_of(timezone.now())
    last = record.attempts[-1] if record.attempts and record.status.is_final else None
    args, kwargs, result = data_of(record)
    row = {
        "job_id": record.job_id,
        "task_name": record.task,
        "queue_name": record.queue,
        "args": _json(args),
        "kwargs": _json(kwargs),
        "user_id": _user(record),
        "status": record.status.value,
        "success": record.success,
        "worker_id": record.owner or (last.worker if last else ""),
        "job_retry": fitting_integer(record.job_retry),
        "job_retries": fitting_integer(record.job_retries),
        "job_retry_after": fitting_integer(record.job_retry_after),
        "retry_of": str(record.options.get("retry_of") or ""),
        "progress": _number(record.progress),
        "progress_message": _long(record.progress_message),
        "result": _json(result),
        "error_class": record.error_class or "",
        "error_message": _long(record.error_message),
        "traceback": _long(record.traceback),
        "attempts": attempts_of(record.attempts),
        "enqueue_time": moment_of(record.enqueue_time),
        "expire_time": moment_of(record.expire_time),
        "start_time": moment_of(record.start_time),
        "finish_time": moment_of(record.finish_time),
        "duration_ms": record.duration_ms,
        "created_at": now,
        "updated_at": now,
        "revision": record.revision,
    }
    together = "".join([row[name] for name in _WIDTHS])
    if len(together) > _NARROWEST or not together.isascii() or "\x00" in together:
        for name, width in _WIDTHS.items():
            row[name] = _text(row[name])[:width]
    return row


def is_open(name: str) -> bool:
    """Tell whether arguments of this task look the same to those who don't know it."""
    task = tasks.get(name)
    return (
        task is not None
        and task.options.log_args
        and not task.options.mask
        and not any(map(is_sensitive, task.parameters))
    )


def fitting(name: str, text: str) -> str:
    """Return what the column ``name`` takes of a text."""
    return _text(text)[: _WIDTHS[name]]


def bare(row: Values) -> Values:
    """Return ``row`` without anything that a database might object to, for one that was refused."""
    return row | {
        "args": [],
        "kwargs": {},
        "user_id": None,
        "result": None,
        "attempts": [],
        "progress": None,
    }


def data_of(record: JobRecord) -> tuple[list[Any], dict[str, Any], Any]:
    """Return arguments and result as people may see them.

    A process that doesn't know the task goes by keys alone; one that does will write the row again.
    """
    task = tasks.get(record.task)
    if task is not None and not task.options.log_args:
        return [], {}, None
    parameters, extra_keys = (task.parameters, task.options.mask) if task is not None else ((), ())
    args, kwargs = mask_arguments(record.args or [], record.kwargs or {}, parameters, extra_keys)
    return args, kwargs, mask(record.result, extra_keys)


def attempts_of(attempts: list[Attempt]) -> list[dict[str, Any]]:
    """Return attempts as the row shows them."""
    shown = []
    for age, attempt in enumerate(reversed(attempts)):
        entry = attempt.as_dict()
        entry["worker"] = _text(attempt.worker)
        if attempt.outcome is not AttemptOutcome.success:
            entry["error_class"] = _text(attempt.error_class or "") or None
            entry["error_message"] = _long(attempt.error_message) or None
            entry["traceback"] = (_long(attempt.traceback) or None) if age < MAX_TRACEBACKS else None
        shown.append(entry)
    return shown[::-1]


def _user(record: JobRecord) -> Any:
    user = record.options.get("user")
    if user is None:
        return None
    try:
        return _USER_KEY.to_python(user)
    except (ValidationError, ValueError, TypeError):
        logger.warning("Job %s names %r as its user, which is no key of a user", record.job_id, user)
        return None


def as_json(value: Any) -> str | None:
    """Return ``value`` as the text of JSON that every database takes; None is none."""
    return None if value is None else _storable(value) or _encode(_clean(value))


def _json(value: Any) -> Any:
    """Return ``value`` as JSON that every database takes; nearly always it is that already."""
    return value if not value or _storable(value) else _clean(value)


def _storable(value: Any) -> str | None:
    """Return the text of ``value`` as JSON; None where it is none, or some that not every database takes."""
    try:
        text = _encode(value)
    except (TypeError, ValueError):
        return None
    return None if _DOUBTFUL_JSON.search(text) else text


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(str(value))  # ValueError where it has more digits than Python reads
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {_text(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return _text(str(value))


def _text(text: str) -> str:
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\ufffd", text)


def _long(text: str | None) -> str:
    if not text:
        return ""
    if len(text) > MAX_TEXT:
        half = MAX_TEXT // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return _text(text)


def _number(number: float | None) -> float | None:
    return float(number) if number is not None and math.isfinite(number) else None


def fitting_integer(number: float | None) -> int:
    """Return what a column of integers takes of a number."""
    return max(-_MAX_INTEGER, min(_MAX_INTEGER, int(number or 0)))


def moment_of(moment: dt.datetime | None) -> dt.datetime | None:
    """Return ``moment`` as the project's models hold it: aware, or naive local time without USE_TZ."""
    if moment is None:
        return None
    if settings.USE_TZ:
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    return moment if moment.tzinfo is None else timezone.make_naive(moment, timezone.get_default_timezone())
