"""What can be done to one job in the admin: POST requests with addresses and permissions of their own.

Each leads back to a page with a message, whether it was done or not. What they do is `acts`' to say, and every one is
kept by its `audit`.
"""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from django_cfg_tasks.acts import audit, jobs
from django_cfg_tasks.acts.permissions import CANCEL, RETRY
from django_cfg_tasks.admin.base import await_history
from django_cfg_tasks.admin.links import Links
from django_cfg_tasks.exceptions import TaskDisabledError, TasksDisabledError, TasksError, WrongStateError
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog

_REFUSALS = (WrongStateError, TaskDisabledError, TasksDisabledError)
_Act = Callable[[HttpRequest, TaskLog, Links], str]


def urls(pages: admin.ModelAdmin[TaskLog]) -> list[URLPattern]:
    """Return the addresses of the acts, below that of the job's row."""
    return [
        path("<path:object_id>/retry/", _view(pages, RETRY, _retry), name="tasks_tasklog_retry"),
        path("<path:object_id>/cancel/", _view(pages, CANCEL, _cancel), name="tasks_tasklog_cancel"),
    ]


def _view(pages: admin.ModelAdmin[TaskLog], permission: str, act: _Act) -> Callable[..., HttpResponse]:
    # A transaction around it would hide from the engine what it waits for, and the other way round.
    @transaction.non_atomic_requests
    @require_POST
    def view(request: HttpRequest, object_id: str) -> HttpResponse:
        if not (pages.has_view_permission(request) and request.user.has_perm(permission)):
            raise PermissionDenied
        log = pages.get_object(request, unquote(object_id))
        if log is None:
            return pages._get_obj_does_not_exist_redirect(request, pages.opts, object_id)  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001
        links = Links(pages.admin_site.name)
        try:
            return HttpResponseRedirect(act(request, log, links))
        except _REFUSALS as error:
            messages.warning(request, str(error))
        except TasksError as error:
            messages.error(request, _("Nothing was done. %(error)s") % {"error": error})
        return HttpResponseRedirect(links.job(log.pk))

    return pages.admin_site.admin_view(view)


def _retry(request: HttpRequest, log: TaskLog, links: Links) -> str:
    """Run the job again, and lead to the new one."""
    new = jobs.retry(log.job_id)
    audit.record(request.user, f"run again as {new.job_id}", f"Job {log.job_id}", log)
    await_history()
    row = TaskLog.objects.filter(job_id=new.job_id).values_list("pk", flat=True).first()
    if row is None:
        text = _("The job runs again as %(job)s, of which the history does not know yet.") % {"job": new.job_id}
        messages.success(request, text)
        return links.job(log.pk)
    link = format_html('<a href="{}">{}</a>', links.job(log.pk), log.job_id)
    messages.success(request, format_html(_("This new job runs {} again."), link))
    return links.job(row)


def _cancel(request: HttpRequest, log: TaskLog, links: Links) -> str:
    """Cancel the job, and lead back to it."""
    record = jobs.cancel(log.job_id)
    audit.record(request.user, "canceled", f"Job {log.job_id}", log)
    await_history()
    is_running = record.status is JobStatus.in_progress
    messages.success(
        request, _("The job is canceled; its worker is told to stop it.") if is_running else _("The job is canceled.")
    )
    return links.job(log.pk)
