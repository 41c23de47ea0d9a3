"""The task log over HTTP: the list, a job with everything that is known of it, and the jobs that are like it."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.pagination import LogPagination
from django_cfg_tasks.api.query import LogFilterBackend
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.api.serializers import RelatedSerializer, TaskLogListSerializer, TaskLogSerializer
from django_cfg_tasks.history.filters import FILTERS
from django_cfg_tasks.history.rows import SHORT, find, related_to
from django_cfg_tasks.models import TaskLog


def find_log(key: str, queryset: QuerySet[TaskLog]) -> TaskLog:
    """Return the row with this id, else the row of the job with this id; Http404 if there is neither."""
    log = find(key, queryset)
    if log is None:
        raise Http404
    return log


class TaskLogViewSet(TasksView, ReadOnlyModelViewSet[TaskLog]):
    """The task log, newest first; one job by its row's id or by its job id."""

    pagination_class = LogPagination
    filter_backends = (LogFilterBackend,)
    queryset = TaskLog.objects.all()

    def get_known_parameters(self) -> Collection[str]:
        return (*FILTERS, "ordering", *LogPagination.parameters) if self.action == "list" else ()

    def get_serializer_class(self) -> type[BaseSerializer[TaskLog]]:
        return TaskLogListSerializer if self.action == "list" else TaskLogSerializer

    def get_queryset(self) -> QuerySet[TaskLog]:
        """Leave the large columns to the page of one job."""
        return TaskLog.objects.only(*SHORT) if self.action == "list" else TaskLog.objects.select_related("user")

    def get_object(self) -> TaskLog:
        found = find_log(self.kwargs["pk"], self.get_queryset())
        self.check_object_permissions(self.request, found)
        return found

    @described(responses=RelatedSerializer)
    def related(self, request: Request, pk: str) -> Response:
        """The jobs that ran it again, the one that it runs again, and other jobs of its task with the same arguments.

        The latter as far as arguments are shown, and among those that were enqueued shortly before and after it.
        """
        return Response(RelatedSerializer({"results": related_to(self.get_object())}).data)
