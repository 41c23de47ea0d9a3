"""The API's addresses, below wherever the project mounts `django_cfg_tasks.urls`."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from django_cfg_tasks.api.logs import TaskLogViewSet

router = SimpleRouter()
router.register("logs", TaskLogViewSet, basename="log")

urlpatterns = router.urls
