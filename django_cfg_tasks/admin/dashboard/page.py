"""The dashboard: how things stand, how the last hours went, and the switches of tasks and schedules.

Its acts are forms that are posted to addresses of their own, and redirect back with a message of what was done or why
it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from django_cfg_tasks.acts import audit
from django_cfg_tasks.acts.permissions import MANAGE, RUN
from django_cfg_tasks.acts.tasks import declared, run_now
from django_cfg_tasks.admin.base import ReadOnlyAdmin, await_history
from django_cfg_tasks.admin.dashboard import overview, sections
from django_cfg_tasks.admin.links import Links
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.models import Dashboard

NOW_EVERY = 3
"""Seconds after which an open page asks how things stand."""
PAST_EVERY = 15
"""Seconds after which it asks how the range went."""


@admin.register(Dashboard)
class DashboardAdmin(ReadOnlyAdmin):
    """One page for those who may view task logs, and the acts of those who may do them."""

    @property
    def media(self) -> Media:
        """No more than the page needs: the usual pages bring scripts for forms."""
        return Media(
            css={"all": ["django_cfg_tasks/admin.css", "django_cfg_tasks/dashboard.css"]},
            js=["django_cfg_tasks/admin.js"],
        )

    def get_urls(self) -> list[URLPattern]:
        """The page, its two parts that are asked for again and again, and the acts."""
        return [
            path("", self._wrapped(self.page_view), name="tasks_dashboard_changelist"),
            path("now/", self._wrapped(self.now_view), name="tasks_dashboard_now"),
            path("past/", self._wrapped(self.past_view), name="tasks_dashboard_past"),
            path("act/<slug:act>/", self._wrapped(self.act_view), name="tasks_dashboard_act"),
        ]

    def _wrapped(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        # Not in a transaction: one that a failed query broke, or that a job is part of, would spoil the rest.
        return transaction.non_atomic_requests(self.admin_site.admin_view(view))

    def page_view(self, request: HttpRequest) -> HttpResponse:
        """The page, with all of its parts."""
        self._let_in(request)
        now, past = overview.now(), overview.past(request.GET.get("range", ""))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Dashboard"),
            "opts": self.opts,
            "media": self.media,
            "list_url": self._links().jobs(),
            "ranges": sections.range_links(past.range, self._address("changelist")),
            "now_url": self._address("now"),
            "past_url": f"{self._address('past')}?range={past.range.key}",
            "now_every": NOW_EVERY,
            "past_every": PAST_EVERY,
            **self._now_context(request, now, past),
            **self._past_context(request, now, past),
        }
        return TemplateResponse(request, "admin/tasks/dashboard/page.html", context)

    def now_view(self, request: HttpRequest) -> HttpResponse:
        """The parts that say how things stand."""
        self._let_in(request)
        context = self._now_context(request, overview.now(), None)
        return TemplateResponse(request, "admin/tasks/dashboard/now.html", context)

    def past_view(self, request: HttpRequest) -> HttpResponse:
        """The parts that say how the range went."""
        self._let_in(request)
        context = self._past_context(request, overview.now(), overview.past(request.GET.get("range", "")))
        return TemplateResponse(request, "admin/tasks/dashboard/past.html", context)

    def act_view(self, request: HttpRequest, act: str) -> HttpResponse:
        """Do ``act`` to the task whose ``name`` was posted."""
        found = ACTS.get(act)
        if found is None:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._let_in(request)
        if not request.user.has_perm(found.permission):
            raise PermissionDenied
        try:
            messages.success(request, found.do(request.POST.get("name", ""), request.user, self._links()))
        except TasksError as error:
            messages.error(request, str(error))
        overview.forget_now()
        chosen = request.POST.get("range", "")
        back = self._address("changelist")
        return HttpResponseRedirect(f"{back}?range={chosen}" if chosen in overview.RANGES else back)

    def _let_in(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _now_context(self, request: HttpRequest, now: overview.Now, past: overview.Past | None) -> dict[str, Any]:
        links = self._links()
        return {
            "problems": sections.problems(now, past),
            "switched_off": sections.switched_off(now),
            "cards_now": sections.cards_now(now, links),
            "queues": sections.queue_rows(now, links),
            "workers": sections.worker_rows(now, links),
            "schedules": sections.schedule_rows(now, links),
            **self._acts_context(request),
        }

    def _past_context(self, request: HttpRequest, now: overview.Now, past: overview.Past) -> dict[str, Any]:
        links = self._links()
        rows, more = sections.task_rows(now, past, links)
        return {
            "range": past.range,
            "fault": past.fault,
            "cards_past": sections.cards_past(past, links),
            "chart": sections.chart(past, links),
            "failures": sections.failure_rows(past, links),
            "tasks": rows,
            "more_tasks": more,
            **self._acts_context(request),
        }

    def _acts_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "may_manage": request.user.has_perm(MANAGE),
            "may_run": request.user.has_perm(RUN),
            "act_urls": {name: self._address("act", name) for name in ACTS},
        }

    def _links(self) -> Links:
        return Links(self.admin_site.name)

    def _address(self, page: str, *args: str) -> str:
        return reverse(f"admin:tasks_dashboard_{page}", args=args, current_app=self.admin_site.name)


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
