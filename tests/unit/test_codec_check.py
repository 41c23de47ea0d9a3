"""What JSON may be given for a task's parameters, by their annotations."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import pytest

from django_cfg_tasks.exceptions import ArgumentsError
from django_cfg_tasks.serialization import Codec


class Odd: ...


def send(
    to: str, count: int = 1, *more: int, day: dt.date | None = None, kind: Literal["a", "b"] = "a", **rest: float
): ...
def loose(anything, odd: Odd, unknown: Nowhere, whatever: Any): ...  # type: ignore[no-untyped-def,name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["a"], {}),
        (["a", 2, 3, 4], {"day": "2026-01-31", "kind": "b", "x": 1.5}),
        (["a"], {"day": None, "count": "5"}),
    ],
)
def test_what_fits(args: list[Any], kwargs: dict[str, Any]) -> None:
    Codec(send).check(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ([5], {}, "to"),
        (["a", "many"], {}, "count"),
        (["a", 1, 2, "x"], {}, "more"),
        (["a"], {"day": "yesterday"}, "day"),
        (["a"], {"kind": "c"}, "kind"),
        (["a"], {"x": "y"}, "rest"),
        ([], {}, "'to'"),
        (["a"], {"to": "b"}, "'to'"),
    ],
)
def test_what_does_not_fit_is_named(args: list[Any], kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentsError, match=named):
        Codec(send).check(args, kwargs)


def test_what_no_annotation_says_may_be_anything() -> None:
    Codec(loose).check([1, {}, [], None], {})
