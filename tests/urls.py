"""The URLs of the tests that run in pytest's own process."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("cfg/tasks/", include("django_cfg_tasks.urls"))]
