"""The pages' data and buttons for machines: JSON, at the addresses and with the methods of ReArq's server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from django_cfg_tasks.exceptions import InvalidOptionError, JobNotFoundError
from django_cfg_tasks.history.rows import find
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.monitor import deeds, logs, pages
from django_cfg_tasks.monitor.deeds import Done, Fields
from django_cfg_tasks.monitor.doors import refusal, wants_page
from django_cfg_tasks.monitor.lists import Listed, list_jobs, list_results, result_row

View = Callable[[HttpRequest], HttpResponse]


def by_method(**views: View) -> View:
    """Return the view that answers each method with one of ``views``; PermissionDenied is a 403 with the reason."""

    def view(request: HttpRequest) -> HttpResponse:
        method = "GET" if request.method == "HEAD" else request.method or ""
        chosen = views.get(method)
        if chosen is None:
            return HttpResponseNotAllowed(list(views))
        try:
            return chosen(request)
        except PermissionDenied as error:
            return refusal(request, str(error), 403)

    return view


def jobs(request: HttpRequest) -> HttpResponse:
    """The list of jobs."""
    return _listed(list_jobs(request.GET.dict()))


def results(request: HttpRequest) -> HttpResponse:
    """The list of results."""
    return _listed(list_results(request.GET.dict()))


def result_of_job(request: HttpRequest) -> HttpResponse:
    """What came of one job; null while it has not ended."""
    log = find(request.GET.get("job_id", ""), TaskLog.objects.all())
    if log is None:
        raise JobNotFoundError("No job has this id.")
    return JsonResponse(result_row(log) if log.is_completed else None, safe=False)


def add_job(request: HttpRequest) -> HttpResponse:
    return _done(deeds.run(request.user, _body(request)))


def edit_job(request: HttpRequest) -> HttpResponse:
    return _done(deeds.edit(request.user, _body(request)))


def cancel_job(request: HttpRequest) -> HttpResponse:
    return _done(deeds.cancel(request.user, _body(request)))


def remove_jobs(request: HttpRequest) -> HttpResponse:
    return _done(deeds.remove(request.user, request.GET.dict()))


def switch_task(request: HttpRequest) -> HttpResponse:
    return _done(deeds.switch(request.user, _body(request)))


def remove_worker(request: HttpRequest) -> HttpResponse:
    return _done(deeds.forget_worker(request.user, request.GET.dict()))


def _worker_log(request: HttpRequest) -> HttpResponse:
    """The end of a worker's log: a page for people, a text in JSON for machines."""
    name = request.GET.get("name", "")
    text = logs.tail(request.user, name)
    if wants_page(request):
        return pages.page(request, "log.html", {"page_title": "Worker", "name": name, "text": text})
    return JsonResponse(text, safe=False)


worker_log = by_method(GET=_worker_log)


def _listed(listed: Listed) -> HttpResponse:
    return JsonResponse({"rows": listed.rows, "total": listed.total})


def _done(done: Done) -> HttpResponse:
    return JsonResponse(done.data)


def _body(request: HttpRequest) -> Fields:
    if request.content_type != "application/json":
        raise InvalidOptionError("The body has to be JSON (Content-Type: application/json).")
    try:
        body: Any = json.loads(request.body)
    except (ValueError, RecursionError, RequestDataTooBig):
        raise InvalidOptionError("The body can't be read as JSON.") from None
    if not isinstance(body, dict):
        raise InvalidOptionError("The body has to be a JSON object.")
    return body
