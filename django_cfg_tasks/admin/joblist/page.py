"""The page that lists jobs: its columns, its actions, and the rows that move while it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.acts.permissions import CANCEL, RETRY
from django_cfg_tasks.admin.base import ReadOnlyAdmin
from django_cfg_tasks.admin.display import NOTHING, moment
from django_cfg_tasks.admin.joblist.actions import ACTIONS, CHANGING, Chosen
from django_cfg_tasks.admin.states import progress_bar, speed, state_badge
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog

if TYPE_CHECKING:
    from django_cfg_tasks.admin.joblist.listing import LogList

MOST_AT_ONCE = 200
"""Rows on a page, and so those that can be ticked, or asked after."""
CONFIRMED_FROM = 1_000
"""Jobs from which on it is asked whether all that match are meant."""
MOST_WORDS = 80
"""Characters of what a job says of its progress."""


class LogListPage(ReadOnlyAdmin):
    """The task log as a list; `TaskLogAdmin` adds the page of one job."""

    list_display = ("task", "queue", "state", "for_user", "ran", "attempt", "enqueued", "finished")
    sortable_by = ("ran", "enqueued", "finished")
    list_per_page = 50
    list_max_show_all = MOST_AT_ONCE
    # Only so that Django shows the field: what it finds is `LogList`'s to say.
    search_fields = ("job_id",)
    search_help_text = _("Job ID, task, worker, error or user")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-enqueue_time", "-id")
    actions: Any = ACTIONS
    actions_on_bottom = False
    empty_value_display = NOTHING

    def get_urls(self) -> list[URLPattern]:
        live = path("live/", self.admin_site.admin_view(self.live_rows), name="tasks_tasklog_live_rows")
        return [live, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LogList]:
        # Not with this module: with its filters comes REST framework, and every process of a project loads the admin.
        from django_cfg_tasks.admin.joblist.listing import LogList

        return LogList

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RETRY)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CANCEL)

    @transaction.non_atomic_requests
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list, or do what is posted; acts write over connections of their own, so no transaction is open."""
        return super().changelist_view(request, extra_context)

    def response_action(self, request: HttpRequest, queryset: QuerySet[TaskLog], *args: Any, **options: Any) -> Any:
        """Do what is posted to the rows that are ticked, whether the filters still let them through or not, or to all.

        To all that match only after a question, where they are very many. None sends back to the list.
        """
        own: dict[str, Any] = {action.__name__: action for action in ACTIONS}
        if not set(own) & set(request.POST.getlist("action")):  # one of the site, or none
            return super().response_action(request, queryset, *args, **options)
        name = _chosen_action(request)
        if name not in own or name not in self.get_actions(request):
            raise PermissionDenied
        act = own[name]
        # A script sets the hidden field of this name; without one, a box of the same name can be ticked.
        if not set(request.POST.getlist("select_across")) - {"", "0"}:
            keys = _chosen_keys(request)
            if not 0 < len(keys) <= MOST_AT_ONCE:
                text = gettext("Select jobs first: from 1 to %(most)d, or all that match.") % {"most": MOST_AT_ONCE}
                messages.warning(request, text)
                return None
            return act(self, request, Chosen(keys))
        logs = cast("LogList", self.get_changelist_instance(request))
        is_many = not logs.asked or logs.result_count >= CONFIRMED_FROM
        if name in CHANGING and is_many and "confirmed" not in request.POST:
            return self._question(request, name, act.short_description, logs)
        return act(self, request, Chosen((), logs.asked, tuple(logs.queryset.query.order_by)))

    def _question(self, request: HttpRequest, name: str, description: str, logs: LogList) -> HttpResponseBase:
        request.current_app = self.admin_site.name  # as Django's pages do, for their links
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Are you sure?"),
            "opts": self.opts,
            "media": self.media,
            "action": name,
            "description": description,
            "cl": logs,
            "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/tasks/tasklog/confirm_action.html", context)

    def live_rows(self, request: HttpRequest) -> HttpResponse:
        """Answer with the moving parts of the rows ``ids``, and say when all of them have ended."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        from django_cfg_tasks.admin.joblist.listing import COLUMNS

        texts = request.GET.get("ids", "").split(",")
        if len(texts) > MOST_AT_ONCE or not all(_is_key(text) for text in texts):
            return HttpResponseBadRequest("ids: numbers between commas.", content_type="text/plain")
        logs = list(TaskLog.objects.filter(pk__in=[int(text) for text in texts]).only(*COLUMNS))
        parts = format_html_join(
            "\n", "{}{}{}{}", ((self.state(log), self.ran(log), self.attempt(log), self.finished(log)) for log in logs)
        )
        done = mark_safe("<i data-dct-done></i>")
        return HttpResponse(parts + (done if all(log.is_completed for log in logs) else ""))

    @admin.display(description=_("task"))
    def task(self, log: TaskLog) -> SafeString:
        return format_html('<span title="{}">{}</span>', gettext("Job %(id)s") % {"id": log.job_id}, log.task_name)

    @admin.display(description=_("queue"))
    def queue(self, log: TaskLog) -> SafeString:
        return format_html('<span class="dct-queue" title="{}">{}</span>', log.queue_name, log.queue_name)

    @admin.display(description=_("status"))
    def state(self, log: TaskLog) -> SafeString:
        """The status; how far a running job has come and what it says of it; what was raised."""
        more: SafeString | str = ""
        if log.status == JobStatus.in_progress and log.progress is not None:
            more = progress_bar(log.progress, log.task_name)
        if log.status == JobStatus.in_progress and log.progress_message:
            words = Truncator(log.progress_message).chars(MOST_WORDS)
            more = format_html('{} <span class="dct-quiet">{}</span>', more, words)
        elif log.error_class and log.status != JobStatus.success:
            more = format_html('<span class="dct-quiet">{}</span>', log.error_class)
        if more:
            more = format_html('<span class="dct-more">{}</span>', more)
        return _part(log, "state", format_html("{}{}", state_badge(log.status), more))

    @admin.display(description=_("user"))
    def for_user(self, log: TaskLog) -> SafeString | str:
        """For whom it was enqueued; of one who is gone, the number."""
        if log.user_id is None:
            return NOTHING
        return log.user.get_username() if log.user is not None else f"#{log.user_id}"

    @admin.display(description=_("duration"), ordering="duration_ms")
    def ran(self, log: TaskLog) -> SafeString:
        """How long the last attempt ran, or has been running."""
        if log.status == JobStatus.in_progress and log.start_time is not None:
            so_far = timezone.now() - log.start_time
            return _part(log, "ran", speed(max(so_far.total_seconds() * 1000, 0), running=True))
        return _part(log, "ran", speed(log.duration_ms))

    @admin.display(description=_("attempts"))
    def attempt(self, log: TaskLog) -> SafeString:
        """Those begun, and those allowed."""
        waits = log.status in (JobStatus.queued, JobStatus.deferred)
        begun = log.job_retries + (log.start_time is not None and not waits)
        text = gettext("%(begun)d of %(allowed)d") % {"begun": begun, "allowed": max(log.job_retry + 1, begun)}
        return _part(log, "attempt", format_html('<span class="dct-nowrap">{}</span>', text))

    @admin.display(description=_("enqueued"), ordering="enqueue_time")
    def enqueued(self, log: TaskLog) -> SafeString | str:
        return moment(log.enqueue_time)

    @admin.display(description=_("finished"), ordering="finish_time")
    def finished(self, log: TaskLog) -> SafeString:
        return _part(log, "finished", moment(log.finish_time, after=log.enqueue_time))


def _part(log: TaskLog, name: str, content: SafeString | str) -> SafeString:
    """Mark what may change while the page is open."""
    return format_html('<span data-dct-part="{}-{}">{}</span>', name, log.pk, content)


def _chosen_action(request: HttpRequest) -> str:
    """Return the action of the form whose button was pressed."""
    names = request.POST.getlist("action")
    index = request.POST.get("index", "0")
    place = int(index) if index.isdecimal() and len(index) < 3 else 0
    return names[place] if place < len(names) else names[-1]


def _chosen_keys(request: HttpRequest) -> tuple[int, ...]:
    """Return the ids of the rows that are ticked; what can be none is passed over."""
    texts = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
    return tuple(dict.fromkeys(int(text) for text in texts if _is_key(text)))


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
