"""What a project mounts: ``path("cfg/tasks/", include("django_cfg_tasks.urls"))``."""

from __future__ import annotations

from django.urls import include, path

app_name = "django_cfg_tasks"

urlpatterns = [path("", include("django_cfg_tasks.api.urls"))]
