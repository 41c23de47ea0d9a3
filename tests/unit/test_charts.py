"""Charts: round numbers on the axis, and bars that say what they are made of."""

from __future__ import annotations

import itertools

import pytest

from django_cfg_tasks.admin.dashboard.charts import BAR_WIDTH, GAP, HEIGHT, LEAST, MOST_TICKS, stacked, ticks


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (0, (0, 1)),
        (1, (0, 1)),
        (4, (0, 1, 2, 3, 4)),
        (5, (0, 2, 4, 6)),
        (9, (0, 5, 10)),
        (100, (0, 50, 100)),
        (101, (0, 50, 100, 150)),
        (166_667, (0, 50_000, 100_000, 150_000, 200_000)),
    ],
)
def test_ticks_are_round(most: int, expected: tuple[int, ...]) -> None:
    assert ticks(most) == expected


def test_ticks_reach_the_top_and_are_few() -> None:
    for most in [*range(1, 500), 10**6 - 1, 10**9, 10**12 + 1]:
        found = ticks(most)
        assert found[0] == 0
        assert found[-2] < most <= found[-1]
        assert len(found) <= MOST_TICKS
        [step] = {after - before for before, after in itertools.pairwise(found)}
        assert str(step).rstrip("0") in ("1", "2", "5")


def test_parts_stand_on_each_other_and_are_as_high_as_they_are_many() -> None:
    chart = stacked([[("failed", 25), ("successful", 75), ("open", 0)], [], [("successful", 50)]])
    assert (chart.ticks, chart.lines) == ((0, 50, 100), ("200", "100", "0"))
    assert chart.width == 3 * BAR_WIDTH
    full, empty, half = chart.bars
    assert [(part.kind, part.y, part.height) for part in full.parts] == [
        ("failed", "150", "50"),
        ("successful", "0", "150"),
    ]
    assert empty.parts == ()
    [part] = half.parts
    assert (part.x, part.width, part.y, part.height) == (
        str(2 * BAR_WIDTH + GAP),
        str(BAR_WIDTH - 2 * GAP),
        "100",
        "100",
    )
    assert [bar.left for bar in chart.bars] == ["0", "10", "20"]


def test_one_failure_among_many_is_seen_and_the_bar_is_no_higher_for_it() -> None:
    [bar] = stacked([[("failed", 1), ("successful", 99_999)]]).bars
    failed, successful = bar.parts
    assert failed.height == str(LEAST)
    assert float(failed.height) + float(successful.height) == pytest.approx(HEIGHT)
    assert float(successful.y) == pytest.approx(0)


def test_a_low_bar_beside_a_high_one_is_seen() -> None:
    _, low = stacked([[("successful", 100_000)], [("failed", 1), ("open", 1)]]).bars
    assert [part.height for part in low.parts] == [str(LEAST), str(LEAST)]


def test_nothing_at_all() -> None:
    assert stacked([]).ticks == (0, 1)
    assert all(not bar.parts for bar in stacked([[], [("failed", 0)]]).bars)


def test_numbers_are_those_of_svg_whatever_the_language() -> None:
    chart = stacked([[("failed", 1), ("successful", 2)]])
    numbers = [text for part in chart.bars[0].parts for text in (part.x, part.y, part.width, part.height)]
    assert all(float(text) >= 0 for text in [*numbers, *chart.lines])
    assert "66.67" in numbers
