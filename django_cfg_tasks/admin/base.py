"""What the pages of this admin share: they show, and change nothing; acts have addresses and permissions of their own.

Where django-unfold is installed they are its pages, with its look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest

from django_cfg_tasks.acts.permissions import VIEW
from django_cfg_tasks.models import TaskLog

SECONDS_FOR_HISTORY = 2.0
"""For which a page waits for the history of what it has just done."""

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[TaskLog]
elif apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin as _Base
else:
    _Base = admin.ModelAdmin  # takes no type parameter at run time


class ReadOnlyAdmin(_Base):
    """Pages for those who may view task logs, with this package's look and script."""

    class Media:
        css = {"all": ("django_cfg_tasks/admin.css",)}
        js = ("django_cfg_tasks/admin.js",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may view task logs may see all of these pages."""
        return request.user.has_perm(VIEW)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def await_history() -> None:
    """Wait a moment until the history knows of what was just done, so that the next page shows it."""
    from django_cfg_tasks.recorder import recorder

    recorder.flush(SECONDS_FOR_HISTORY)
