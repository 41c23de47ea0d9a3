"""The forms of the pages: each is posted, done, and leads back with a line on what became of it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.monitor.deeds import DEEDS
from django_cfg_tasks.monitor.pages import say


def act(request: HttpRequest, name: str) -> HttpResponse:
    """Do it, and go back."""
    if name not in DEEDS:
        raise Http404
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    fields: dict[str, Any] = request.POST.dict() | {"ids": request.POST.getlist("ids")}
    try:
        done = DEEDS[name](request.user, fields)
    except (TasksError, PermissionDenied) as error:
        say(request, "error", str(error))
    else:
        say(request, "success", done.said, done.job_id)
    back = request.POST.get("back", "")
    inside = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return HttpResponseRedirect(back if inside else reverse("dashboard"))
