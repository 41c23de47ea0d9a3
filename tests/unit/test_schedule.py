"""Cron expressions: read or refused where they are declared, and when they are due.

`TestWholeYear` compares with a clock of its own, that looks at each minute of 2026 and knows nothing of croniter.
"""

from __future__ import annotations

import array
import bisect
import datetime as dt
import functools
import itertools
import random
import subprocess
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_cfg_tasks import schedule
from django_cfg_tasks.exceptions import DeclarationError, InvalidCronError
from django_cfg_tasks.schedule import Schedule

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
# In 2026: 8 March 02:00 -> 03:00 and 1 November 02:00 -> 01:00.
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
# 29 March 02:00 -> 03:00 and 25 October 03:00 -> 02:00.
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
# Half an hour, and the seasons of the south: 4 October 02:00 -> 02:30 and 5 April 02:00 -> 01:30.
LORD_HOWE = zoneinfo.ZoneInfo("Australia/Lord_Howe")
ZONES = [NEW_YORK, PARIS, LORD_HOWE]


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


def by_the_clock(expression: str, after: str, zone: zoneinfo.ZoneInfo, count: int) -> list[str]:
    """The next due times after midday of a day, as the zone's clock and its offset: '29 03:00 +0200'."""
    schedule, moment, found = Schedule.parse(expression), dt.datetime.fromisoformat(f"{after} 12:00"), []
    moment = moment.replace(tzinfo=zone)
    for _ in range(count):
        moment = schedule.next_after(moment, zone)
        found.append(f"{moment.astimezone(zone):%d %H:%M %z}")
    return found


NIGHTS_OF_THE_GAP = [(NEW_YORK, "2026-03-07"), (PARIS, "2026-03-28"), (LORD_HOWE, "2026-10-03")]
NIGHTS_OF_THE_REPEAT = [(NEW_YORK, "2026-10-31"), (PARIS, "2026-10-24"), (LORD_HOWE, "2026-04-04")]


class TestIntervals:
    """`*` or `*/n` hours: whenever the clock reads so, in real time."""

    @pytest.mark.parametrize("expression", ["* * * * *", "*/2 * * * *", "0 * * * *", "5 */3 * * *", "0 0 * 1 1 1"])
    def test_the_hour_field_is_a_star(self, expression: str) -> None:
        assert Schedule.parse(expression).is_interval

    def test_hourly_is_one(self) -> None:
        assert Schedule.parse("@hourly").is_interval

    @pytest.mark.parametrize("expression", ["* 2 * * *", "0 0-23 * * *", "0 0-23/2 * * *", "* * 1,2 * * *", "@daily"])
    def test_anything_else_is_a_fixed_hour(self, expression: str) -> None:
        assert not Schedule.parse(expression).is_interval

    @pytest.mark.parametrize(("zone", "night"), NIGHTS_OF_THE_GAP + NIGHTS_OF_THE_REPEAT)
    @pytest.mark.parametrize(("expression", "seconds"), [("*/15 * * * *", 900), ("* * * * *", 60)])
    def test_each_real_quarter_and_minute(
        self, expression: str, seconds: int, zone: zoneinfo.ZoneInfo, night: str
    ) -> None:
        start = dt.datetime.fromisoformat(f"{night} 23:00").replace(tzinfo=zone).astimezone(dt.UTC)
        beats = 6 * 3600 // seconds
        moments = [f"{start + dt.timedelta(seconds=seconds * beat):%F %T}" for beat in range(1, beats + 1)]
        assert due(expression, f"{start:%F %T}", beats, zone) == moments

    @pytest.mark.parametrize(
        ("zone", "change"),
        [
            (NEW_YORK, "2026-03-08 07:00"),
            (NEW_YORK, "2026-11-01 06:00"),
            (LORD_HOWE, "2026-10-03 15:30"),
            (LORD_HOWE, "2026-04-04 15:00"),
        ],
    )
    def test_every_five_real_seconds(self, zone: zoneinfo.ZoneInfo, change: str) -> None:
        beats = [f"{utc(change) + dt.timedelta(seconds=5 * beat):%F %T}" for beat in range(-3, 4)]
        assert due("*/5 * * * * *", f"{utc(change) - dt.timedelta(seconds=16):%F %T}", 7, zone) == beats

    @pytest.mark.parametrize("minute", [0, 30, 59])
    @pytest.mark.parametrize(("zone", "night"), [*NIGHTS_OF_THE_GAP[:2], *NIGHTS_OF_THE_REPEAT[:2]])
    def test_each_real_hour(self, minute: int, zone: zoneinfo.ZoneInfo, night: str) -> None:
        moments = [utc(text) for text in due(f"{minute} * * * *", f"{night} 20:00:00", 24, zone)]
        assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {dt.timedelta(hours=1)}

    def test_half_an_hour_makes_one_hour_longer_or_shorter(self) -> None:
        """The clock of Lord Howe can't read :00 each real hour on these days."""
        gap, repeat = "2026-10-03", "2026-04-04"
        assert by_the_clock("0 * * * *", gap, LORD_HOWE, 15)[12:] == [
            "04 01:00 +1030",
            "04 03:00 +1100",
            "04 04:00 +1100",
        ]
        assert by_the_clock("0 * * * *", repeat, LORD_HOWE, 15)[12:] == [
            "05 01:00 +1100",
            "05 02:00 +1030",
            "05 03:00 +1030",
        ]
        assert by_the_clock("45 * * * *", repeat, LORD_HOWE, 16)[13:] == [
            "05 01:45 +1100",
            "05 01:45 +1030",
            "05 02:45 +1030",
        ]

    def test_every_second_hour(self) -> None:
        assert by_the_clock("0 */2 * * *", "2026-03-07", NEW_YORK, 8)[5:] == [
            "08 00:00 -0500",
            "08 04:00 -0400",  # nothing at 02:00, which the clocks skip
            "08 06:00 -0400",
        ]
        assert by_the_clock("0 */2 * * *", "2026-10-24", PARIS, 9)[5:] == [
            "25 00:00 +0200",
            "25 02:00 +0200",
            "25 02:00 +0100",
            "25 04:00 +0100",
        ]

    def test_on_some_days_only(self) -> None:
        """The search passes both changes of the year on its way."""
        assert by_the_clock("0 * 25 12 *", "2026-01-01", NEW_YORK, 2) == ["25 00:00 -0500", "25 01:00 -0500"]
        assert by_the_clock("0 * 4 7 *", "2026-01-01", PARIS, 1) == ["04 00:00 +0200"]


class TestFixedHours:
    """Each time of the clock once: the first time, or right after a gap."""

    def test_new_york(self) -> None:
        assert by_the_clock("30 2 * * *", "2026-03-06", NEW_YORK, 3) == [
            "07 02:30 -0500",
            "08 03:00 -0400",
            "09 02:30 -0400",
        ]
        assert by_the_clock("30 1 * * *", "2026-10-30", NEW_YORK, 3) == [
            "31 01:30 -0400",
            "01 01:30 -0400",
            "02 01:30 -0500",
        ]

    def test_paris(self) -> None:
        assert by_the_clock("30 2 * * *", "2026-03-27", PARIS, 3) == [
            "28 02:30 +0100",
            "29 03:00 +0200",
            "30 02:30 +0200",
        ]
        assert by_the_clock("30 2 * * *", "2026-10-23", PARIS, 3) == [
            "24 02:30 +0200",
            "25 02:30 +0200",
            "26 02:30 +0100",
        ]

    def test_lord_howe(self) -> None:
        assert by_the_clock("15 2 * * *", "2026-10-02", LORD_HOWE, 3) == [
            "03 02:15 +1030",
            "04 02:30 +1100",
            "05 02:15 +1100",
        ]
        assert by_the_clock("45 1 * * *", "2026-04-03", LORD_HOWE, 3) == [
            "04 01:45 +1100",
            "05 01:45 +1100",
            "06 01:45 +1030",
        ]

    def test_an_alias(self) -> None:
        assert by_the_clock("@daily", "2026-03-27", PARIS, 3) == ["28 00:00 +0100", "29 00:00 +0100", "30 00:00 +0200"]

    def test_the_gap_begins_and_ends_with_a_due_time(self) -> None:
        assert by_the_clock("0 2 * * *", "2026-03-28", PARIS, 2) == ["29 03:00 +0200", "30 02:00 +0200"]
        assert by_the_clock("0 2,3 * * *", "2026-03-28", PARIS, 2) == ["29 03:00 +0200", "30 02:00 +0200"]

    def test_many_skipped_times_are_made_up_for_once(self) -> None:
        assert by_the_clock("*/10 2 * * *", "2026-03-28", PARIS, 2) == ["29 03:00 +0200", "30 02:00 +0200"]
        assert by_the_clock("*/10 2 * * *", "2026-10-03", LORD_HOWE, 4) == [
            "04 02:30 +1100",
            "04 02:40 +1100",
            "04 02:50 +1100",
            "05 02:00 +1100",
        ]

    def test_many_times_in_an_hour_that_comes_twice(self) -> None:
        assert by_the_clock("*/30 1,2 * * *", "2026-10-31", NEW_YORK, 5) == [
            "01 01:00 -0400",
            "01 01:30 -0400",
            "01 02:00 -0500",
            "01 02:30 -0500",
            "02 01:00 -0500",
        ]

    @pytest.mark.parametrize("moment", ["06:00:00", "06:00:00.000001", "06:29:59.5", "06:30:00", "06:59:59.999999"])
    def test_a_timer_that_starts_in_the_second_pass(self, moment: str) -> None:
        """Each of these reads 01:something once more. The next to come is 02:00, which has not been yet."""
        assert due("30 1 * * *", f"2026-11-01 {moment}", 1, NEW_YORK) == ["2026-11-02 06:30:00"]
        assert due("* 1,2 * * *", f"2026-11-01 {moment}", 1, NEW_YORK) == ["2026-11-01 07:00:00"]
        assert due("* * 1,2 * * *", f"2026-11-01 {moment}", 1, NEW_YORK) == ["2026-11-01 07:00:00"]

    @pytest.mark.parametrize("moment", ["06:59:59", "06:59:59.999999"])
    def test_a_timer_that_starts_right_before_the_gap_ends(self, moment: str) -> None:
        assert due("30 30 2 * * *", f"2026-03-08 {moment}", 2, NEW_YORK) == [
            "2026-03-08 07:00:00",
            "2026-03-09 06:30:30",
        ]

    @pytest.mark.parametrize("moment", ["07:00:00", "07:00:00.000001", "07:10:00"])
    def test_a_timer_that_starts_after_the_gap(self, moment: str) -> None:
        assert due("30 2 * * *", f"2026-03-08 {moment}", 1, NEW_YORK) == ["2026-03-09 06:30:00"]

    def test_a_weekday_that_is_the_day_of_the_change(self) -> None:
        for sunday in ("0", "7", "sun"):
            assert by_the_clock(f"30 2 * * {sunday}", "2026-03-22", PARIS, 2) == ["29 03:00 +0200", "05 02:30 +0200"]

    def test_a_gap_at_midnight(self) -> None:
        havana = zoneinfo.ZoneInfo("America/Havana")
        assert by_the_clock("0 0 * * *", "2026-03-07", havana, 2) == ["08 01:00 -0400", "09 00:00 -0400"]

    def test_a_whole_day_that_never_was(self) -> None:
        """Samoa went from 29 to 31 December 2011 over night."""
        apia = zoneinfo.ZoneInfo("Pacific/Apia")
        assert by_the_clock("0 9 * * *", "2011-12-28", apia, 3) == [
            "29 09:00 -1000",
            "31 00:00 +1400",
            "31 09:00 +1400",
        ]

    def test_a_zone_without_changes(self) -> None:
        zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
        assert due("30 2 * * *", "2026-03-28 12:00:00", 2, zone) == ["2026-03-28 21:00:00", "2026-03-29 21:00:00"]


Day = Callable[[dt.date], bool]


def every_day(day: dt.date) -> bool:
    return True


def sundays(day: dt.date) -> bool:
    return day.isoweekday() == 7


def sundays_and_first_eight_of_four_months(day: dt.date) -> bool:
    return day.month in (3, 4, 10, 11) and (day.day <= 8 or sundays(day))


YEAR = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MINUTES = 365 * 24 * 60
# expression, is it an interval, and what it means: minutes, hours, days
TEN = [
    ("*/15 * * * *", True, {0, 15, 30, 45}, set(range(24)), every_day),
    ("0 * * * *", True, {0}, set(range(24)), every_day),
    ("40 */2 * * *", True, {40}, set(range(0, 24, 2)), every_day),
    ("*/20 * * * sun", True, {0, 20, 40}, set(range(24)), sundays),
    ("30 2 * * *", False, {30}, {2}, every_day),
    ("45 1 * * *", False, {45}, {1}, every_day),
    ("*/10 1-3 * * *", False, set(range(0, 60, 10)), {1, 2, 3}, every_day),
    ("0 0-23 * * *", False, {0}, set(range(24)), every_day),
    ("5,15 2 1-8 mar,apr,oct,nov 7", False, {5, 15}, {2}, sundays_and_first_eight_of_four_months),
    ("@daily", False, {0}, {0}, every_day),
]  # fmt: skip


@functools.cache
def minutes_of_the_year(zone: zoneinfo.ZoneInfo) -> array.array[int]:
    """What the clock reads at each real minute, as minutes since the year 0."""
    start, readings = int(YEAR.timestamp()), array.array("q")
    for minute in range(MINUTES):
        local = dt.datetime.fromtimestamp(start + minute * 60, zone)
        readings.append(local.toordinal() * 1440 + local.hour * 60 + local.minute)
    return readings


def reached(readings: array.array[int], *, interval: bool) -> Iterator[tuple[int, int]]:
    """The readings that count, with the real minute: all of an interval; else those that are new or skipped."""
    if interval:
        yield from enumerate(readings)
        return
    latest = readings[0] - 1
    for minute, reading in enumerate(readings):
        while latest < reading:
            latest += 1
            yield minute, latest


def table(zone: zoneinfo.ZoneInfo, interval: bool, minutes: set[int], hours: set[int], day: Day) -> list[int]:
    """All real minutes of the year that are due."""
    first = dt.date(2025, 12, 31).toordinal()
    days = {number for number in range(first, first + 368) if day(dt.date.fromordinal(number))}
    return sorted({
        minute
        for minute, reading in reached(minutes_of_the_year(zone), interval=interval)
        if reading % 60 in minutes and reading // 60 % 24 in hours and reading // 1440 in days
    })  # fmt: skip


class TestWholeYear:
    @pytest.mark.parametrize("zone", ZONES, ids=str)
    @pytest.mark.parametrize(("expression", "interval", "minutes", "hours", "day"), TEN, ids=[row[0] for row in TEN])
    def test_2026(
        self, zone: zoneinfo.ZoneInfo, expression: str, interval: bool, minutes: set[int], hours: set[int], day: Day
    ) -> None:
        """Asked at the due times (400 of those that have more) and each seven minutes around the changes."""
        expected, schedule = table(zone, interval, minutes, hours, day), Schedule.parse(expression)
        readings = minutes_of_the_year(zone)
        changes = [minute for minute in range(1, MINUTES) if readings[minute] - readings[minute - 1] != 1]
        assert len(changes) == 2
        asked = set(expected[:: max(1, len(expected) // 400)])
        asked.update(*(range(change - 360, change + 361, 7) for change in changes), *((c - 1, c) for c in changes))
        for minute in sorted(asked):
            found = schedule.next_after(YEAR + dt.timedelta(minutes=minute), zone)
            after = bisect.bisect_right(expected, minute)
            if after < len(expected):
                assert found == YEAR + dt.timedelta(minutes=expected[after]), (minute, found.astimezone(zone))


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


def guesses(count: int) -> Iterator[str]:
    """Expressions of stars, numbers, ranges and steps, right and wrong."""
    dice = random.Random(7)
    limits = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]

    def part(low: int, high: int) -> str:
        first, last = (dice.randint(max(0, low - 1), high + 2) for _ in range(2))
        return dice.choice([f"{first}", f"{first}", f"{first}-{last}", f"{first}-{last}/{dice.randint(0, high)}"])

    def field(low: int, high: int) -> str:
        parts = ",".join(part(low, high) for _ in range(dice.choice([1, 1, 2, 3])))
        return dice.choice(["*", "*", f"*/{dice.randint(0, high + 3)}", parts, parts])

    for _ in range(count):
        yield " ".join(field(*limit) for limit in limits[dice.randint(0, 1) :])


class TestAtAGlance:
    """Most expressions are declared without croniter, whose import starts the program `file`."""

    def test_what_is_accepted_is_due_within_a_year(self) -> None:
        accepted = [expression for expression in guesses(5000) if schedule._is_plain(expression.split(" "))]
        assert len(accepted) > 400
        after = dt.datetime(2026, 1, 31, 23, 59, 59, tzinfo=dt.UTC)
        for expression in accepted:
            assert Schedule(expression).next_after(after) <= after + dt.timedelta(days=366), expression

    @pytest.mark.parametrize(
        ("expression", "loaded"),
        [
            ("0 * * * *", False),
            ("*/5 * * * * *", False),
            ("0,30 9-17/2 1,15 1-6 1-5", False),
            ("@daily", False),
            ("0 9 * * mon-fri", True),
            ("0 0 31 1 *", True),
            ("0 0 l * *", True),
        ],
    )
    def test_croniter_decides_about_the_others(self, expression: str, loaded: bool) -> None:
        code = f"import sys; from django_cfg_tasks.schedule import Schedule; Schedule.parse({expression!r})"
        asked = [sys.executable, "-c", f"{code}; print('croniter' in sys.modules)"]
        assert subprocess.check_output(asked, text=True) == f"{loaded}\n"
