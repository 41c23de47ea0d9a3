"""Addresses: the shop, Django's admin (with the job history in it) and the job history as JSON."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [
    path("", include("shop.urls")),
    path("admin/", admin.site.urls),
    path("cfg/tasks/", include("django_cfg_tasks.urls")),
    *staticfiles_urlpatterns(),  # with DEBUG only
]
