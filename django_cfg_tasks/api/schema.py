"""How endpoints are described in OpenAPI, where drf-spectacular is installed; where it is not, nothing happens here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

try:
    from drf_spectacular.utils import OpenApiParameter, extend_schema
except ImportError:  # the extra [openapi] is not installed
    OpenApiParameter = extend_schema = None  # type: ignore[assignment,misc]

F = TypeVar("F", bound=Callable[..., Any])


def described(
    *, parameters: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None, **options: Any
) -> Callable[[F], F]:
    """Describe a view's method: its parameters (name: text, JSON schema), and ``extend_schema``'s options."""
    if extend_schema is None:
        return lambda method: method
    if parameters is not None:
        options["parameters"] = [
            OpenApiParameter(name, type=dict(schema), location=OpenApiParameter.QUERY, description=text)
            for name, (text, schema) in parameters.items()
        ]
    return extend_schema(**options)
