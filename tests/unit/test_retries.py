"""Which failures are worth another try, and when it comes."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_cfg_tasks import Retry, task
from django_cfg_tasks.exceptions import JobTimeoutError, ResultError, UnknownTaskError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.worker.retries import next_try
from tests.records import running

Declare = Callable[..., JobRecord]


@pytest.fixture
def declared() -> Iterator[Declare]:
    """Declare a task with these options; return a job of it that runs and has used ``retries`` of ten."""

    def declare(*, retries: int = 0, **options: Any) -> JobRecord:
        @task(name="tried", **options)
        async def tried() -> None: ...

        return running(task="tried", job_retry=10, job_retries=retries, job_retry_after=60)

    yield declare
    tasks.remove("tried")


def pauses(declared: Declare, **options: Any) -> list[float]:
    found = []
    for retries in range(6):
        again = next_try(declared(retries=retries, **options), OSError())
        assert again is not None
        found.append(again[0])
    return found


def test_the_pause_is_the_jobs_own(declared: Declare) -> None:
    assert pauses(declared) == [60] * 6


def test_backoff_doubles_up_to_its_limit(declared: Declare) -> None:
    assert pauses(declared, retry_backoff=True) == [60, 120, 240, 480, 960, 1920]
    assert pauses(declared, retry_backoff=1.5, retry_backoff_max=10) == [1.5, 3, 6, 10, 10, 10]


def test_backoff_of_very_many_retries_stays_at_its_limit(declared: Declare) -> None:
    record = declared(retries=5000, retry_backoff=True)
    record.job_retry = 10_000
    assert next_try(record, OSError()) == (3600, True)


def test_jitter_takes_up_to_half_off(declared: Declare) -> None:
    found = {next_try(declared(retry_jitter=True), OSError()) for _ in range(200)}
    seconds = [again[0] for again in found if again is not None]
    assert len(seconds) > 100
    assert 30 <= min(seconds) < 40
    assert 50 < max(seconds) <= 60


@pytest.mark.parametrize(
    ("options", "error", "tried"),
    [
        ({}, OSError(), True),
        ({}, JobTimeoutError(), True),
        ({"retry_on": OSError}, ConnectionResetError(), True),
        ({"retry_on": [OSError]}, ValueError(), False),
        ({"retry_on": (OSError,)}, JobTimeoutError(), False),
        ({"retry_on": (OSError, JobTimeoutError)}, JobTimeoutError(), True),
        ({"retry_on": ()}, OSError(), False),
        ({"do_not_retry": ValueError}, UnicodeError(), False),
        ({"do_not_retry": ValueError}, OSError(), True),
        ({"retry_on": OSError, "do_not_retry": PermissionError}, PermissionError(), False),
        ({"retry_on": OSError}, Retry(), True),
        ({"do_not_retry": Retry}, Retry(), True),
        ({}, ResultError(), False),
        ({}, UnknownTaskError(), False),
    ],
)
def test_which_errors_are_retried(
    declared: Declare, options: dict[str, Any], error: BaseException, tried: bool
) -> None:
    assert (next_try(declared(**options), error) is not None) is tried


def test_no_retry_is_left(declared: Declare) -> None:
    assert next_try(declared(retries=10), OSError()) is None
    assert next_try(declared(retries=10), Retry()) is None
    assert next_try(declared(retries=10), Retry(count=False)) == (60, False)


def test_a_retry_says_when_itself(declared: Declare) -> None:
    record = declared(retry_backoff=True, retries=3)
    assert next_try(record, Retry(countdown=5)) == (5, True)
    assert next_try(record, Retry(countdown=dt.timedelta(minutes=1), count=False)) == (60, False)
    assert next_try(record, Retry()) == (480, True)
    again = next_try(record, Retry(eta=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)))
    assert again is not None
    assert math.isclose(again[0], 100, abs_tol=5)


def test_a_task_that_is_not_known_is_retried_as_the_job_says() -> None:
    assert next_try(running(task="gone", job_retry=1), OSError()) == (60, True)
