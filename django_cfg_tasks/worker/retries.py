"""Whether a failed job runs again, and when. Pure but for chance: it changes nothing."""

from __future__ import annotations

import datetime as dt
import random

from django_cfg_tasks.exceptions import ResultError, Retry, UnknownTaskError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.options import TaskOptions, aware, seconds_of
from django_cfg_tasks.registry import tasks


def next_try(record: JobRecord, error: BaseException) -> tuple[float, bool] | None:
    """Return after how many seconds to run the job again and whether that uses one of its retries; None: never.

    A task that raises `Retry` knows better than its options which error deserves one.
    """
    if isinstance(error, UnknownTaskError | ResultError):
        return None
    task = tasks.get(record.task)
    options = task.options if task is not None else TaskOptions()
    asked = error if isinstance(error, Retry) else None
    if asked is None and not _is_worth_it(error, options):
        return None
    counted = asked.count if asked is not None else True
    if counted and record.job_retries >= record.job_retry:
        return None
    if asked is not None and asked.countdown is not None:
        return seconds_of(asked.countdown, "Retry(countdown)"), counted
    if asked is not None and asked.eta is not None:
        return (aware(asked.eta) - dt.datetime.now(dt.UTC)).total_seconds(), counted
    return _pause(record, options), counted


def _is_worth_it(error: BaseException, options: TaskOptions) -> bool:
    if isinstance(error, options.do_not_retry):
        return False
    return options.retry_on is None or isinstance(error, options.retry_on)


def _pause(record: JobRecord, options: TaskOptions) -> float:
    pause = float(record.job_retry_after)
    if options.retry_backoff is not False:
        first = pause if options.retry_backoff is True else float(options.retry_backoff)
        # An exponent beyond this passes any limit, and floats.
        pause = min(first * 2.0 ** min(record.job_retries, 64), options.retry_backoff_max)
    if options.retry_jitter:
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it
    return pause
