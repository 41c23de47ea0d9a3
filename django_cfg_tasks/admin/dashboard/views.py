"""What the dashboard's addresses answer: how things stand, how the last hours went; and what its switches do.

Acts are forms that are posted to addresses of their own, and redirect back with a message of what was done or why
it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from django_cfg_tasks.acts import audit
from django_cfg_tasks.acts.permissions import MANAGE, RUN
from django_cfg_tasks.acts.tasks import declared, run_now
from django_cfg_tasks.admin.base import await_history
from django_cfg_tasks.admin.dashboard import overview, sections
from django_cfg_tasks.admin.links import Links
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError

if TYPE_CHECKING:
    from django_cfg_tasks.admin.dashboard.page import DashboardAdmin

NOW_EVERY = 3
"""Seconds after which an open page asks how things stand."""
PAST_EVERY = 15
"""Seconds after which it asks how the range went."""


def show_page(page: DashboardAdmin, request: HttpRequest) -> HttpResponse:
    """The page, with all of its parts."""
    _let_in(page, request)
    now, past = overview.now(), overview.past(request.GET.get("range", ""))
    context = {
        **page.admin_site.each_context(request),
        "title": _("Dashboard"),
        "opts": page.opts,
        "media": page.media,
        "list_url": _links(page).jobs(),
        "ranges": sections.range_links(past.range, _address(page, "changelist")),
        "now_url": _address(page, "now"),
        "past_url": f"{_address(page, 'past')}?range={past.range.key}",
        "now_every": NOW_EVERY,
        "past_every": PAST_EVERY,
        **_now_context(page, request, now, past),
        **_past_context(page, request, now, past),
    }
    return TemplateResponse(request, "admin/tasks/dashboard/page.html", context)


def show_now(page: DashboardAdmin, request: HttpRequest) -> HttpResponse:
    """The parts that say how things stand."""
    _let_in(page, request)
    context = _now_context(page, request, overview.now(), None)
    return TemplateResponse(request, "admin/tasks/dashboard/now.html", context)


def show_past(page: DashboardAdmin, request: HttpRequest) -> HttpResponse:
    """The parts that say how the range went."""
    _let_in(page, request)
    context = _past_context(page, request, overview.now(), overview.past(request.GET.get("range", "")))
    return TemplateResponse(request, "admin/tasks/dashboard/past.html", context)


def act(page: DashboardAdmin, request: HttpRequest, act: str) -> HttpResponse:
    """Do ``act`` to the task whose ``name`` was posted."""
    found = ACTS.get(act)
    if found is None:
        raise Http404
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    _let_in(page, request)
    if not request.user.has_perm(found.permission):
        raise PermissionDenied
    try:
        messages.success(request, found.do(request.POST.get("name", ""), request.user, _links(page)))
    except TasksError as error:
        messages.error(request, str(error))
    overview.forget_now()
    chosen = request.POST.get("range", "")
    back = _address(page, "changelist")
    return HttpResponseRedirect(f"{back}?range={chosen}" if chosen in overview.RANGES else back)


def _let_in(page: DashboardAdmin, request: HttpRequest) -> None:
    if not page.has_view_permission(request):
        raise PermissionDenied


def _now_context(
    page: DashboardAdmin, request: HttpRequest, now: overview.Now, past: overview.Past | None
) -> dict[str, Any]:
    links = _links(page)
    return {
        "problems": sections.problems(now, past),
        "switched_off": sections.switched_off(now),
        "cards_now": sections.cards_now(now, links),
        "queues": sections.queue_rows(now, links),
        "workers": sections.worker_rows(now, links),
        "schedules": sections.schedule_rows(now, links),
        **_acts_context(page, request),
    }


def _past_context(page: DashboardAdmin, request: HttpRequest, now: overview.Now, past: overview.Past) -> dict[str, Any]:
    links = _links(page)
    rows, more = sections.task_rows(now, past, links)
    return {
        "range": past.range,
        "fault": past.fault,
        "cards_past": sections.cards_past(past, links),
        "chart": sections.chart(past, links),
        "failures": sections.failure_rows(past, links),
        "tasks": rows,
        "more_tasks": more,
        **_acts_context(page, request),
    }


def _acts_context(page: DashboardAdmin, request: HttpRequest) -> dict[str, Any]:
    return {
        "may_manage": request.user.has_perm(MANAGE),
        "may_run": request.user.has_perm(RUN),
        "act_urls": {name: _address(page, "act", name) for name in ACTS},
    }


def _links(page: DashboardAdmin) -> Links:
    return Links(page.admin_site.name)


def _address(page: DashboardAdmin, name: str, *args: str) -> str:
    return reverse(f"admin:tasks_dashboard_{name}", args=args, current_app=page.admin_site.name)


# ---------------------------------------------------------------- acts


@dataclass(frozen=True, slots=True)
class Act:
    """Something that can be done to a task or its schedule."""

    permission: str
    do: Callable[[str, Any, Links], str]
    """Takes the task's name, the user and addresses, returns what to tell; TasksError where it can't be done."""


def _pause(name: str, user: Any, _links: Links) -> str:
    get_rearq_client().pause(declared(name))
    audit.record(user, "paused", f"Schedule of {name}")
    return _("The schedule of %(name)s is paused: timers leave it out until it is resumed.") % {"name": name}


def _resume(name: str, user: Any, _links: Links) -> str:
    get_rearq_client().resume(declared(name))
    audit.record(user, "resumed", f"Schedule of {name}")
    return _("The schedule of %(name)s is resumed.") % {"name": name}


def _run(name: str, user: Any, links: Links) -> str:
    job = run_now(name, user.pk)
    audit.record(user, f"run as {job.job_id}", f"Schedule of {name}")
    await_history()
    link = format_html('<a href="{}">{}</a>', links.job(job.job_id), job.job_id)
    return format_html(_("A job of {} is enqueued: {}."), name, link)


def _enable(name: str, user: Any, _links: Links) -> str:
    get_rearq_client().enable(declared(name))
    audit.record(user, "enabled", f"Task {name}")
    return _("The task %(name)s is enabled: its jobs run.") % {"name": name}


def _disable(name: str, user: Any, _links: Links) -> str:
    get_rearq_client().disable(declared(name))
    audit.record(user, "disabled", f"Task {name}")
    return _("The task %(name)s is disabled: none of its jobs starts until it is enabled; those that run go on.") % {
        "name": name
    }


ACTS = {
    "pause": Act(MANAGE, _pause),
    "resume": Act(MANAGE, _resume),
    "run": Act(RUN, _run),
    "enable": Act(MANAGE, _enable),
    "disable": Act(MANAGE, _disable),
}
"""By the names in their addresses."""
