"""The address of the API's own description."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from django_cfg_tasks.api import schema as openapi
from django_cfg_tasks.api.base import TasksView


class SchemaView(TasksView):
    """This API in OpenAPI 3, for programs that make clients or pages of it."""

    @openapi.described(responses={200: {"type": "object", "additionalProperties": {}}})
    def get(self, request: Request) -> Response:
        """Describe every endpoint, and nothing else of the project."""
        return Response(openapi.document(request))
