"""Rows of the task log as text: for spreadsheets, and for programs.

Rows are read from a cursor of the database and written as they come: how many there are costs time, not memory. MySQL's
drivers take all rows of a cursor at once, so there the ids come first, and then the rows of some at a time.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar

from django.db import connections
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from django_cfg_tasks.history.rows import SHORT
from django_cfg_tasks.models import TaskLog

ROWS_AT_ONCE = 1_000
"""Rows that are fetched and written together."""
EXPORTED = (*SHORT, "error_class", "error_message")
"""The columns that are written."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Format = Literal["csv", "json"]
T = TypeVar("T")


def download(logs: QuerySet[TaskLog], wanted: Format) -> StreamingHttpResponse:
    """Return ordered rows as a file to be saved: CSV with a line of column names first, or one JSON array.

    Cells of CSV that a spreadsheet would take for a formula have an apostrophe in front.
    """
    rows = _rows(logs)
    body, media_type = (_csv(rows), "text/csv; charset=utf-8") if wanted == "csv" else (_json(rows), "application/json")
    name = f"task-log-{timezone.now():%Y-%m-%d}.{wanted}"
    return StreamingHttpResponse(
        body,
        content_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"},
    )


def safe_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet runs; numbers stay what they are."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return _moment(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _rows(logs: QuerySet[TaskLog]) -> Iterator[list[tuple[Any, ...]]]:
    columns = ["user_id" if column == "user" else column for column in EXPORTED]
    if connections[logs.db].vendor == "mysql":
        return _rows_by_id(logs, columns)
    return _pages(logs.values_list(*columns).iterator(chunk_size=ROWS_AT_ONCE))


def _rows_by_id(logs: QuerySet[TaskLog], columns: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
    for ids in _pages(iter(logs.values_list("pk", flat=True))):
        of_these = TaskLog.objects.using(logs.db).filter(pk__in=ids).values_list("pk", *columns)
        rows = {pk: tuple(row) for pk, *row in of_these}
        yield [rows[pk] for pk in ids if pk in rows]


def _pages(items: Iterator[T]) -> Iterator[list[T]]:
    while page := list(islice(items, ROWS_AT_ONCE)):
        yield page


def _csv(pages: Iterable[Sequence[tuple[Any, ...]]]) -> Iterator[str]:
    lines = _Lines()
    writer = csv.writer(lines)
    writer.writerow(EXPORTED)
    for page in pages:
        writer.writerows([safe_cell(value) for value in row] for row in page)
        yield lines.taken()


def _json(pages: Iterable[Sequence[tuple[Any, ...]]]) -> Iterator[str]:
    before = "["
    for page in filter(None, pages):
        shown = (json.dumps(dict(zip(EXPORTED, row, strict=True)), default=_plain, ensure_ascii=False) for row in page)
        yield before + ",\n".join(shown)
        before = ",\n"
    yield "[]" if before == "[" else "]"


def _plain(value: Any) -> str:
    return _moment(value) if isinstance(value, dt.datetime) else str(value)


def _moment(value: dt.datetime) -> str:
    return (timezone.localtime(value) if timezone.is_aware(value) else value).isoformat().replace("+00:00", "Z")


class _Lines:
    """What `csv.writer` writes to."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line)

    def taken(self) -> str:
        text = "".join(self._lines)
        self._lines.clear()
        return text
