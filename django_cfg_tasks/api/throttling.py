"""How often one user may ask for what costs the database much. The rates are ours: a project's own need not know us."""

from __future__ import annotations

import logging

from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from django_cfg_tasks import conf

logger = logging.getLogger("django_cfg_tasks.api")


class AggregateThrottle(ScopedRateThrottle):
    """As often as ``TaskConfig(api_aggregate_rate=...)`` says, for each user and each view's ``throttle_scope``.

    Counted in Django's default cache; while that is out of reach, all are let through: what tells how things stand
    must not fail because something else does.
    """

    def get_rate(self) -> str | None:
        """Return the rate of the configuration in force, whatever the scope."""
        return conf.get_config().api_aggregate_rate

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Tell whether the user may ask now, and count it."""
        try:
            return bool(super().allow_request(request, view))
        except Exception:
            logger.warning(
                "Requests of the API can't be counted in Django's cache; they are let through.", exc_info=True
            )
            return True
