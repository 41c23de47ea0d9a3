"""How endpoints are described in OpenAPI, where drf-spectacular is installed; where it is not, nothing happens here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

try:
    from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
except ImportError:  # the extra [openapi] is not installed
    OpenApiParameter = OpenApiResponse = extend_schema = None  # type: ignore[assignment,misc]

F = TypeVar("F", bound=Callable[..., Any])

_OBJECT = {"type": "object", "additionalProperties": {}}
_DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
_ERRORS = {
    400: (_OBJECT, "What can't be used, by the names of parameters and fields."),
    401: (_DETAIL, "Nobody is logged in."),
    403: (_DETAIL, "The user may not do this."),
    404: (_DETAIL, "There is none of that name or id."),
    409: (_DETAIL, "It can't be done as things stand; the detail says why."),
    415: (_DETAIL, "The body is not JSON."),
    503: (_DETAIL, "Redis or SQL can't be asked now."),
}


def described(
    *,
    parameters: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    headers: Mapping[str, tuple[str, int]] | None = None,
    errors: Collection[int] = (),
    **options: Any,
) -> Callable[[F], F]:
    """Describe a view's method: its parameters (name: text, JSON schema), headers (name: text, longest), the rest.

    The rest is as ``extend_schema`` takes it. ``errors`` are answers beside its ``responses``, a dict by status then.
    """
    if extend_schema is None:
        return lambda method: method
    if parameters is not None:
        options["parameters"] = [
            OpenApiParameter(name, type=dict(schema), location=OpenApiParameter.QUERY, description=text)
            for name, (text, schema) in parameters.items()
        ]
    for name, (text, longest) in (headers or {}).items():
        schema = {"type": "string", "minLength": 1, "maxLength": longest}
        header = OpenApiParameter(name, type=schema, location=OpenApiParameter.HEADER, description=text)
        options["parameters"] = [*options.get("parameters", []), header]
    if errors:
        options["responses"] = options["responses"] | {
            code: OpenApiResponse(*_ERRORS[code]) for code in sorted({400, 401, 403, *errors})
        }
    return extend_schema(**options)
