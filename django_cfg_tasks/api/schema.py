"""How the API describes itself in OpenAPI: the only room that knows of drf-spectacular, and it need not be installed.

Views say with `described` what they take and answer, without it; here that is put in spectacular's words, in a way that
a project's own ``SPECTACULAR_SETTINGS`` don't change. It knows no view.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.schemas import DefaultSchema

try:
    from drf_spectacular.extensions import OpenApiSerializerExtension
    from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.settings import SPECTACULAR_DEFAULTS, patched_settings
    from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

F = TypeVar("F", bound=Callable[..., Any])

TAG: Final = "tasks"
TITLE: Final = "Background tasks"
DETAIL: Final = {
    "type": "object",
    "properties": {"detail": {"type": "string", "description": "What is wrong."}},
    "required": ["detail"],
}
MISTAKES: Final = {
    "type": "object",
    "description": "What is wrong, by the parameter or field that it is about; ``detail`` is about the whole.",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}, {"type": "object"}]},
}
"""The answer to what can't be understood."""
REASONS: Final = {
    400: "A parameter or the body can't be understood; nothing was done.",
    401: "Not logged in.",
    403: "Not logged in, or not permitted.",
    404: "There is none.",
    409: "Not as things stand; the detail says why.",
    415: "The body is not JSON.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Redis or SQL can't be asked now.",
}
PATH_PARAMETERS: Final = {
    "id": "The row's number, or its job's id.",
    "key": "The row's number, or its job's id.",
    "name": "The task's name.",
}


@dataclass(frozen=True)
class Description:
    """What `described` says of a view's method."""

    parameters: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    responses: Any = None
    request: Any = None
    headers: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    errors: Collection[int] = ()


def described(
    *,
    parameters: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    responses: Any = None,
    request: Any = None,
    headers: Mapping[str, tuple[str, int]] | None = None,
    errors: Collection[int] = (),
) -> Callable[[F], F]:
    """Say of a view's method what its docstring doesn't.

    ``parameters``: text and JSON schema of query parameters by name, beyond those of the view's filters and pages;
    ``headers``: text and greatest length of headers. ``request``: the serializer of the body. ``responses``: a
    serializer, or a mapping of statuses (where it is not JSON, with the media type in a tuple) to serializers or JSON
    schemas; left out, the view's own serializer with 200. ``errors``: further answers beside those of every view.
    """

    def describe(method: F) -> F:
        method.described = Description(parameters or {}, responses, request, headers or {}, errors)  # type: ignore[attr-defined]
        return method

    return describe


def inspector() -> Any:
    """Return what `APIView.schema` is to be: ours, or the framework's where spectacular is not installed."""
    return TasksSchema() if INSTALLED else DefaultSchema()


def _status(code: int | tuple[int, str]) -> int:
    return code[0] if isinstance(code, tuple) else code


if INSTALLED:
    _lock = threading.Lock()

    class TasksSchema(AutoSchema):  # type: ignore[misc, unused-ignore]
        """Describes a `base.TasksView` by its known parameters, its docstrings and what `described` says."""

        def get_operation_id(self) -> str:
            """Return an id that is the same wherever the API is mounted."""
            noun = type(self.view).__name__.removesuffix("ViewSet").removesuffix("View")
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", noun).lower()
            return f"{TAG}_{words}" if words == self._action else f"{TAG}_{words}_{self._action}"

        def get_tags(self) -> list[str]:
            return [TAG]

        def get_serializer_name(self, serializer: serializers.Serializer[Any], direction: Any) -> str:
            """Return a name that a project's own serializers hardly have."""
            return "Tasks" + type(serializer).__name__.removesuffix("Serializer")

        def get_request_serializer(self) -> Any:
            return self._described.request

        def get_response_serializers(self) -> Any:
            said = self._described.responses
            shapes = said if isinstance(said, Mapping) else {status.HTTP_200_OK: said} if said else {}
            answers = {code: self._answer(code, shape) for code, shape in shapes.items()}
            if all(_status(code) >= status.HTTP_300_MULTIPLE_CHOICES for code in answers):
                answers[status.HTTP_200_OK] = super().get_response_serializers()
            for code in (*self._refusals(), *self._described.errors):
                answers.setdefault(code, self._answer(code, None))
            return dict(sorted(answers.items(), key=lambda item: _status(item[0])))

        def get_filter_backends(self) -> list[Any]:
            """Return none: `get_override_parameters` asks for all parameters together."""
            return []

        def _get_pagination_parameters(self) -> list[Any]:
            return []

        def get_override_parameters(self) -> list[Any]:
            """Return those of the path, and of the query all that the view knows."""
            text = {"type": "string", "minLength": 1}
            found = [
                OpenApiParameter(name, text, OpenApiParameter.PATH, description=PATH_PARAMETERS[name])
                for name in self._path_parameters()
            ]
            found += [
                OpenApiParameter(name, text | {"maxLength": most}, OpenApiParameter.HEADER, description=description)
                for name, (description, most) in self._described.headers.items()
            ]
            if self.method != "GET":
                return found
            view: Any = self.view
            known = self._parameters()
            return found + [
                OpenApiParameter(name, dict(known[name][1]), OpenApiParameter.QUERY, description=known[name][0])
                for name in view.get_known_parameters()
            ]

        def _parameters(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
            makers = [*getattr(self.view, "filter_backends", ()), getattr(self.view, "pagination_class", None)]
            sources = [maker() for maker in makers if hasattr(maker, "get_schema_operation_parameters")]
            found = [one for source in sources for one in source.get_schema_operation_parameters(self.view)]
            return {one["name"]: (one["description"], one["schema"]) for one in found} | dict(
                self._described.parameters
            )

        @property
        def _action(self) -> str:
            return str(getattr(self.view, "action", None) or self.method.lower())

        @property
        def _described(self) -> Description:
            return getattr(getattr(self.view, self._action), "described", Description())

        def _path_parameters(self) -> list[str]:
            return [name for name in PATH_PARAMETERS if f"{{{name}}}" in self.path]

        def _refusals(self) -> list[int]:
            codes = [status.HTTP_400_BAD_REQUEST, status.HTTP_401_UNAUTHORIZED, status.HTTP_403_FORBIDDEN]
            if self._path_parameters():
                codes.append(status.HTTP_404_NOT_FOUND)
            if self.method != "GET":
                codes.append(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE)
            if getattr(self.view, "throttle_scope", None):
                codes.append(status.HTTP_429_TOO_MANY_REQUESTS)
            return codes

        def _answer(self, code: Any, shape: Any) -> Any:
            if shape is None:
                shape = MISTAKES if code == status.HTTP_400_BAD_REQUEST else DETAIL
            return OpenApiResponse(shape, description=REASONS.get(_status(code), ""))

    class _StrictBody(OpenApiSerializerExtension):  # type: ignore[misc, no-untyped-call, unused-ignore]
        """Bodies refuse fields that nothing looks at."""

        target_class = "django_cfg_tasks.api.act_serializers.Body"
        match_subclasses = True

        def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
            found = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # noqa: SLF001
            return {**found, "additionalProperties": False}

    class _OurEndpoints(EndpointEnumerator):  # type: ignore[misc, unused-ignore]
        def should_include_endpoint(self, path: str, callback: Any) -> bool:
            view = getattr(callback, "cls", None)
            return isinstance(getattr(view, "schema", None), TasksSchema) and super().should_include_endpoint(
                path, callback
            )

    class _OurGenerator(SchemaGenerator):  # type: ignore[misc, unused-ignore]
        endpoint_inspector_cls = _OurEndpoints


def document(request: Request | None) -> dict[str, Any]:
    """Return the OpenAPI document of our views alone, with the addresses at which the project has them."""
    from django_cfg_tasks import __version__

    # A project's own settings are for its own API.
    plain = {
        name: value
        for name, value in SPECTACULAR_DEFAULTS.items()
        if not name.startswith("SERVE_") and name != "DEFAULT_GENERATOR_CLASS"
    }
    ours = {"TITLE": TITLE, "VERSION": __version__, "POSTPROCESSING_HOOKS": [], "SORT_OPERATION_PARAMETERS": False}
    generator: Any = _OurGenerator
    with _lock, patched_settings(plain | ours):
        found: dict[str, Any] = generator().get_schema(request=request, public=True)
    return found
