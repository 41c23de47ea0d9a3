"""The API's views: reading the task log, for staff."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.pagination import PageNumberPagination
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from django_cfg_tasks.api.permissions import IsStaff
from django_cfg_tasks.api.serializers import LogQuery, TaskLogListSerializer, TaskLogSerializer
from django_cfg_tasks.models import TaskLog

_LOOKUPS = {
    "task_name": "task_name",
    "queue_name": "queue_name",
    "status": "status",
    "start_time": "enqueue_time__gte",
    "end_time": "enqueue_time__lte",
}


class LogPagination(PageNumberPagination):
    """Numbered pages of 50, or of ``page_size`` up to 200."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


class TaskLogViewSet(ReadOnlyModelViewSet[TaskLog]):
    """The task log, newest first; one job by its row's id or by its job id.

    What decides who gets in is said here, so that a project's own defaults can't open it by accident.
    """

    authentication_classes = (SessionAuthentication, BasicAuthentication)
    permission_classes = (IsStaff,)
    pagination_class = LogPagination
    filter_backends = ()
    queryset = TaskLog.objects.all()
    lookup_value_regex = "[^/]+"

    def get_serializer_class(self) -> type[BaseSerializer[TaskLog]]:
        return TaskLogListSerializer if self.action == "list" else TaskLogSerializer

    def filter_queryset(self, queryset: QuerySet[TaskLog, Any]) -> QuerySet[TaskLog, Any]:
        """Narrow the list down to what the query asks for; a parameter that can't be used answers 400."""
        if self.action != "list":
            return queryset
        query = LogQuery(
            data=self.request.query_params.dict(),
            context={"format_parameter": self.settings.URL_FORMAT_OVERRIDE},
        )
        query.is_valid(raise_exception=True)
        wanted = {
            lookup: query.validated_data[name] for name, lookup in _LOOKUPS.items() if name in query.validated_data
        }
        columns = [field.name for field in TaskLog._meta.fields if field.name in TaskLogListSerializer.Meta.fields]
        return queryset.filter(**wanted).only(*columns)

    def get_object(self) -> TaskLog:
        """Find the job by row id, else by job id."""
        key: str = self.kwargs["pk"]
        if "\x00" in key:
            raise Http404
        found: TaskLog | None = None
        if key.isascii() and key.isdecimal() and len(key) < 19:
            found = self.get_queryset().filter(pk=int(key)).first()
        found = found or self.get_queryset().filter(job_id=key).first()
        if found is None:
            raise Http404
        self.check_object_permissions(self.request, found)
        return found
