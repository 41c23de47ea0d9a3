"""The task log over HTTP: the list, and a job with everything that is known of it."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.filters import FILTERS, LogFilterBackend
from django_cfg_tasks.api.pagination import LogPagination
from django_cfg_tasks.api.serializers import TaskLogListSerializer, TaskLogSerializer
from django_cfg_tasks.models import TaskLog

LIST_COLUMNS = [field.name for field in TaskLog._meta.fields if field.name in TaskLogListSerializer.Meta.fields]


def find_log(key: str, queryset: QuerySet[TaskLog]) -> TaskLog:
    """Return the row with this id, else the row of the job with this id; Http404 if there is neither."""
    if "\x00" in key:
        raise Http404
    found: TaskLog | None = None
    if key.isascii() and key.isdecimal() and len(key) < 19:
        found = queryset.filter(pk=int(key)).first()
    found = found or queryset.filter(job_id=key).first()
    if found is None:
        raise Http404
    return found


class TaskLogViewSet(TasksView, ReadOnlyModelViewSet[TaskLog]):
    """The task log, newest first; one job by its row's id or by its job id."""

    pagination_class = LogPagination
    filter_backends = (LogFilterBackend,)
    queryset = TaskLog.objects.all()
    lookup_value_regex = "[^/]+"

    def get_known_parameters(self) -> Collection[str]:
        return (*FILTERS, "ordering", *LogPagination.parameters) if self.action == "list" else ()

    def get_serializer_class(self) -> type[BaseSerializer[TaskLog]]:
        return TaskLogListSerializer if self.action == "list" else TaskLogSerializer

    def get_queryset(self) -> QuerySet[TaskLog]:
        """Leave the large columns to the page of one job."""
        return TaskLog.objects.only(*LIST_COLUMNS) if self.action == "list" else TaskLog.objects.select_related("user")

    def get_object(self) -> TaskLog:
        found = find_log(self.kwargs["pk"], self.get_queryset())
        self.check_object_permissions(self.request, found)
        return found
