"""Who gets in, and what every answer carries: the middleware of the monitoring pages.

People come with Django's session, which they bring from the admin or get from the login page here; machines say who
they are by HTTP Basic. Both must be active staff who may look at jobs.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.core.exceptions import DisallowedHost
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import urlencode

from django_cfg_tasks.acts.permissions import VIEW
from django_cfg_tasks.exceptions import (
    BrokerUnavailableError,
    ConfigurationError,
    JobNotFoundError,
    StoreUnavailableError,
    TaskDisabledError,
    TasksDisabledError,
    TasksError,
    UnknownTaskError,
    WrongStateError,
    is_sql_away,
)
from django_cfg_tasks.monitor.pages import failure

logger = logging.getLogger("django_cfg_tasks.monitor")

OPEN = "open_to_all"
"""The mark of a view that asks nobody who he is."""
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ABSENT = (UnknownTaskError, JobNotFoundError)
_CONFLICTS = (WrongStateError, TaskDisabledError, TasksDisabledError)
_AWAY = (BrokerUnavailableError, StoreUnavailableError, ConfigurationError)


def open_to_all(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Mark a view that everybody may ask."""
    setattr(view, OPEN, True)
    return view


def may_look(user: Any) -> bool:
    """Tell whether a user is one for whom these pages are."""
    return bool(user.is_active and user.is_staff and user.has_perm(VIEW))


class Frame(MiddlewareMixin):
    """What is around every answer: the host that was asked for, headers, a line in the log, the end of connections."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse hosts that are not ours, as a page elsewhere may have them lead here."""
        try:
            request.get_host()
        except DisallowedHost as error:
            logger.warning("Refused: %s", error)
            return HttpResponse("Unknown host. ALLOWED_HOSTS says which names this server answers to.\n", status=400)
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Add the headers, and close what the thread of this request opened: it is not used again."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        # Without the query, which may name what people look for.
        logger.debug("%s %s: %d", request.method, request.path, response.status_code)
        connections.close_all()
        return response


class Gate(MiddlewareMixin):
    """Lets staff in, and turns what the engine raises into answers."""

    def process_view(
        self, request: Any, view: Callable[..., HttpResponse], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Ask who it is, unless the view is for everybody."""
        request.by_basic = False
        if getattr(view, OPEN, False):
            return None
        if request.headers.get("Authorization", "").lower().startswith("basic "):
            user = _user_of(request)
            if user is None:
                logger.warning("A login by HTTP Basic from %s failed.", request.META.get("REMOTE_ADDR"))
                return _who_are_you(request, "Unknown user, or another password.")
            request.user, request.by_basic = user, True
        if not request.user.is_authenticated:
            if request.method in ("GET", "HEAD") and wants_page(request):
                return HttpResponseRedirect(f"{reverse('login')}?{urlencode({'next': request.get_full_path()})}")
            return _who_are_you(request, "Log in first: by the login page, or by HTTP Basic.")
        if not may_look(request.user):
            return refusal(request, "These pages are for staff who may look at jobs (tasks.view_tasklog).", 403)
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer with what the engine says, and a status that fits."""
        return refusal(request, str(error), status_of(error)) if isinstance(error, TasksError) else None


class Csrf(CsrfViewMiddleware):
    """Django's, for sessions; of HTTP Basic it asks that no page elsewhere made a browser send the request."""

    def process_view(self, request: Any, callback: Any, callback_args: Any, callback_kwargs: Any) -> Any:
        """Refuse a change that the user did not ask for here."""
        if not getattr(request, "by_basic", False):
            return super().process_view(request, callback, callback_args, callback_kwargs)
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        # Browsers say where a request comes from; other clients say nothing.
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site not in (None, "same-origin", "none") or (origin is not None and not self._is_own(request, origin)):
            return self._reject(request, "it comes from another site")
        return None

    def _is_own(self, request: HttpRequest, origin: str) -> bool:
        return origin == f"{request.scheme}://{request.get_host()}" or origin in settings.CSRF_TRUSTED_ORIGINS

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        logger.warning("Refused: %s %s: %s", request.method, request.path, reason)
        return refusal(request, f"Refused: {reason.rstrip('.')}. Load the page anew, and try again.", 403)


def status_of(error: TasksError) -> int:
    """Return the HTTP status for what the engine raised."""
    if isinstance(error, _ABSENT):
        return 404
    if isinstance(error, _CONFLICTS):
        return 409
    return 503 if isinstance(error, _AWAY) or is_sql_away(error) else 400


def wants_page(request: HttpRequest) -> bool:
    """Tell whether a browser shows the answer to a person."""
    return "text/html" in request.headers.get("Accept", "")


def refusal(request: HttpRequest, text: str, status: int) -> HttpResponse:
    """Return a page, or JSON as ReArq's server has it."""
    return failure(request, text, status) if wants_page(request) else JsonResponse({"msg": text}, status=status)


def _who_are_you(request: HttpRequest, text: str) -> HttpResponse:
    answer = refusal(request, text, 401)
    answer["WWW-Authenticate"] = 'Basic realm="django_cfg_tasks", charset="UTF-8"'
    return answer


def _user_of(request: HttpRequest) -> Any:
    """Return the user whose name and password the request has; None if they are not right."""
    try:
        said = base64.b64decode(request.headers["Authorization"].partition(" ")[2].strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, _, password = said.partition(":")
    return authenticate(request, username=name, password=password)
