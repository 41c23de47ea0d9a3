"""The task log over HTTP: the list, a job with everything that is known of it, and the jobs that are like it."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Q, QuerySet
from django.http import Http404
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.filters import FILTERS, LogFilterBackend, any_of
from django_cfg_tasks.api.pagination import LogPagination
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.api.serializers import RelatedSerializer, TaskLogListSerializer, TaskLogSerializer
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks

LIST_COLUMNS = [field.name for field in TaskLog._meta.fields if field.name in TaskLogListSerializer.Meta.fields]
NEIGHBOURS = 1_000
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
    @described(responses=RelatedSerializer)
    def related(self, request: Request, pk: str) -> Response:
        """The jobs that ran it again, the one that it runs again, and other jobs of its task with the same arguments.

        The latter as far as arguments are shown, and among those that were enqueued shortly before and after it.
        """
        return Response(RelatedSerializer({"results": related_to(self.get_object())}).data)


def related_to(log: TaskLog) -> list[TaskLog]:
    """Return up to `MOST_RELATED` other jobs, newest first, in one query.

    A task may have millions, and no index knows arguments: only `NEIGHBOURS` on both sides are looked at. Where a task
    keeps its arguments out of the log, none are known to be alike.
    """
    linked = Q(retry_of__gt="", retry_of=log.job_id)
    if log.retry_of:
        linked |= Q(job_id=log.retry_of) | Q(retry_of__gt="", retry_of=log.retry_of)
    near = [TaskLog.objects.filter(linked).order_by()[:MOST_RELATED]]
    wanted = linked
    task = tasks.get(log.task_name)
    if task is None or task.options.log_args:
        same = TaskLog.objects.filter(task_name=log.task_name)
        near.append(same.filter(enqueue_time__gte=log.enqueue_time).order_by("enqueue_time")[:NEIGHBOURS])
        near.append(same.filter(enqueue_time__lt=log.enqueue_time).order_by("-enqueue_time")[:NEIGHBOURS])
        wanted |= Q(args=log.args, kwargs=log.kwargs)
    found = TaskLog.objects.filter(wanted, pk__in=any_of(near)).exclude(pk=log.pk)
    return list(found.only(*LIST_COLUMNS)[:MOST_RELATED])
