"""A job as a line of Python, and how its time compares."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from django_cfg_tasks import task
from django_cfg_tasks.acts.bulk import bulk
from django_cfg_tasks.admin.job.calls import as_delay, literal
from django_cfg_tasks.admin.job.pace import Pace
from django_cfg_tasks.history.performance import Usual
from django_cfg_tasks.masking import MASK
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks


@pytest.fixture(autouse=True)
def _hidden() -> Iterator[None]:
    """A task that can't be imported: it is declared in a function."""

    @task(name="hidden")
    def hidden(*some: Any, **more: Any) -> None: ...

    yield
    tasks.remove("hidden")


def text(name: str, *args: Any, queue: str = "default", **kwargs: Any) -> str:
    call = as_delay(TaskLog(task_name=name, queue_name=queue), args, kwargs)
    ast.parse(f"async def main():\n    {call.text.splitlines()[0]}\n    " + call.text.split("\n\n", 1)[1])
    return call.text


class TestAsDelay:
    def test_one_that_can_be_imported(self) -> None:
        import tests.shop.tasks  # noqa: F401 - declares it

        assert text("add", 1, second=2) == "from tests.shop.tasks import add\n\nawait add.delay(1, second=2)"

    def test_others_by_name(self) -> None:
        assert text("hidden", to="ann") == (
            'from django_cfg_tasks.registry import tasks\n\nawait tasks["hidden"].delay(to="ann")'
        )
        assert 'tasks["gone"].delay()' in text("gone")
        assert 'tasks["django_cfg_tasks.bulk"].delay("retry"' in text(bulk.name, "retry", {}, 7)
        assert not as_delay(TaskLog(task_name="gone"), [], {}).is_declared

    def test_another_queue(self) -> None:
        assert '.using(queue="low").delay()' in text("hidden", queue="low")

    def test_long_calls_have_a_line_for_each_argument(self) -> None:
        assert text("hidden", "x" * 50, body="y" * 50).endswith(
            f'.delay(\n    "{"x" * 50}",\n    body="{"y" * 50}",\n)'
        )  # fmt: skip

    def test_names_that_are_none_or_are_options(self) -> None:
        assert text("hidden", **{"class": 1, "a b": 2, "ok": 3}).endswith('.delay(ok=3, **{"class": 1, "a b": 2})')
        assert ".aenqueue(countdown=5)" in text("hidden", countdown=5)
        assert ".aenqueue(kwargs=5)" in text("hidden", kwargs=5)

    def test_masked_values_are_told(self) -> None:
        row = TaskLog(task_name="hidden", queue_name="default")
        assert as_delay(row, [{"a": [MASK]}], {}).is_masked
        assert as_delay(row, [], {"password": MASK}).is_masked
        assert not as_delay(row, ["*"], {"a": {"b": 1}}).is_masked

    @pytest.mark.parametrize(
        "value",
        [
            'it\'s "so"', "it's", 'say "so"', "back\\slash\n", "\u202eevil", "\u2028", "ü", "", [1, [2.5, None]],
            {"a": True, 'k"': []}, -1, 1e300, "<script>", {"": "'"},
        ],
    )  # fmt: skip
    def test_literals_are_what_they_say(self, value: Any) -> None:
        written = literal(value)
        assert ast.literal_eval(written) == value
        assert written.isprintable()


class TestPace:
    @pytest.mark.parametrize(
        ("milliseconds", "words"),
        [
            (1_200, "about the median of 1.2 s; 95 % take up to 2.0 s"),
            (2_880, "2.4 × the median of 1.2 s; slower than 95 % of them (2.0 s)"),  # noqa: RUF001
            (600, "0.5 × the median of 1.2 s; 95 % take up to 2.0 s"),  # noqa: RUF001
            (120_000, "100 × the median of 1.2 s; slower than 95 % of them (2.0 s)"),  # noqa: RUF001
            (0, "< 0.01 × the median of 1.2 s; 95 % take up to 2.0 s"),  # noqa: RUF001
        ],
    )
    def test_words(self, milliseconds: float, words: str) -> None:
        assert Pace(milliseconds, Usual(100, 1_200, 2_000)).words == words

    def test_what_makes_no_difference_is_not_called_slow(self) -> None:
        assert not Pace(1_010, Usual(100, 1_000, 1_005)).is_slow
        assert not Pace(0.4, Usual(100, 0, 0)).is_slow

    def test_marks_are_on_the_line(self) -> None:
        svg = Pace(4_000, Usual(10, 1_000, 2_000)).svg()
        assert 'x1="23.810%" x2="23.810%"' in svg
        assert 'width="95.238%"' in svg
        assert "dct-pace-slow" in svg
        assert "NaN" not in Pace(0, Usual(10, 0, 0)).svg()
