"""The filtered rows of the task log as one stream, for spreadsheets and for programs."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from rest_framework.request import Request

from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.query import filter_parameters, filtered, ordering, ordering_parameter, read
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.api.serializers import ExportRowSerializer
from django_cfg_tasks.history.export import download
from django_cfg_tasks.history.fields import ChoiceParameter
from django_cfg_tasks.history.filters import FILTERS
from django_cfg_tasks.models import TaskLog

FORMAT = ChoiceParameter({"csv": "csv", "json": "json"})


class ExportView(TasksView):
    """All rows that a query asks for."""

    throttle_scope = "tasks-export"
    known_parameters = (*FILTERS, "ordering", "format")

    @described(
        parameters={
            "format": ("csv has a line of column names first; json is one array.", FORMAT.schema | {"default": "csv"}),
            **filter_parameters(),
            **ordering_parameter(),
        },
        responses={(200, "text/csv"): str, (200, "application/json"): ExportRowSerializer(many=True)},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Stream the rows of the task log that the list's filters let through, as CSV or JSON.

        Cells of CSV that a spreadsheet would take for a formula have an apostrophe in front.
        """
        wanted = read(request.query_params, "format", FORMAT, "csv")
        return download(filtered(request, TaskLog.objects.all()).order_by(*ordering(request)), wanted)
