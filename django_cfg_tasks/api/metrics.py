"""How things stand, for Prometheus. It answers while Redis or SQL are away, and then says so."""

from __future__ import annotations

import hmac
import logging
from typing import Any

import django.db
from django.db import router
from django.http import HttpResponse
from rest_framework import exceptions, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from django_cfg_tasks import live
from django_cfg_tasks.api.base import TasksView
from django_cfg_tasks.api.engine import answered
from django_cfg_tasks.api.schema import described
from django_cfg_tasks.conf import get_config
from django_cfg_tasks.history.lifetime import Lifetime, lifetime
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.sharing import Shared

logger = logging.getLogger("django_cfg_tasks.api")

# However many scrape, and however many rows there are: at most so small a share of the database's time.
_standing: Shared[live.Standing] = Shared(1)
_jobs: Shared[Lifetime] = Shared(1, rests=20)


class NotInstalled(exceptions.APIException):
    """The extra is missing."""

    status_code = status.HTTP_501_NOT_IMPLEMENTED
    default_code = "not_installed"
    default_detail = "Metrics need prometheus-client: pip install 'django-cfg-tasks[metrics]'"


class MetricsView(TasksView):
    """Metrics of the whole system; those of a process are on its own port.

    Whoever sends ``TaskConfig(metrics_token=...)`` is let in without asking the database who that is.
    """

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Ask for no user where the token was sent."""
        return [] if self._has_token() else super().get_authenticators()

    def get_permissions(self) -> list[BasePermission]:
        """Let whoever has the token in."""
        return [] if self._has_token() else super().get_permissions()

    @described(responses={(200, "text/plain"): str}, errors=(503,))
    def get(self, request: Request) -> HttpResponse:
        """Answer in Prometheus' text form, or OpenMetrics where that is asked for."""
        try:
            from django_cfg_tasks.api.exposition import exposed
        except ModuleNotFoundError as error:
            if error.name != "prometheus_client":
                raise
            raise NotInstalled from None
        with answered():
            standing = _standing.get(None, live.ask_all)
        text, content_type = exposed(standing, self._lifetime(), request.headers.get("Accept", ""))
        return HttpResponse(text, content_type=content_type)

    def _lifetime(self) -> Lifetime | None:
        alias = router.db_for_read(TaskLog)
        try:
            return _jobs.get(alias, lambda: lifetime(alias))
        except django.db.Error as error:
            logger.warning("Metrics are without the task log, which can't be read: %s", error)
            return None

    def _has_token(self) -> bool:
        token = get_config().metrics_token
        request: Any = getattr(self, "request", None)
        if token is None or request is None:
            return False
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
