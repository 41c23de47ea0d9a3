"""Which due times a timer catches up with, and which it leaves out. How each expression is read, see test_schedule."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from typing import Any

import pytest

from django_cfg_tasks.cron import Cron
from django_cfg_tasks.schedule import Schedule
from django_cfg_tasks.worker import due
from django_cfg_tasks.worker.due import LeftOut, pending

PARIS = zoneinfo.ZoneInfo("Europe/Paris")
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"2026-{text}").replace(tzinfo=dt.UTC)


def cron(expression: str, **options: Any) -> Cron:
    return Cron(Schedule.parse(expression), **options)


def run(declared: Cron, since: str, now: str, zone: dt.tzinfo = dt.UTC) -> list[str]:
    return [f"{moment:%m-%d %H:%M:%S}" for moment in pending(declared, zone, utc(since), utc(now)).run]


def left_out(declared: Cron, since: str, now: str) -> tuple[str, str] | None:
    found = pending(declared, dt.UTC, utc(since), utc(now)).left_out
    return (f"{found.first:%H:%M:%S}", f"{found.last:%H:%M:%S}") if found is not None else None


EACH_MINUTE, HOURLY, EACH_SECOND = "* * * * *", "0 * * * *", "* * * * * *"


@pytest.mark.parametrize(
    ("expression", "options", "since", "now", "expected"),
    [
        # Nothing is due yet, or was seen to already.
        (HOURLY, {}, "06-01 12:00:00", "06-01 12:59:59", []),
        # On time.
        (HOURLY, {"catch_up": "none"}, "06-01 12:00:00", "06-01 13:00:00.2", ["13"]),
        (HOURLY, {"catch_up": "latest"}, "06-01 12:00:00", "06-01 13:00:00.2", ["13"]),
        (HOURLY, {"catch_up": "all"}, "06-01 12:00:00", "06-01 13:00:00.2", ["13"]),
        # Several missed, the latest within the grace.
        (HOURLY, {"catch_up": "none"}, "06-01 09:30:00", "06-01 12:04:00", []),
        (HOURLY, {"catch_up": "latest"}, "06-01 09:30:00", "06-01 12:04:00", ["12"]),
        (HOURLY, {"catch_up": "all"}, "06-01 09:30:00", "06-01 12:04:00", ["12"]),
        (HOURLY, {"catch_up": "all", "misfire_grace": 7440}, "06-01 09:30:00", "06-01 12:04:00", ["10", "11", "12"]),
        (HOURLY, {"catch_up": "all", "misfire_grace": 7439}, "06-01 09:30:00", "06-01 12:04:00", ["11", "12"]),
        # The latest is beyond the grace, or right at its end.
        (HOURLY, {"catch_up": "latest"}, "06-01 09:30:00", "06-01 12:05:00", ["12"]),
        (HOURLY, {"catch_up": "latest"}, "06-01 09:30:00", "06-01 12:05:00.001", []),
        (HOURLY, {"catch_up": "all"}, "06-01 09:30:00", "06-01 12:05:00.001", []),
        # Without any grace, what is on time is still met.
        (HOURLY, {"misfire_grace": 0}, "06-01 12:30:00", "06-01 13:00:00.9", ["13"]),
        (HOURLY, {"misfire_grace": 0}, "06-01 12:30:00", "06-01 13:00:01.1", []),
        (HOURLY, {"catch_up": "none", "misfire_grace": 0}, "06-01 12:30:00", "06-01 13:00:01.1", []),
        (HOURLY, {"catch_up": "none"}, "06-01 12:30:00", "06-01 13:00:05", ["13"]),
        (HOURLY, {"catch_up": "none"}, "06-01 12:30:00", "06-01 13:00:05.1", []),
    ],
)
def test_what_is_run(expression: str, options: dict[str, Any], since: str, now: str, expected: list[str]) -> None:
    assert run(cron(expression, **options), since, now) == [f"06-01 {hour}:00:00" for hour in expected]


@pytest.mark.parametrize(
    ("options", "now", "expected"),
    [
        ({"catch_up": "none"}, "12:04:00", ("10:00:00", "12:00:00")),
        ({"catch_up": "none"}, "12:00:01", ("10:00:00", "11:00:00")),
        ({"catch_up": "latest"}, "12:04:00", ("10:00:00", "11:00:00")),
        ({"catch_up": "latest"}, "12:06:00", ("10:00:00", "12:00:00")),
        ({"catch_up": "latest"}, "10:04:00", None),
        ({"catch_up": "all"}, "12:04:00", ("10:00:00", "11:00:00")),
        ({"catch_up": "all"}, "12:06:00", ("10:00:00", "12:00:00")),
        ({"catch_up": "all", "misfire_grace": 9000}, "12:04:00", None),
    ],
)
def test_what_is_left_out(options: dict[str, Any], now: str, expected: tuple[str, str] | None) -> None:
    assert left_out(cron(HOURLY, **options), "06-01 09:30:00", f"06-01 {now}") == expected


def test_what_is_left_out_says_why() -> None:
    def why(**options: Any) -> LeftOut | None:
        return pending(cron(HOURLY, **options), dt.UTC, utc("06-01 09:30:00"), utc("06-01 12:06:00")).left_out

    late = why(misfire_grace=60)
    assert late is not None
    assert late.too_late
    assert "misfire_grace=60" in late.why
    chosen = why(catch_up="none")
    assert chosen is not None
    assert not chosen.too_late
    assert "catch_up='none'" in chosen.why


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
@pytest.mark.parametrize("expression", [EACH_SECOND, "*/7 * * * * *", EACH_MINUTE, HOURLY, "0 3 * * *"])
def test_round_by_round_each_due_time_is_run_once(expression: str, catch_up: Any) -> None:
    """Rounds at odd moments, never more than five seconds apart: the same as asking the schedule."""
    declared, now, end = cron(expression, catch_up=catch_up), utc("06-01 02:57:00.5"), utc("06-01 03:01:30")
    until, found, upcoming = now, [], due.next_due(declared, dt.UTC, now)
    for step in itertools.cycle((0.4, 0.9, 0.05, 0.7)):
        now += dt.timedelta(seconds=step)
        if now > end:
            break
        if upcoming <= now:
            seen = pending(declared, dt.UTC, until, now)
            found += seen.run
            until, upcoming = seen.until, seen.next
    expected = [utc("06-01 02:57:00.5")]
    while expected[-1] <= until:
        expected.append(declared.schedule.next_after(expected[-1]))
    assert found == expected[1:-1]


def test_all_come_in_batches_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "BATCH", 4)
    declared, until, now = (
        cron(EACH_MINUTE, catch_up="all", misfire_grace=3600),
        utc("06-01 12:00:00"),
        "06-01 12:09:59",
    )
    batches = []
    while (seen := pending(declared, dt.UTC, until, utc(now))).run:
        batches.append([moment.minute for moment in seen.run])
        until = seen.until
    assert batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert until == utc(now)
    assert seen.next == utc("06-01 12:10:00")


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_a_year_of_missed_seconds_is_not_walked(catch_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dt.datetime] = []
    next_due = due.next_due
    monkeypatch.setattr(due, "next_due", lambda *args: asked.append(args[2]) or next_due(*args))
    declared = cron(EACH_SECOND, catch_up=catch_up, misfire_grace=100)
    since, now = utc("01-01 00:00:00.5").replace(year=2025), utc("06-01 12:00:00.25")
    found = pending(declared, dt.UTC, since, now)
    assert found.run[-1] == utc("06-01 12:00:00")
    assert len(found.run) == (100 if catch_up == "all" else 1)
    assert found.left_out is not None
    assert found.left_out.first == since.replace(second=1, microsecond=0)
    assert found.left_out.last == found.run[0] - dt.timedelta(seconds=1)
    assert len(asked) < 200


def test_the_last_of_a_burst_long_ago() -> None:
    """Each second of one hour, then nothing for the rest of the day."""
    declared = cron("* * 3 * * *", misfire_grace=86_400)
    assert run(declared, "06-01 00:00:00", "06-01 20:17:33") == ["06-01 03:59:59"]


class TestZones:
    def test_a_task_has_a_zone_of_its_own(self) -> None:
        declared = cron("30 9 * * *", timezone=NEW_YORK)
        assert run(declared, "06-01 12:00:00", "06-01 13:31:00", PARIS) == ["06-01 13:30:00"]
        assert run(declared, "06-01 07:00:00", "06-01 07:31:00", PARIS) == []

    def test_others_are_reckoned_where_django_is(self) -> None:
        assert run(cron("30 9 * * *"), "06-01 07:00:00", "06-01 07:31:00", PARIS) == ["06-01 07:30:00"]

    @pytest.mark.parametrize(
        ("expression", "since", "now", "expected"),
        [
            # 29 March, 02:00 to 03:00 is skipped, which was 01:00 UTC: 02:30 is due right after.
            ("30 2 * * *", "03-28 02:00:00", "03-29 00:59:59", []),
            ("30 2 * * *", "03-28 02:00:00", "03-29 01:00:10", ["03-29 01:00:00"]),
            ("30 2 * * *", "03-29 01:00:10", "03-29 12:00:00", []),
            # 25 October, 02:00 to 03:00 comes twice: 02:30 counts the first time.
            ("30 2 * * *", "10-24 12:00:00", "10-25 00:31:00", ["10-25 00:30:00"]),
            ("30 2 * * *", "10-25 00:31:00", "10-25 12:00:00", []),
            # What runs by elapsed time runs in both hours.
            ("30 * * * *", "10-25 00:31:00", "10-25 01:31:00", ["10-25 01:30:00"]),
        ],
    )
    def test_when_the_clocks_change(self, expression: str, since: str, now: str, expected: list[str]) -> None:
        assert run(cron(expression, timezone=PARIS), since, now) == expected

    @pytest.mark.parametrize("night", ["03-28 22:00:00", "10-24 22:00:00"])
    def test_missed_while_the_clocks_changed(self, night: str) -> None:
        """All of a night's due times, those around the change among them, as if a timer had been there."""
        declared = cron("*/20 * * * *", timezone=PARIS, catch_up="all", misfire_grace=86_400)
        found = pending(declared, dt.UTC, utc(night), utc(night) + dt.timedelta(hours=6)).run
        assert found == [utc(night) + dt.timedelta(minutes=20 * number) for number in range(1, 19)]
