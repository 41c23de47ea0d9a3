"""What every view of the API shares: who gets in, JSON in and out, and no parameter that nothing looks at.

All of it is said here, so that a project's own defaults of the REST framework can't open, break or change the API.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string
from rest_framework import exceptions, views
from rest_framework.authentication import BaseAuthentication
from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from django_cfg_tasks.acts.permissions import VIEW
from django_cfg_tasks.api import schema as openapi
from django_cfg_tasks.api.throttling import AggregateThrottle
from django_cfg_tasks.conf import get_config


class FirstRenderer(BaseContentNegotiation):
    """Answers in JSON, whatever a client says that it accepts: its errors are to be read as well."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        """Return the parser of the request's media type; None makes it a 415."""
        wanted = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer."""
        first = next(iter(renderers))
        return first, first.media_type


class TasksView(views.APIView):
    """A view of the API. Put it before generic views and viewsets among the bases.

    ``required_permission`` is what `permissions.IsPermittedStaff` asks for. ``throttle_scope``, where it is set, counts
    requests by `throttling.AggregateThrottle`. ``known_parameters`` are those that a query may have.
    """

    schema = openapi.inspector()
    required_permission: str = VIEW
    throttle_scope: str | None = None
    throttle_classes = (AggregateThrottle,)
    known_parameters: Collection[str] = ()
    parser_classes = (JSONParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = FirstRenderer
    metadata_class = SimpleMetadata
    versioning_class = None

    @classmethod
    def as_view(cls, *args: Any, **initkwargs: Any) -> Any:
        """Keep requests out of ``ATOMIC_REQUESTS``: the engine's own connections could wait for theirs."""
        return transaction.non_atomic_requests(super().as_view(*args, **initkwargs))

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Return what ``TaskConfig(api_authentication_classes=[...])`` names."""
        return [import_string(name)() for name in get_config().api_authentication_classes]

    def get_permissions(self) -> list[BasePermission]:
        """Return what ``TaskConfig(api_permission_classes=[...])`` names."""
        return [import_string(name)() for name in get_config().api_permission_classes]

    def get_exception_handler(self) -> Any:
        """Return the framework's own: the shape of errors is part of the API."""
        return views.exception_handler

    def get_known_parameters(self) -> Collection[str]:
        """Return the query parameters that this request may have; for views whose methods or actions differ."""
        return self.known_parameters

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let in who may, and refuse a query that would not be honoured in full."""
        super().initial(request, *args, **kwargs)
        if request.method == "GET":
            check_parameters(request, self.get_known_parameters())


def check_parameters(request: Request, known: Collection[str]) -> None:
    """Raise ValidationError, which names them, for parameters that are unknown or are given twice."""
    errors = {}
    for name, values in request.query_params.lists():
        if name == "format" and "format" not in known:
            if values != ["json"]:
                errors[name] = ["This is answered in JSON."]
        elif name not in known:
            errors[name] = [f"Unknown parameter. Known: {', '.join(sorted(known)) or 'none'}."]
        elif len(values) > 1:
            errors[name] = ["Given more than once."]
    if errors:
        raise exceptions.ValidationError(errors)
