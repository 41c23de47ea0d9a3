"""What can be done over the API: to jobs, to tasks and to schedules. Each act asks for a permission of its own.

404 for what is unknown, 409 with the reason for what can't be done as things stand, 503 while Redis or SQL is away.
What they do is `acts`' to say, and every one is kept by its `audit`.
"""

from __future__ import annotations

import hashlib
from typing import Any

from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from django_cfg_tasks.acts import audit, bulk, jobs
from django_cfg_tasks.acts.permissions import CANCEL, MANAGE, RETRY, RUN
from django_cfg_tasks.acts.tasks import declared, enqueue, run_now
from django_cfg_tasks.api.act_serializers import (
    Body,
    BulkAnswerSerializer,
    BulkSerializer,
    EnqueueSerializer,
    JobSerializer,
    SwitchedScheduleSerializer,
    SwitchedTaskSerializer,
)
from django_cfg_tasks.api.base import TasksView, check_parameters
from django_cfg_tasks.api.engine import answered
from django_cfg_tasks.api.logs import find_log
from django_cfg_tasks.api.query import readable
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import ArgumentsError
from django_cfg_tasks.history.filters import FILTERS
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.models import TaskLog

MOST_KEY = 255
"""The longest ``Idempotency-Key``."""
_ERRORS = (409, 503)


class ActViewSet(TasksView, GenericViewSet[Any]):
    """An act: POST alone, with a body that is read in full, and no parameters."""

    pagination_class = None
    filter_backends = ()
    serializer_class: Any = Body
    http_method_names = ["post", "options"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let in who may, and refuse parameters."""
        super().initial(request, *args, **kwargs)
        check_parameters(request, ())

    def read(self, request: Request) -> dict[str, Any]:
        """Return the body's fields; ValidationError names those that can't be used."""
        try:
            body = self.get_serializer(data=request.data)
        except RecursionError as error:
            raise exceptions.ParseError("The body is nested too deeply.") from error
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)


class RetryViewSet(ActViewSet):
    """Run a job again."""

    required_permission = RETRY

    @described(responses={201: JobSerializer}, errors=_ERRORS)
    def retry(self, request: Request, key: str) -> Response:
        """Enqueue a new job with the task, arguments and options of one that is final; 409 where it is not."""
        self.read(request)
        log = find_log(key, TaskLog.objects.only("job_id"))
        with answered():
            new = jobs.retry(log.job_id)
        audit.record(request.user, f"run again as {new.job_id}", f"Job {log.job_id}", log)
        return Response(JobSerializer(_shown(new)).data, status=status.HTTP_201_CREATED)


class CancelViewSet(ActViewSet):
    """Cancel a job."""

    required_permission = CANCEL

    @described(responses={200: JobSerializer}, errors=_ERRORS)
    def cancel(self, request: Request, key: str) -> Response:
        """Cancel a job that is not final, and tell one that runs to stop; 409 where it is final."""
        self.read(request)
        log = find_log(key, TaskLog.objects.only("job_id"))
        with answered():
            record = jobs.cancel(log.job_id)
        audit.record(request.user, "canceled", f"Job {log.job_id}", log)
        return Response(JobSerializer(_shown(record) | {"status": "canceled"}).data)


class BulkViewSet(ActViewSet):
    """Retry or cancel many jobs."""

    serializer_class = BulkSerializer

    @described(request=BulkSerializer, responses={202: BulkAnswerSerializer}, errors=_ERRORS)
    def bulk(self, request: Request) -> Response:
        """Retry or cancel all jobs that a filter lets through, of those that are known now; by a job of its own."""
        asked = self.read(request)
        self.required_permission = RETRY if asked["action"] == "retry" else CANCEL
        self.check_permissions(request)
        query = _query_of(asked["filter"])
        with answered(), readable():
            job_id = bulk.start(asked["action"], query, request.user.pk)
        audit.record(request.user, f"{asked['action']}, by the job {job_id}", f"All jobs with {query}")
        answer = BulkAnswerSerializer({"job_id": job_id, "action": asked["action"]})
        return Response(answer.data, status=status.HTTP_202_ACCEPTED)


class SwitchTaskViewSet(ActViewSet):
    """Switch a task off and on, for all processes."""

    required_permission = MANAGE

    @described(responses={200: SwitchedTaskSerializer}, errors=_ERRORS)
    def enable(self, request: Request, name: str) -> Response:
        """Let jobs of a task start again."""
        return self._switch(request, name, True)

    @described(responses={200: SwitchedTaskSerializer}, errors=_ERRORS)
    def disable(self, request: Request, name: str) -> Response:
        """Let no job of a task start, and none be enqueued, until it is enabled; those that run go on."""
        return self._switch(request, name, False)

    def _switch(self, request: Request, name: str, enabled: bool) -> Response:
        self.read(request)
        client = get_rearq_client()
        with answered():
            (client.enable if enabled else client.disable)(declared(name))
        audit.record(request.user, "enabled" if enabled else "disabled", f"Task {name}")
        return Response(SwitchedTaskSerializer({"name": name, "enabled": enabled}).data)


class SwitchScheduleViewSet(ActViewSet):
    """Pause and resume a schedule, for all timers."""

    required_permission = MANAGE

    @described(responses={200: SwitchedScheduleSerializer}, errors=_ERRORS)
    def pause(self, request: Request, name: str) -> Response:
        """Leave out what a cron task is due for, until it is resumed; it is not made up for."""
        return self._switch(request, name, True)

    @described(responses={200: SwitchedScheduleSerializer}, errors=_ERRORS)
    def resume(self, request: Request, name: str) -> Response:
        """Let a cron task run at its due times again."""
        return self._switch(request, name, False)

    def _switch(self, request: Request, name: str, paused: bool) -> Response:
        self.read(request)
        client = get_rearq_client()
        with answered():
            (client.pause if paused else client.resume)(declared(name))
        audit.record(request.user, "paused" if paused else "resumed", f"Schedule of {name}")
        return Response(SwitchedScheduleSerializer({"task": name, "paused": paused}).data)


class RunScheduleViewSet(ActViewSet):
    """Run a cron task now."""

    required_permission = RUN

    @described(responses={201: JobSerializer}, errors=_ERRORS)
    def run(self, request: Request, name: str) -> Response:
        """Enqueue a job of a cron task at once, whatever its schedule says; 409 where the task is disabled."""
        self.read(request)
        with answered():
            job = run_now(name, request.user.pk)
        audit.record(request.user, f"run as {job.job_id}", f"Schedule of {name}")
        return Response(JobSerializer(_shown(job)).data, status=status.HTTP_201_CREATED)


class EnqueueViewSet(ActViewSet):
    """Enqueue a job of a task that allows it."""

    required_permission = RUN
    serializer_class = EnqueueSerializer

    @described(
        request=EnqueueSerializer,
        responses={201: JobSerializer, 200: JobSerializer},
        headers={"Idempotency-Key": ("Makes a request that is sent again answer with the job of the first.", MOST_KEY)},
        errors=_ERRORS,
    )
    def enqueue(self, request: Request, name: str) -> Response:
        """Enqueue a job of a task that is declared with ``allow_api=True``.

        201 with the new job. With the header ``Idempotency-Key``, the same request of the same user again is answered
        with 200 and the job of the first; 409 if it asks for something else.
        """
        asked = self.read(request)
        with answered():
            task = declared(name)
        if not task.options.allow_api:
            raise exceptions.PermissionDenied(f"The task {name!r} is not declared with allow_api=True.")
        if "countdown" in asked and "eta" in asked:
            raise exceptions.ValidationError({"eta": ["countdown and eta both say when; give one of them."]})
        args, kwargs = asked.pop("args", []), asked.pop("kwargs", {})
        try:
            task.codec.check(args, kwargs)
        except ArgumentsError as error:
            raise exceptions.ValidationError({"detail": str(error)}) from error
        key = request.headers.get("Idempotency-Key")
        with answered():
            calling = task.using(user=request.user.pk, **asked)
        if key is not None:
            calling = calling.using(job_id=_id_of_key(key, name, request.user.pk))
        with answered():
            job, created = enqueue(calling, args, kwargs)
        if created:
            audit.record(request.user, f"enqueued as {job.job_id}", f"Task {name}")
        return Response(
            JobSerializer(_shown(job)).data, status=status.HTTP_201_CREATED if created else status.HTTP_200_OK
        )


def _id_of_key(key: str, task: str, user: Any) -> str:
    if not 0 < len(key) <= MOST_KEY or not key.isprintable():
        raise exceptions.ValidationError({"Idempotency-Key": [f"1 to {MOST_KEY} printable characters."]})
    return f"api:{hashlib.sha256(repr((task, str(user), key)).encode()).hexdigest()[:40]}"


def _query_of(wanted: dict[str, Any]) -> dict[str, str]:
    """Return a filter as a query string would have it; ValidationError names what can't be."""
    errors: dict[str, list[str]] = {}
    query: dict[str, str] = {}
    for name, value in wanted.items():
        if name not in FILTERS:
            errors[name] = [f"Unknown filter. Known: {', '.join(sorted(FILTERS))}."]
        elif isinstance(value, bool):
            query[name] = str(value).lower()
        elif isinstance(value, str | int | float):
            query[name] = str(value)
        else:
            errors[name] = ["A text, a number, true or false."]
    if errors:
        raise exceptions.ValidationError({"filter": errors})
    return query


def _shown(record: JobRecord) -> dict[str, Any]:
    return {
        "job_id": record.job_id,
        "task_name": record.task,
        "queue_name": record.queue,
        "status": record.status.value,
        "retry_of": record.options.get(jobs.LINK),
    }
