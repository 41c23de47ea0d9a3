"""How things stand now, over HTTP: workers, queues, tasks, schedules, health. 503 where Redis or SQL can't be asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import router
from rest_framework import exceptions, status
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from django_cfg_tasks import live
from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.engine import answered, ask
from django_cfg_tasks.api.live_serializers import (
    HealthSerializer,
    QueueSerializer,
    ScheduleSerializer,
    TaskSerializer,
    WorkerSerializer,
)
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.conf import get_config
from django_cfg_tasks.health import check_health
from django_cfg_tasks.history.rows import running_by_worker
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.sharing import Shared

# Whoever needs no login must not make Redis and SQL work at each request.
_public: Shared[bool] = Shared(1)


class LiveViewSet(TasksView, GenericViewSet[Any]):
    """What is listed whole: there are few of it, and it changes by the second."""

    pagination_class = None
    filter_backends = ()


class WorkerViewSet(LiveViewSet):
    """The workers and timers, and what they run."""

    serializer_class = WorkerSerializer

    @described(responses={200: WorkerSerializer(many=True)}, errors=(503,))
    def list(self, request: Request) -> Response:
        """List the worker and timer processes: those that are alive, and those that ended without a word."""
        found = ask(live.workers)
        jobs = running_by_worker(router.db_for_read(TaskLog)) if found else {}
        shown = [asdict(worker) | {"jobs": jobs.get(worker.name, [])} for worker in found]
        return Response(self.get_serializer(shown, many=True).data)


class QueueViewSet(LiveViewSet):
    """The queues, what waits in them, and who takes from them."""

    serializer_class = QueueSerializer

    @described(responses={200: QueueSerializer(many=True)}, errors=(503,))
    def list(self, request: Request) -> Response:
        """List all queues that tasks declare, workers serve or jobs wait in."""
        return Response(self.get_serializer(ask(live.queues), many=True).data)


class TaskViewSet(LiveViewSet):
    """The tasks that are declared."""

    serializer_class = TaskSerializer

    @described(responses={200: TaskSerializer(many=True)}, errors=(503,))
    def list(self, request: Request) -> Response:
        """List the tasks that this process knows, by name."""
        return Response(self.get_serializer(ask(live.declared_tasks), many=True).data)


class ScheduleViewSet(LiveViewSet):
    """When cron tasks run by themselves."""

    serializer_class = ScheduleSerializer

    @described(responses={200: ScheduleSerializer(many=True)}, errors=(503,))
    def list(self, request: Request) -> Response:
        """List the cron tasks that this process knows, with their next and last runs."""
        return Response(self.get_serializer(ask(live.schedules), many=True).data)


class HealthView(TasksView, GenericViewSet[Any]):
    """Whether jobs get done.

    With ``TaskConfig(public_health=True)`` whoever may not view the task log is answered as well, without details.
    """

    pagination_class = None
    filter_backends = ()
    serializer_class = HealthSerializer

    def get_permissions(self) -> list[BasePermission]:
        """Let everybody in where the configuration says so."""
        return [] if get_config().public_health else super().get_permissions()

    @described(responses={200: HealthSerializer, 503: HealthSerializer})
    def retrieve(self, request: Request) -> Response:
        """Answer 200 if Redis, SQL, the timer and each queue are well, else 503; the details say what is not.

        Without details it is as it was up to a second ago.
        """
        sees_details = self._may_see_details(request)
        with answered():
            if not sees_details:
                healthy = _public.get(None, lambda: check_health().healthy)
                return Response({"healthy": healthy}, status=_code(healthy))
            report = check_health()
        return Response(self.get_serializer(report.as_dict()).data, status=_code(report.healthy))

    def _may_see_details(self, request: Request) -> bool:
        try:
            return all(permission.has_permission(request, self) for permission in super().get_permissions())
        except exceptions.APIException:  # some say no by raising
            return False


def _code(healthy: bool) -> int:
    return status.HTTP_200_OK if healthy else status.HTTP_503_SERVICE_UNAVAILABLE
