"""Cron expressions: read or refused where they are declared, and when they are due."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from typing import Any

import pytest

from django_cfg_tasks.exceptions import DeclarationError, InvalidCronError
from django_cfg_tasks.schedule import Schedule

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def due(expression: str, after: str, count: int = 3, timezone: dt.tzinfo = dt.UTC) -> list[str]:
    """The next due times, as text in UTC."""
    schedule, moment, found = Schedule.parse(expression), utc(after), []
    for _ in range(count):
        moment = schedule.next_after(moment, timezone)
        found.append(f"{moment:%Y-%m-%d %H:%M:%S}")
    return found


class TestDue:
    @pytest.mark.parametrize(
        ("expression", "first"),
        [
            ("* * * * *", "2026-01-01 00:01:00"),
            ("0 * * * *", "2026-01-01 01:00:00"),
            ("*/15 * * * *", "2026-01-01 00:15:00"),
            ("30 4 * * *", "2026-01-01 04:30:00"),
            ("0 9-17/4 * * *", "2026-01-01 09:00:00"),
            ("5,10 0 * * *", "2026-01-01 00:05:00"),
            ("0 0 15 * *", "2026-01-15 00:00:00"),
            ("0 0 1 3 *", "2026-03-01 00:00:00"),
            ("0 0 29 2 *", "2028-02-29 00:00:00"),
            ("0 0 l * *", "2026-01-31 00:00:00"),
            ("0 0 * * 0", "2026-01-04 00:00:00"),
            ("0 0 * * 7", "2026-01-04 00:00:00"),
            ("0 0 * * sun", "2026-01-04 00:00:00"),
            ("0 0 * * 1-5", "2026-01-02 00:00:00"),
            ("0 0 1 jul mon", "2026-07-01 00:00:00"),
            ("*/5 * * * * *", "2026-01-01 00:00:05"),
            ("30 0 * * * *", "2026-01-01 00:00:30"),
            ("0 0 12 * * 1", "2026-01-05 12:00:00"),
            ("@hourly", "2026-01-01 01:00:00"),
            ("@daily", "2026-01-02 00:00:00"),
            ("@midnight", "2026-01-02 00:00:00"),
            ("@weekly", "2026-01-04 00:00:00"),
            ("@monthly", "2026-02-01 00:00:00"),
            ("@yearly", "2027-01-01 00:00:00"),
            ("@annually", "2027-01-01 00:00:00"),
        ],
    )
    def test_first_after_midnight_of_a_thursday(self, expression: str, first: str) -> None:
        assert due(expression, "2026-01-01 00:00:00", 1) == [first]

    def test_a_due_time_is_not_due_after_itself(self) -> None:
        assert due("0 * * * *", "2026-01-01 01:00:00", 2) == ["2026-01-01 02:00:00", "2026-01-01 03:00:00"]

    @pytest.mark.parametrize("after", ["2026-01-01 00:00:59.999999", "2026-01-01 00:00:00.000001"])
    def test_fractions_of_a_second(self, after: str) -> None:
        assert due("* * * * *", after, 2) == ["2026-01-01 00:01:00", "2026-01-01 00:02:00"]
        assert due("0 * * * * *", after, 1) == ["2026-01-01 00:01:00"]

    def test_the_answer_is_aware_in_utc(self) -> None:
        moment = Schedule.parse("0 9 * * *").next_after(dt.datetime(2026, 1, 1, tzinfo=BERLIN), BERLIN)
        assert moment == utc("2026-01-01 08:00:00")
        assert moment.tzinfo is dt.UTC

    def test_hours_are_those_of_the_zone(self) -> None:
        assert due("0 9 * * *", "2026-03-27 12:00:00", 3, BERLIN) == [
            "2026-03-28 08:00:00",
            "2026-03-29 07:00:00",  # the clocks went forward in the night
            "2026-03-30 07:00:00",
        ]

    def test_an_hour_that_the_clocks_skip(self) -> None:
        """02:30 does not exist on that day: the job runs as soon as it is over, and not twice."""
        assert due("30 2 * * *", "2026-03-28 12:00:00", 2, BERLIN) == ["2026-03-29 01:00:00", "2026-03-30 00:30:00"]

    @pytest.mark.parametrize("night", ["2026-03-28 23:30:00", "2026-10-24 23:30:00"])
    def test_an_hourly_job_runs_each_real_hour_when_the_clocks_change(self, night: str) -> None:
        moments = [utc(text) for text in due("0 * * * *", night, 6, BERLIN)]
        assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {dt.timedelta(hours=1)}


class TestRefused:
    @pytest.mark.parametrize(
        ("expression", "field"),
        [
            ("60 * * * *", "field 1 (minute) can't be '60'"),
            ("* 24 * * *", "field 2 (hour) can't be '24'"),
            ("* * 0 * *", "field 3 (day) can't be '0'"),
            ("* * * 13 *", "field 4 (month) can't be '13'"),
            ("* * * * 8", "field 5 (weekday) can't be '8'"),
            ("0 0 * * funday", "field 5 (weekday) can't be 'funday'"),
            ("*/0 * * * *", "field 1 (minute) can't be '*/0'"),
            ("a b c d e", "field 1 (minute) can't be 'a'"),
            ("60 * * * * *", "field 1 (second) can't be '60'"),
            ("* 60 * * * *", "field 2 (minute) can't be '60'"),
            ("* * * * * 8", "field 6 (weekday) can't be '8'"),
            ("0 0 * * * 2027", "field 6 (weekday) can't be '2027'"),
        ],
    )
    def test_the_field_at_fault_is_named(self, expression: str, field: str) -> None:
        with pytest.raises(InvalidCronError) as caught:
            Schedule.parse(expression)
        assert str(caught.value) == f"{expression!r} is no cron expression: {field}."

    @pytest.mark.parametrize("expression", ["R * * * *", "0 R(0-5) * * *", "H * * * *", "0 h * * *"])
    def test_random_fields(self, expression: str) -> None:
        """Two timers would reckon with different due times, and run the job twice."""
        with pytest.raises(InvalidCronError, match=r"field \d \(\w+\) can't be '[RHh]"):
            Schedule.parse(expression)

    @pytest.mark.parametrize(("expression", "count"), [("*", 1), ("* * * *", 4), ("* * * * * * *", 7), ("hourly", 1)])
    def test_the_number_of_fields(self, expression: str, count: int) -> None:
        with pytest.raises(InvalidCronError, match=rf"has {count} fields; cron takes five \(minute hour day month"):
            Schedule.parse(expression)

    @pytest.mark.parametrize("expression", ["@reboot", "@", "@every 5m", "@fortnightly", "@daily 5"])
    def test_unknown_aliases(self, expression: str) -> None:
        with pytest.raises(InvalidCronError, match=r"is no alias for a schedule\. There are: @hourly, @daily, "):
            Schedule.parse(expression)

    @pytest.mark.parametrize("expression", ["0 0 31 2 *", "0 0 30 feb *", "0 0 0 31 4,6 *"])
    def test_days_that_never_come(self, expression: str) -> None:
        with pytest.raises(InvalidCronError, match="is never due: no month has such a day"):
            Schedule.parse(expression)

    @pytest.mark.parametrize("expression", ["", "  ", None, 5, b"* * * * *", ["*"]])
    def test_what_is_no_text(self, expression: Any) -> None:
        with pytest.raises(InvalidCronError, match="A cron expression is a text such as"):
            Schedule.parse(expression)

    def test_it_is_an_error_of_the_declaration(self) -> None:
        assert issubclass(InvalidCronError, DeclarationError)


class TestValue:
    def test_whitespace_does_not_matter(self) -> None:
        assert Schedule.parse(" 0\t9  * * 1-5\n") == Schedule.parse("0 9 * * 1-5")

    def test_the_case_of_an_alias_does_not_matter(self) -> None:
        assert Schedule.parse("@Hourly") == Schedule.parse("@hourly")

    def test_frozen(self) -> None:
        with pytest.raises(AttributeError):
            Schedule.parse("@daily").expression = "@hourly"  # type: ignore[misc]
