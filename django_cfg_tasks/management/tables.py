"""What commands show: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], bold: Callable[[str], str] = lambda text: text
) -> Iterator[str]:
    """Yield the lines of a table, a heading first; columns of numbers stand to the right."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    right = [bool(rows) and all(isinstance(row[place], int | float) for row in rows) for place in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        parts = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(cells, widths, right, strict=True)
        )
        return "  ".join(parts).rstrip()

    yield bold(line([heading.upper() for heading in headings]))
    for row in texts:
        yield line(row)


def as_json(value: object, *, indent: int | None = 2) -> str:
    """Return ``value``, of plain data, dataclasses and moments, as JSON."""
    return json.dumps(value, cls=_Encoder, indent=indent, ensure_ascii=False)


class _Encoder(DjangoJSONEncoder):
    def default(self, value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return super().default(value)
