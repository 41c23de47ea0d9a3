"""The page of one job, which is put together from parts.

While the job goes on, those that may change are asked for again and again; each is a template of its own, so that both
show the same.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from django_cfg_tasks.admin.base import ReadOnlyAdmin
from django_cfg_tasks.models import TaskLog


class JobPage(ReadOnlyAdmin):
    """The half of the task log's admin that shows one job. Its parts are imported when somebody looks."""

    fieldsets = ()

    def get_urls(self) -> list[URLPattern]:
        from django_cfg_tasks.admin.job.acts import urls

        live_view = self.admin_site.admin_view(self.live_view)
        own = [path("<path:object_id>/live/", live_view, name="tasks_tasklog_live"), *urls(self)]
        return [*own, *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: TaskLog | None = None) -> Any:
        """Return none: the page has templates of its own."""
        return []

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TaskLog | None:
        """Return a row by its id or else by its job's, so that links need only know one of them."""
        from django_cfg_tasks.history.rows import find

        if from_field is not None:
            return super().get_object(request, object_id, from_field)
        return find(str(object_id), self.get_queryset(request).select_related("user"))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Show the job in place of a form."""
        from django_cfg_tasks.admin.job import parts

        log = kwargs.get("obj")
        if log is not None:
            context |= {
                "title": log.task_name,
                "subtitle": None,
                **parts.changing(self, request, log),
                **parts.fixed(self, log),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer with those parts of the page that change while the job goes on."""
        from django_cfg_tasks.admin.job import parts

        if not self.has_view_permission(request):
            raise PermissionDenied
        log = self.get_object(request, unquote(object_id))
        if log is None:
            raise Http404
        return TemplateResponse(request, "admin/tasks/tasklog/job/live.html", parts.changing(self, request, log))
