"""What a cron task says of itself beside its expression."""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo
from typing import Any

import pytest

from django_cfg_tasks.cron import Cron, grace_of, zone_of
from django_cfg_tasks.exceptions import DeclarationError
from django_cfg_tasks.schedule import Schedule

HOURLY = Schedule.parse("@hourly")


def test_what_is_said_of_none() -> None:
    cron = Cron(HOURLY)
    assert (cron.run_at_start, cron.timezone, cron.misfire_grace) == (False, None, 300)
    assert (cron.catch_up, cron.overlap) == ("latest", "allow")


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_choices(catch_up: Any, overlap: Any) -> None:
    cron = Cron(HOURLY, catch_up=catch_up, overlap=overlap)
    assert (cron.catch_up, cron.overlap) == (catch_up, overlap)


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("catch_up", "some", "'none', 'latest', 'all'"),
        ("catch_up", None, "'none', 'latest', 'all'"),
        ("catch_up", True, "'none', 'latest', 'all'"),
        ("overlap", "forbid", "'allow', 'skip'"),
        ("overlap", False, "'allow', 'skip'"),
    ],
)
def test_what_is_no_choice(option: str, value: Any, choices: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Cron(HOURLY, **{option: value})
    assert str(caught.value) == f"{option}={value!r}: it takes one of {choices}."


def test_zones() -> None:
    paris = zoneinfo.ZoneInfo("Europe/Paris")
    assert zone_of("Europe/Paris") is paris
    assert zone_of(paris) is paris
    assert zone_of(dt.UTC) is dt.UTC
    assert zone_of(None) is None


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "/etc/passwd", "a\x00b", "Europe", 5, b"UTC"])
def test_what_is_no_zone(name: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        zone_of(name)
    assert str(caught.value) == (
        f"timezone={name!r}: there is no such time zone here; it takes a name such as 'Europe/Paris'."
    )


@pytest.mark.parametrize(
    ("grace", "seconds"),
    [(0, 0), (300, 300), (0.5, 0.5), (dt.timedelta(hours=1), 3600), (31_536_000, 31_536_000)],
)
def test_grace(grace: Any, seconds: float) -> None:
    assert grace_of(grace) == seconds
    assert isinstance(grace_of(grace), float)


@pytest.mark.parametrize(
    "grace", [-1, 31_536_001, math.inf, math.nan, True, None, "5m", -dt.timedelta(1), dt.timedelta(days=366)]
)
def test_what_is_no_grace(grace: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        grace_of(grace)
    assert str(caught.value) == f"misfire_grace={grace!r}: it takes seconds from 0 to 31536000, a year."
