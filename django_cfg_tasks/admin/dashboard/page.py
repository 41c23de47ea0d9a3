"""The dashboard's place in the admin: its addresses. What is behind them is `views`' business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from django_cfg_tasks.admin.base import ReadOnlyAdmin
from django_cfg_tasks.models import Dashboard


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
            path("", self._view("show_page"), name="tasks_dashboard_changelist"),
            path("now/", self._view("show_now"), name="tasks_dashboard_now"),
            path("past/", self._view("show_past"), name="tasks_dashboard_past"),
            path("act/<slug:act>/", self._view("act"), name="tasks_dashboard_act"),
        ]

    def _view(self, name: str) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, **options: Any) -> HttpResponse:
            # Imported when somebody looks: every process of a project loads the admin.
            from django_cfg_tasks.admin.dashboard import views

            answer: HttpResponse = getattr(views, name)(self, request, **options)
            return answer

        # Not in a transaction: one that a failed query broke, or that a job is part of, would spoil the rest.
        return transaction.non_atomic_requests(self.admin_site.admin_view(view))
