"""The parameters of a request's query: what they are, and what they come to. What can't be read is a 400 that names it.

What the filters do is `history.filters`' to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework import exceptions
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from django_cfg_tasks.history.fields import Parameter
from django_cfg_tasks.history.filters import ORDERINGS, LogFilters, filtered_by
from django_cfg_tasks.models import NEWEST_FIRST, TaskLog

Logs = QuerySet[TaskLog]


class LogFilterBackend(BaseFilterBackend):
    """Filters by `LogFilters`, and orders by ``ordering`` where a view says that it may be given."""

    def filter_queryset(self, request: Request, queryset: Any, view: APIView) -> Any:
        """Return the rows that the query asks for, newest first unless it says otherwise."""
        return filtered(request, queryset).order_by(*ordering(request))

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe the parameters, for OpenAPI."""
        return [
            {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
            for name, (text, schema) in (filter_parameters() | ordering_parameter()).items()
        ]


def filter_parameters() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what each filter does and the schema of its values, by name."""
    return {name: (filter_.field.help_text, filter_.field.schema) for name, filter_ in LogFilters.base_filters.items()}


def ordering_parameter() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the same of ``ordering``."""
    text = (
        f"Columns between commas, with a minus for the largest first: {', '.join(ORDERINGS)}. Newest first if left out."
    )
    one = f"-?({'|'.join(ORDERINGS)})"
    return {"ordering": (text, {"type": "string", "pattern": f"^{one}( *, *{one})*$"})}


@contextmanager
def readable() -> Iterator[None]:
    """Turn what Django's forms say of values into an answer."""
    try:
        yield
    except ValidationError as error:
        raise exceptions.ValidationError(error.message_dict) from error


def read(query: Mapping[str, str], name: str, field: Parameter, default: Any) -> Any:
    """Return the value of a parameter by itself, ``default`` where it is not given."""
    text = query.get(name)
    if text is None:
        return default
    try:
        value = field.clean(text)
    except ValidationError as error:
        raise exceptions.ValidationError({name: list(error.messages)}) from error
    if value is None:
        raise exceptions.ValidationError({name: ["Empty."]})
    return value


def filtered(request: Request, queryset: Logs) -> Logs:
    """Return the rows that the query's filters let through."""
    with readable():
        return filtered_by(request.query_params.dict(), queryset)


def ordering(request: Request) -> tuple[str, ...]:
    """Return the columns to order by, the id last, so that no two rows are alike."""
    text = request.query_params.get("ordering")
    if text is None:
        return NEWEST_FIRST
    wanted = [part.strip() for part in text.split(",")]
    plain = [part.removeprefix("-") for part in wanted]
    if any(part not in ORDERINGS for part in plain) or len(set(plain)) < len(plain):
        raise exceptions.ValidationError({"ordering": [f"Any of {', '.join(ORDERINGS)}, each once, or with a minus."]})
    if "id" not in plain:
        wanted.append("-id" if wanted[0].startswith("-") else "id")
    return tuple(wanted)
