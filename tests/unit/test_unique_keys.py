"""What makes two jobs of a unique task the same: the arguments as the function gets them, however they were given."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from django_cfg_tasks import task
from django_cfg_tasks.exceptions import DeclarationError, InvalidOptionError
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task


@pytest.fixture(autouse=True)
def declared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares is forgotten after it."""
    monkeypatch.setattr(tasks, "_tasks", {})


def key(task: Task[..., Any], *args: Any, **kwargs: Any) -> str | None:
    return task.record(args, kwargs).unique_key


def report(day: str, kind: str = "short", *rows: int, deep: bool = False, **more: Any) -> None: ...


class TestTrue:
    def test_one_call_written_in_many_ways_has_one_key(self) -> None:
        t = task(unique=True, name="report")(report)
        calls: list[Callable[[], str | None]] = [
            lambda: key(t, "monday"),
            lambda: key(t, day="monday"),
            lambda: key(t, "monday", "short"),
            lambda: key(t, kind="short", day="monday"),
            lambda: key(t, "monday", deep=False),
        ]
        assert len({call() for call in calls}) == 1

    def test_other_arguments_have_other_keys(self) -> None:
        t = task(unique=True, name="report")(report)
        keys = [
            key(t, "monday"), key(t, "tuesday"), key(t, "monday", "long"), key(t, "monday", deep=True),
            key(t, "monday", "short", 1), key(t, "monday", "short", 1, 2), key(t, "monday", x=1),
            key(t, "monday", x="1"),
        ]  # fmt: skip
        assert len(set(keys)) == len(keys)

    def test_tasks_do_not_share_keys(self) -> None:
        one, two = (task(unique=True, name=name)(report) for name in ("one", "two"))
        assert key(one, "monday") != key(two, "monday")

    def test_collected_keywords_have_no_order(self) -> None:
        t = task(unique=True, name="report")(report)
        assert key(t, "monday", a=1, b=2) == key(t, "monday", b=2, a=1)

    def test_the_context_is_no_argument(self) -> None:
        @task(unique=True, bind=True)
        def bound(ctx: Any, day: str) -> None: ...

        assert key(bound, "monday") == key(bound, day="monday") != key(bound, "tuesday")

    def test_a_default_that_is_given_is_the_default(self) -> None:
        pause, when = dt.timedelta(minutes=5), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

        @task(unique=True)
        def timed(
            pause: dt.timedelta = pause, when: dt.datetime = when, tags: frozenset[str] = frozenset("ab")
        ) -> None: ...

        assert key(timed) == key(timed, pause, when, frozenset("ba"))

    def test_it_is_the_same_in_every_process(self) -> None:
        """Sets have an order of their own in each, and objects an address."""
        code = (
            "import sys; sys.argv = ['x']\n"
            "import django; django.setup()\n"
            "from django_cfg_tasks import task\n"
            "@task(unique=True)\ndef odd(tags: set[str], stop=object()): ...\n"
            "print(odd.record([{'a', 'b', 'c', 'd', 'e', 'f'}], {}).unique_key)"
        )
        seen = {
            subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=_environment(seed)
            ).stdout
            for seed in ("1", "2", "3")
        }
        assert len(seen) == 1


def _environment(seed: str) -> dict[str, str]:
    return os.environ | {"PYTHONHASHSEED": seed, "DJANGO_SETTINGS_MODULE": "tests.settings"}


class TestTemplates:
    def test_only_what_it_names_counts(self) -> None:
        t = task(unique="{kind}:{day}", name="report")(report)
        assert key(t, "monday", deep=True) == key(t, "monday", "short") != key(t, "monday", "long")

    def test_what_lies_in_an_argument_can_be_named(self) -> None:
        @task(unique="{options[region]}")
        def regional(options: dict[str, Any]) -> None: ...

        assert key(regional, {"region": "eu", "x": 1}) == key(regional, {"region": "eu"})
        with pytest.raises(InvalidOptionError, match=r"can't be filled from these arguments: KeyError: 'region'"):
            key(regional, {})

    def test_what_the_function_does_not_take_is_refused_at_its_declaration(self) -> None:
        with pytest.raises(DeclarationError, match="has no parameter 'dya'"):
            task(unique="{dya}", name="report")(report)


class TestHowLong:
    @pytest.mark.parametrize(
        ("unique_for", "letter", "seconds"),
        [("until_done", "d", None), ("until_start", "s", None), (60, "t", 60), (dt.timedelta(hours=1), "t", 3600)],
    )
    def test_the_key_says_it(self, unique_for: Any, letter: str, seconds: int | None) -> None:
        t = task(unique=True, unique_for=unique_for, name="report")(report)
        record = t.record(["monday"], {})
        assert record.unique_key is not None
        assert record.unique_key[:2] == f"{letter}:"
        assert len(record.unique_key) <= 100, "the width of its column"
        if seconds is None:
            assert record.unique_until is None
        else:
            assert record.unique_until == record.enqueue_time + dt.timedelta(seconds=seconds)

    def test_others_have_none(self) -> None:
        assert key(task(name="report")(report), "monday") is None
