"""How a long list is given out in pages: by number, or from cursor to cursor.

No page costs more for the rows that are before or after it: what is counted ends at `EXACT`, and pages by number end
at `MAX_OFFSET`, from where cursors go on.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from django_cfg_tasks.history.counts import EXACT, estimate, with_count
from django_cfg_tasks.history.filters import MOST_FOUND, NAME_LOOKUPS
from django_cfg_tasks.models import NEWEST_FIRST, TaskLog

MAX_OFFSET = 100_000
"""Rows that a page by number may skip."""
PAGE_SIZE, MAX_PAGE_SIZE = 50, 200

Logs = QuerySet[TaskLog]


class LogPagination(BasePagination):
    """Pages by number, with a count, or by ``cursor`` (empty for the first), newest first.

    ``page_size`` is up to 200. Past the last page that has a number, ``next`` is a cursor.
    """

    parameters = ("page", "page_size", "cursor")

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """Return one page of an ordered queryset; ValidationError for a bad parameter, NotFound for an empty page."""
        self._url = request.build_absolute_uri()
        self._by_time = tuple(queryset.query.order_by) == NEWEST_FIRST
        size = _number(request, "page_size", PAGE_SIZE, MAX_PAGE_SIZE)
        cursor = request.query_params.get("cursor")
        if cursor is None:
            return self._numbered(queryset, request, size)
        if "page" in request.query_params:
            raise exceptions.ValidationError({"page": ["Not together with a cursor."]})
        if not self._by_time:
            raise exceptions.ValidationError({"ordering": ["Cursors go from the newest to the oldest: leave it out."]})
        return self._walked(queryset, cursor, size)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows with where to go on; the count with pages by number only."""
        return Response({**self._head, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page, for OpenAPI."""
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "count": {"type": "integer", "description": f"Exact up to {EXACT}. Not with cursors."},
                "count_is_estimate": {"type": "boolean", "description": "Not with cursors."},
                "next": link,
                "previous": link,
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe the parameters, for OpenAPI."""
        number = {"type": "integer", "minimum": 1}
        cursor = "Walks from the newest row to the oldest: empty at first, then as next and previous have it."
        return [
            {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
            for name, text, schema in (
                ("page", f"The page's number; up to row {MAX_OFFSET}.", number),
                ("page_size", "Rows of a page.", number | {"maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE}),
                ("cursor", cursor, {"type": "string"}),
            )
        ]

    def _numbered(self, queryset: Logs, request: Request, size: int) -> list[TaskLog]:
        number = _number(request, "page", 1)
        skipped = (number - 1) * size
        if skipped > MAX_OFFSET:
            raise exceptions.ValidationError({"page": [f"Numbers end after {MAX_OFFSET} rows. Walk on with ?cursor=."]})
        counted = with_count(queryset)
        rows = [] if counted is None else list(counted[skipped : skipped + size + 1])
        if not rows and number > 1:
            raise exceptions.NotFound("That page is empty.")
        count = int(getattr(rows[0], "counted", 0)) if rows else 0
        # Of a search only the newest are found, so that a full count of them is a lower bound.
        estimated = count > EXACT or ("search" in request.query_params and count >= MOST_FOUND)
        if estimated:
            count = max(min(count, EXACT), skipped + len(rows), _estimate(queryset, request))
        page = rows[:size]
        following = None
        if len(rows) > size:
            following = replace_query_param(self._url, "page", number + 1)
            if skipped + size > MAX_OFFSET:
                cursor = cursor_beyond("after", page[-1])
                following = replace_query_param(remove_query_param(self._url, "page"), "cursor", cursor)
                following = following if self._by_time else None
        self._head = {
            "count": count,
            "count_is_estimate": estimated,
            "next": following,
            "previous": _previous(self._url, number),
        }
        return page

    def _walked(self, queryset: Logs, cursor: str, size: int) -> list[TaskLog]:
        direction, place = _place(cursor)
        if place is not None:
            queryset = _beyond(queryset, direction, *place)
        rows = list(queryset[: size + 1])
        page, more = rows[:size], len(rows) > size
        if direction == "before":
            page.reverse()
        has_next, has_previous = (more, place is not None) if direction == "after" else (True, more)
        self._head = {
            "next": self._link("after", page[-1:]) if has_next else None,
            "previous": self._link("before", page[:1]) if has_previous else None,
        }
        return page

    def _link(self, direction: str, rows: Sequence[TaskLog]) -> str | None:
        return replace_query_param(self._url, "cursor", cursor_beyond(direction, rows[0])) if rows else None


def _estimate(queryset: Logs, request: Request) -> int:
    """Return how many rows there may be; where names had to be looked up, a request has had its share of queries."""
    return 0 if any(name in request.query_params for name in NAME_LOOKUPS) else estimate(queryset)


def _beyond(queryset: Logs, direction: str, moment: dt.datetime, row_id: int) -> Logs:
    """Return what follows the place. The range of times is what the index is entered by."""
    if direction == "after":
        return queryset.filter(enqueue_time__lte=moment).exclude(enqueue_time=moment, id__gte=row_id)
    newer = queryset.filter(enqueue_time__gte=moment).exclude(Q(enqueue_time=moment, id__lte=row_id))
    return newer.order_by("enqueue_time", "id")


def cursor_beyond(direction: str, row: TaskLog) -> str:
    """Return the cursor of the page ``after`` or ``before`` this row."""
    text = json.dumps([direction, row.enqueue_time.isoformat(), row.pk], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[str, tuple[dt.datetime, int] | None]:
    if not cursor:
        return "after", None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        direction, moment_text, row_id = json.loads(base64.urlsafe_b64decode(padded))
        moment = dt.datetime.fromisoformat(moment_text)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _bad_cursor() from None
    if direction not in ("after", "before") or type(row_id) is not int or not 0 <= row_id < 2**63:
        raise _bad_cursor()
    if timezone.is_aware(moment) != timezone.is_aware(timezone.now()) or not 1900 <= moment.year < 9000:
        raise _bad_cursor()
    return direction, (moment, row_id)


def _bad_cursor() -> exceptions.ValidationError:
    return exceptions.ValidationError({"cursor": ["None that a page gave out. Leave it empty for the first page."]})


def _number(request: Request, name: str, default: int, most: int | None = None) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    readable = text.isascii() and text.isdecimal() and len(text) <= 18
    if not readable or int(text) < 1 or (most is not None and int(text) > most):
        upper = "" if most is None else f" to {most}"
        raise exceptions.ValidationError({name: [f"A whole number from 1{upper}."]})
    return int(text)


def _previous(url: str, number: int) -> str | None:
    if number == 1:
        return None
    return remove_query_param(url, "page") if number == 2 else replace_query_param(url, "page", number - 1)
