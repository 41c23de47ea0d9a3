"""The task log over HTTP: the list, a job with everything that is known of it, and the jobs that are like it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import Http404
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.filters import FILTERS, LogFilterBackend
from django_cfg_tasks.api.pagination import LogPagination
from django_cfg_tasks.api.serializers import RelatedSerializer, TaskLogListSerializer, TaskLogSerializer
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks

LIST_COLUMNS = [field.name for field in TaskLog._meta.fields if field.name in TaskLogListSerializer.Meta.fields]
NEIGHBOURS = 2_000
"""Jobs of the same task, before a job and after it, that are compared with it."""
MOST_RELATED = 50


def find_log(key: str, queryset: QuerySet[TaskLog]) -> TaskLog:
    """Return the row with this id, else the row of the job with this id; Http404 if there is neither."""
    if "\x00" in key:
        raise Http404
    wanted = Q(job_id=key)
    if key.isascii() and key.isdecimal() and len(key) < 19:
        wanted |= Q(pk=int(key))
    found = sorted(queryset.filter(wanted).order_by()[:2], key=lambda log: str(log.pk) != key)
    if not found:
        raise Http404
    return found[0]


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

    @action(detail=True, serializer_class=RelatedSerializer, filter_backends=(), pagination_class=None)
    def related(self, request: Request, pk: str) -> Response:
        """The jobs that ran it again, the one that it runs again, and other jobs of its task with the same arguments.

        The latter as far as arguments are shown, and among those that were enqueued shortly before and after it.
        """
        log = self.get_object()
        found = {other.pk: other for other in [*linked(log), *alike(log)]}
        return Response(RelatedSerializer({"results": list(found.values())[:MOST_RELATED]}).data)


def linked(log: TaskLog) -> list[TaskLog]:
    """Return up to `MOST_RELATED` jobs that run this one again or that it runs again, newest first."""
    link = Q(retry_of__gt="", retry_of=log.job_id)
    if log.retry_of:
        link |= Q(job_id=log.retry_of) | Q(retry_of__gt="", retry_of=log.retry_of)
    return list(TaskLog.objects.filter(link).exclude(pk=log.pk).only(*LIST_COLUMNS)[:MOST_RELATED])


def alike(log: TaskLog) -> list[TaskLog]:
    """Return up to `MOST_RELATED` other jobs of the same task with the same arguments, newest first.

    A task may have millions, and no index knows arguments: only `NEIGHBOURS` on both sides are looked at. Where a task
    keeps its arguments out of the log, none are known to be alike.
    """
    task = tasks.get(log.task_name)
    if task is not None and not task.options.log_args:
        return []
    same = TaskLog.objects.filter(task_name=log.task_name)
    sides = (
        same.filter(enqueue_time__gte=log.enqueue_time).order_by("enqueue_time"),
        same.filter(enqueue_time__lt=log.enqueue_time).order_by("-enqueue_time"),
    )
    parts: list[str] = []
    params: list[Any] = []
    for side in sides:
        sql, values = side.values("pk")[:NEIGHBOURS].query.get_compiler(side.db).as_sql()
        parts.append(f"SELECT * FROM ({sql}) AS side_{len(parts)}")  # noqa: S608 - Django's own SQL
        params += values
    near = RawSQL(" UNION ALL ".join(parts), params)  # noqa: S611
    found = TaskLog.objects.filter(pk__in=near, args=log.args, kwargs=log.kwargs).exclude(pk=log.pk)
    return list(found.only(*LIST_COLUMNS)[:MOST_RELATED])
