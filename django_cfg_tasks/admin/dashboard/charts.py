"""The geometry of charts that the server draws as SVG: where bars stand and how high, and round numbers for an axis.

Coordinates are text, as SVG wants them whatever the language of the page is. It knows nothing of jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BAR_WIDTH = 10
"""Of a bar with the gaps at its sides, in units of the drawing; the page stretches them to the width that it has."""
GAP = 1
HEIGHT = 200
LEAST = 2
"""The height of the smallest part that is drawn: one failure among thousands is to be seen."""
MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    kind: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Bar:
    """The parts of a bar from the ground up, and the column that it stands in."""

    parts: tuple[Part, ...]
    left: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars above an axis from 0 to the last of ``ticks``."""

    bars: tuple[Bar, ...]
    ticks: tuple[int, ...]
    lines: tuple[str, ...]
    """How high the ticks are, as y."""
    width: int
    height: int = HEIGHT
    column: int = BAR_WIDTH


def ticks(most: int) -> tuple[int, ...]:
    """Return round numbers from 0 to ``most`` or above: 1, 2 or 5 times a power of ten apart, up to `MOST_TICKS`."""
    step, factors = 1, (2, 2.5, 2)
    count = 0
    while step * (MOST_TICKS - 1) < most:
        step = int(step * factors[count % 3])
        count += 1
    return tuple(range(0, step * max(1, -(-most // step)) + 1, step))


def stacked(columns: Sequence[Sequence[tuple[str, int]]]) -> Chart:
    """Return the chart of columns that each say, from the ground up, how many there are of which kind."""
    marks = ticks(max((sum(number for _, number in column) for column in columns), default=0))
    bars = tuple(_bar(index * BAR_WIDTH, column, marks[-1]) for index, column in enumerate(columns))
    lines = tuple(_text(HEIGHT * (1 - mark / marks[-1])) for mark in marks)
    return Chart(bars, marks, lines, BAR_WIDTH * len(columns))


def _bar(left: float, column: Sequence[tuple[str, int]], most: int) -> Bar:
    parts = []
    y = float(HEIGHT)
    for (kind, _), height in zip(
        shown := [(kind, number) for kind, number in column if number],
        _heights([number * HEIGHT / most for _, number in shown]),
        strict=True,
    ):
        y -= height
        parts.append(Part(kind, _text(left + GAP), _text(y), _text(BAR_WIDTH - 2 * GAP), _text(height)))
    return Bar(tuple(parts), _text(left))


def _heights(true: list[float]) -> list[float]:
    """Return the heights with what is too low to be seen raised, at the cost of those that are high."""
    raised = [max(height, LEAST) for height in true]
    excess = sum(raised) - sum(true)
    spare = sum(height - LEAST for height in raised)
    share = min(1.0, excess / spare) if spare else 0.0
    return [height - (height - LEAST) * share for height in raised]


def _text(number: float) -> str:
    return f"{round(number, 2) + 0:.2f}".rstrip("0").rstrip(".")  # + 0: no -0
