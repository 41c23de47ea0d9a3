"""The options of tasks and calls: what they mean in time, and what is refused with its name and value."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import uuid
import zoneinfo
from typing import Any, get_type_hints

import pytest

from django_cfg_tasks.attribution import UNSAID
from django_cfg_tasks.exceptions import DeclarationError, InvalidOptionError, TasksError
from django_cfg_tasks.options import (
    CALL_OPTIONS,
    DELAY_OPTIONS,
    CallOptions,
    Options,
    TaskOptions,
    aware,
    check_job_id,
    check_queue,
    expire_time,
    rate_of,
    seconds_of,
)

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
BOTH = pytest.mark.parametrize(
    ("options", "error"), [(TaskOptions, DeclarationError), (CallOptions, InvalidOptionError)]
)


class TestDefaults:
    def test_of_a_task(self) -> None:
        assert dataclasses.asdict(TaskOptions()) == {
            "retry_backoff": False,
            "retry_backoff_max": 3600,
            "retry_jitter": False,
            "retry_on": None,
            "do_not_retry": (),
            "queue": "default",
            "job_retry": None,
            "job_retry_after": None,
            "job_timeout": None,
            "expire": None,
            "bind": False,
            "run_with_lock": False,
            "lock_timeout": 300,
            "lock_key": None,
            "max_concurrent": None,
            "rate_limit": None,
            "unique": False,
            "unique_for": "until_done",
            "mask": (),
            "log_args": True,
            "allow_api": False,
        }

    def test_of_a_call(self) -> None:
        values = dataclasses.asdict(CallOptions())
        assert values.pop("on_commit") is True
        assert values.pop("even_if_disabled") is False
        assert values.pop("user") is UNSAID  # None: nobody
        assert set(values.values()) == {None}

    def test_the_types_of_using_are_the_options_of_a_call(self) -> None:
        assert get_type_hints(Options) == get_type_hints(CallOptions)
        assert Options.__annotations__.keys() == CALL_OPTIONS

    def test_rearqs_own_options_are_options_of_a_call(self) -> None:
        assert {"job_id", "countdown", "eta", "expire", "job_retry", "job_retry_after"} == DELAY_OPTIONS
        assert DELAY_OPTIONS < CALL_OPTIONS

    @pytest.mark.parametrize("options", [TaskOptions(), CallOptions()])
    def test_frozen(self, options: Any) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            options.queue = "other"


class TestQueues:
    @pytest.mark.parametrize("queue", ["a", "a" * 100, "high-priority_1.eu", "größe", "delay", "默认"])
    @BOTH
    def test_good(self, options: Any, error: Any, queue: str) -> None:
        assert options(queue=queue).queue == queue

    @pytest.mark.parametrize(
        "queue",
        ["", "a" * 101, "a b", " a", "a:b", "a\n", "a\t", "a\x00", "a\u00a0b", "a\u2028", "\ud800", 5, b"a", []],
    )
    @BOTH
    def test_bad(self, options: Any, error: Any, queue: Any) -> None:
        with pytest.raises(error) as caught:
            options(queue=queue)
        assert str(caught.value).startswith(f"queue={queue!r}: a queue's name ")

    def test_a_task_has_one(self) -> None:
        with pytest.raises(DeclarationError, match="queue=None: a queue's name has 1 to 100 characters"):
            TaskOptions(queue=None)  # type: ignore[arg-type]

    @pytest.mark.parametrize("error", [DeclarationError, InvalidOptionError])
    def test_the_error_is_the_askers(self, error: type[TasksError]) -> None:
        with pytest.raises(error):
            check_queue("a b", error)


class TestJobIds:
    @pytest.mark.parametrize("job_id", ["a", "a" * 200, "cron:beat:2026-01-01T00:00:00Z", "order 7", "ü"])
    def test_good(self, job_id: str) -> None:
        assert CallOptions(job_id=job_id).job_id == job_id

    @pytest.mark.parametrize("job_id", ["", "a" * 201, "a\n", "a\x00", "\udfff", 5, b"a", uuid.UUID(int=1)])
    def test_bad(self, job_id: Any) -> None:
        message = "an id is a text of 1 to 200 printable characters"
        with pytest.raises(InvalidOptionError, match=message):
            CallOptions(job_id=job_id)
        with pytest.raises(InvalidOptionError, match=message):
            check_job_id(job_id)


class TestWhenDue:
    @pytest.mark.parametrize(
        ("countdown", "seconds"),
        [(60, 60), (0.5, 0.5), (dt.timedelta(minutes=1, milliseconds=1), 60.001), (10_000_000_000, 10**10)],
    )
    def test_countdown(self, countdown: Any, seconds: float) -> None:
        assert CallOptions(countdown=countdown).due_time(NOW) == NOW + dt.timedelta(seconds=seconds)

    @pytest.mark.parametrize("countdown", [None, 0, 0.0, -5, dt.timedelta(0), -dt.timedelta(days=1)])
    def test_at_once(self, countdown: Any) -> None:
        assert CallOptions(countdown=countdown).due_time(NOW) is None

    @pytest.mark.parametrize("countdown", ["60", True, NOW, dt.time(1), math.nan, [1]])
    def test_what_is_no_time(self, countdown: Any) -> None:
        with pytest.raises(InvalidOptionError) as caught:
            CallOptions(countdown=countdown)
        assert str(caught.value) == f"countdown={countdown!r}: it takes seconds as a number, or a timedelta."

    @pytest.mark.parametrize(
        "countdown", [math.inf, -math.inf, 10_000_000_001, 10**400, dt.timedelta.max], ids=range(5)
    )
    def test_beyond_all_calendars(self, countdown: Any) -> None:
        with pytest.raises(InvalidOptionError) as caught:
            CallOptions(countdown=countdown)
        assert (
            str(caught.value) == f"countdown={countdown!r}: it takes at most 10,000,000,000 seconds, about 300 years."
        )

    def test_eta(self) -> None:
        berlin = zoneinfo.ZoneInfo("Europe/Berlin")
        eta = dt.datetime(2026, 7, 1, 9, tzinfo=berlin)
        assert CallOptions(eta=eta).due_time(NOW) == dt.datetime(2026, 7, 1, 7, tzinfo=dt.UTC)

    def test_a_naive_eta_is_in_djangos_zone(self, settings: Any) -> None:
        settings.TIME_ZONE = "America/New_York"
        due = CallOptions(eta=dt.datetime(2026, 7, 1, 9)).due_time(NOW)
        assert due == dt.datetime(2026, 7, 1, 13, tzinfo=dt.UTC)
        assert due is not None
        assert due.tzinfo is dt.UTC

    @pytest.mark.parametrize("eta", [NOW, NOW - dt.timedelta(days=1), dt.datetime.min])
    def test_a_past_eta_is_at_once(self, eta: dt.datetime) -> None:
        assert CallOptions(eta=eta).due_time(NOW) is None

    @pytest.mark.parametrize("eta", [dt.date(2026, 1, 1), 60, "2026-01-01", dt.timedelta(1)])
    def test_what_is_no_moment(self, eta: Any) -> None:
        with pytest.raises(InvalidOptionError) as caught:
            CallOptions(eta=eta)
        assert str(caught.value) == f"eta={eta!r}: it takes a datetime; for a delay use countdown=."

    def test_a_moment_that_utc_does_not_know(self, settings: Any) -> None:
        settings.TIME_ZONE = "America/New_York"
        with pytest.raises(InvalidOptionError, match="outside the calendar"):
            aware(dt.datetime.max)

    def test_countdown_and_eta(self) -> None:
        with pytest.raises(InvalidOptionError, match="countdown= and eta= both say when; give one of them"):
            CallOptions(countdown=0, eta=NOW)


class TestExpire:
    @pytest.mark.parametrize(
        ("expire", "moment"),
        [
            (None, None),
            (60, NOW + dt.timedelta(seconds=60)),
            (0, NOW),
            (dt.timedelta(hours=1), NOW + dt.timedelta(hours=1)),
            (NOW + dt.timedelta(days=1), NOW + dt.timedelta(days=1)),
        ],
    )
    def test_is_a_moment(self, expire: Any, moment: dt.datetime | None) -> None:
        assert expire_time(expire, NOW) == moment
        assert TaskOptions(expire=expire).expire == CallOptions(expire=expire).expire == expire

    def test_a_naive_one_is_in_djangos_zone(self, settings: Any) -> None:
        settings.TIME_ZONE = "Asia/Tokyo"
        assert expire_time(dt.datetime(2026, 1, 2, 9), NOW) == dt.datetime(2026, 1, 2, 0, tzinfo=dt.UTC)

    @pytest.mark.parametrize("expire", ["soon", True, dt.date(2026, 1, 1), math.nan, [1]])
    @BOTH
    def test_bad(self, options: Any, error: Any, expire: Any) -> None:
        with pytest.raises(error) as caught:
            options(expire=expire)
        assert str(caught.value) == f"expire={expire!r}: it takes seconds as a number, a timedelta or a datetime."

    @pytest.mark.parametrize("expire", [math.inf, dt.timedelta.max])
    @BOTH
    def test_beyond_all_calendars(self, options: Any, error: Any, expire: Any) -> None:
        with pytest.raises(error, match=r"expire=.*: it takes at most 10,000,000,000 seconds"):
            options(expire=expire)


class TestRetries:
    @pytest.mark.parametrize("value", [0, 1, 31_536_000])
    @pytest.mark.parametrize("name", ["job_retry", "job_retry_after"])
    @BOTH
    def test_good(self, options: Any, error: Any, name: str, value: int) -> None:
        assert getattr(options(**{name: value}), name) == value

    @pytest.mark.parametrize("value", [-1, 31_536_001, 1.5, 3.0, True, "3", dt.timedelta(1)])
    @pytest.mark.parametrize("name", ["job_retry", "job_retry_after"])
    @BOTH
    def test_bad(self, options: Any, error: Any, name: str, value: Any) -> None:
        with pytest.raises(error) as caught:
            options(**{name: value})
        assert str(caught.value).startswith(f"{name}={value!r}: it takes ")


class TestTimeouts:
    @pytest.mark.parametrize("timeout", [0.01, 1, 10**10, math.inf])
    @BOTH
    def test_good(self, options: Any, error: Any, timeout: float) -> None:
        assert options(job_timeout=timeout).job_timeout == timeout

    @pytest.mark.parametrize(
        "timeout", [0, -1, -math.inf, math.nan, 10**11, 10**400, True, "5", dt.timedelta(1)], ids=range(9)
    )
    @BOTH
    def test_bad(self, options: Any, error: Any, timeout: Any) -> None:
        with pytest.raises(error) as caught:
            options(job_timeout=timeout)
        assert str(caught.value) == f"job_timeout={timeout!r}: it takes seconds above 0, or math.inf for no limit."

    @pytest.mark.parametrize("timeout", [1, 86_400, 2.5])
    def test_of_a_lock(self, timeout: float) -> None:
        assert TaskOptions(lock_timeout=timeout).lock_timeout == timeout

    @pytest.mark.parametrize("timeout", [0.9, 86_401, math.inf, math.nan, None, "5", True])
    def test_bad_ones_of_a_lock(self, timeout: Any) -> None:
        with pytest.raises(DeclarationError, match=r"lock_timeout=.*: a lock is held for 1 to 86400 seconds"):
            TaskOptions(lock_timeout=timeout)


class TestLocksAndLimits:
    @pytest.mark.parametrize("key", ["all", "account:{account_id}", "{a}{b}"])
    def test_a_key_is_a_text(self, key: str) -> None:
        assert TaskOptions(lock_key=key).lock_key == key

    @pytest.mark.parametrize("key", ["", 7, True, b"x", ["a"]])
    def test_what_is_no_key(self, key: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            TaskOptions(lock_key=key)
        assert str(caught.value) == f'lock_key={key!r}: it takes a text such as "account:{{account_id}}".'

    @pytest.mark.parametrize("most", [1, 5, 100_000])
    def test_how_many_at_once(self, most: int) -> None:
        assert TaskOptions(max_concurrent=most).max_concurrent == most

    @pytest.mark.parametrize("most", [0, -1, 100_001, 1.0, True, "5", math.inf])
    def test_what_is_no_number_of_jobs(self, most: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            TaskOptions(max_concurrent=most)
        assert str(caught.value) == f"max_concurrent={most!r}: it takes a whole number from 1 to 100000."

    @pytest.mark.parametrize(
        ("limit", "rate"),
        [
            ("10/s", (10, 1)), ("100/m", (100, 60)), ("1000/h", (1000, 3600)), ("1/d", (1, 86_400)),
            ("5/10s", (5, 10)), ("1/15m", (1, 900)), ("3/2d", (3, 172_800)), ("999999999/s", (999_999_999, 1)),
        ],
    )  # fmt: skip
    def test_a_rate(self, limit: str, rate: tuple[int, float]) -> None:
        assert TaskOptions(rate_limit=limit).rate_limit == limit
        assert rate_of(limit) == rate

    @pytest.mark.parametrize(
        "limit",
        ["", "10", "10/", "/s", "0/s", "-1/s", "1.5/s", "10/0s", "10 / s", "10/S", "10/sec", "10/w", "10/s\n",
         "01/s", "1000000000/s", 10, True, (10, 1)],
    )  # fmt: skip
    def test_what_is_no_rate(self, limit: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            TaskOptions(rate_limit=limit)
        assert str(caught.value) == (
            f'rate_limit={limit!r}: it takes a number and a time, as in "10/s", "100/m", "5/10s" or "1000/d".'
        )

    @pytest.mark.parametrize(
        ("options", "gated"),
        [
            ({}, False), ({"lock_timeout": 5}, False), ({"unique": True}, False), ({"run_with_lock": True}, True),
            ({"lock_key": "all"}, True), ({"max_concurrent": 1}, True), ({"rate_limit": "1/s"}, True),
        ],
    )  # fmt: skip
    def test_which_jobs_may_have_to_wait_for_others(self, options: dict[str, Any], gated: bool) -> None:
        assert TaskOptions(**options).is_gated is gated


class TestUnique:
    @pytest.mark.parametrize("unique", [True, False, "all", "report:{day}"])
    def test_true_or_a_text(self, unique: bool | str) -> None:
        assert TaskOptions(unique=unique).unique == unique

    @pytest.mark.parametrize("unique", ["", None, 1, 1.5, ["day"]])
    def test_what_is_neither(self, unique: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            TaskOptions(unique=unique)
        assert str(caught.value) == f'unique={unique!r}: it takes True, or a text such as "report:{{day}}".'

    @pytest.mark.parametrize("lasting", ["until_start", "until_done", 1, 0.5, dt.timedelta(days=1)])
    def test_for_how_long(self, lasting: Any) -> None:
        assert TaskOptions(unique=True, unique_for=lasting).unique_for == lasting

    @pytest.mark.parametrize("lasting", ["until_end", "", None, 0, -1, math.nan, math.inf, True, dt.timedelta(0), NOW])
    def test_what_is_no_time(self, lasting: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            TaskOptions(unique=True, unique_for=lasting)
        assert str(caught.value) == (
            f'unique_for={lasting!r}: it takes "until_start", "until_done", or seconds above 0.'
        )


class TestMask:
    def test_one_text_is_no_list_of_names(self) -> None:
        with pytest.raises(DeclarationError, match=r"mask='iban': it takes the names in a list, as in mask=\['iban'\]"):
            TaskOptions(mask="iban")  # type: ignore[arg-type]

    @pytest.mark.parametrize("mask", [5, (5,), ("a", None)])
    def test_names_are_texts(self, mask: Any) -> None:
        with pytest.raises(DeclarationError, match="it takes a list of names"):
            TaskOptions(mask=mask)


class TestChanged:
    def test_a_copy(self) -> None:
        options = CallOptions(queue="a")
        changed = options.changed(countdown=5, queue="b")
        assert (changed.queue, changed.countdown) == ("b", 5)
        assert (options.queue, options.countdown) == ("a", None)

    def test_none_takes_an_option_back(self) -> None:
        assert CallOptions(countdown=5).changed(countdown=None, eta=NOW).due_time(NOW - dt.timedelta(1)) == NOW

    def test_unknown_options_are_named_with_the_known_ones(self) -> None:
        with pytest.raises(InvalidOptionError) as caught:
            CallOptions().changed(prioritaet=1)
        assert str(caught.value) == (
            "There is no option 'prioritaet'. There are: countdown, eta, even_if_disabled, expire, job_id, job_retry, "
            "job_retry_after, job_timeout, on_commit, queue, user."
        )

    def test_changes_are_checked(self) -> None:
        with pytest.raises(InvalidOptionError, match="queue='a b'"):
            CallOptions().changed(queue="a b")


class TestUser:
    @pytest.mark.parametrize(
        ("user", "key"),
        [(None, None), (7, 7), ("ann", "ann"), (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001")],
    )
    def test_a_key_as_json(self, user: Any, key: Any) -> None:
        assert CallOptions(user=user).user_key() == key

    def test_a_user_stands_for_its_key(self) -> None:
        from django.contrib.auth.models import AnonymousUser, User

        assert CallOptions(user=User(pk=7)).user_key() == 7
        assert CallOptions(user=AnonymousUser()).user_key() is None


class TestSeconds:
    @pytest.mark.parametrize(("value", "seconds"), [(1, 1.0), (0.5, 0.5), (dt.timedelta(days=1), 86_400.0), (-1, -1.0)])
    def test_numbers_and_timedeltas(self, value: Any, seconds: float) -> None:
        assert seconds_of(value, "countdown") == seconds
