"""Django, as this process serves it: with these pages alone, and with the middleware that they need.

The project's middleware stays out: it may need the project's addresses. What the settings say of sessions, cookies,
passwords, hosts and proxies is in force.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http.request import split_domain_port

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names that nobody else can make a browser take for this machine, whatever ALLOWED_HOSTS says."""

MIDDLEWARE: Final = [
    "django_cfg_tasks.monitor.doors.Frame",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_cfg_tasks.monitor.doors.Gate",
    "django_cfg_tasks.monitor.doors.Csrf",
]


class MonitorRequest(ASGIRequest):
    """A request for one of these pages."""

    urlconf = "django_cfg_tasks.monitor.urls"

    def get_host(self) -> str:
        """Return the host that was asked for; DisallowedHost unless it is this machine or one of ALLOWED_HOSTS."""
        host = self.META.get("HTTP_HOST", "")
        forwarded = settings.USE_X_FORWARDED_HOST and "HTTP_X_FORWARDED_HOST" in self.META
        return host if not forwarded and split_domain_port(host)[0] in LOOPBACK else super().get_host()


class MonitorHandler(ASGIHandler):
    """The ASGI application. Made once, before the process serves."""

    request_class = MonitorRequest

    def load_middleware(self, is_async: bool = False) -> None:
        """Load `MIDDLEWARE` in the place of the project's."""
        theirs, settings.MIDDLEWARE = settings.MIDDLEWARE, MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = theirs
