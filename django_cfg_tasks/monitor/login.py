"""The login page, with Django's users, passwords and sessions. It leads to the same session as the admin's."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth import login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters

from django_cfg_tasks.monitor.doors import may_look, open_to_all
from django_cfg_tasks.monitor.pages import page

logger = logging.getLogger("django_cfg_tasks.monitor")


class LoginForm(AuthenticationForm):
    """Takes staff who may look at jobs; others are told no more than that it did not work, as in the admin."""

    error_messages = {
        "invalid_login": "No member of staff who may look at jobs has this name and this password.",
        "inactive": "No member of staff who may look at jobs has this name and this password.",
    }

    def confirm_login_allowed(self, user: Any) -> None:
        """Refuse who has the right password, and no business here."""
        if not may_look(user):
            raise ValidationError(self.error_messages["invalid_login"], code="invalid_login")


@sensitive_post_parameters()
def log_in(request: HttpRequest) -> HttpResponse:
    """Ask for name and password, and go on to where the visitor wanted to go."""
    onward = request.POST.get("next") or request.GET.get("next") or ""
    if not url_has_allowed_host_and_scheme(onward, allowed_hosts=None) or not onward.startswith("/"):
        onward = reverse("dashboard")
    if request.method == "POST":
        form = LoginForm(request, data=request.POST)
        if form.is_valid():
            login(request, form.get_user())
            return HttpResponseRedirect(onward)
        logger.warning("A login from %s failed.", request.META.get("REMOTE_ADDR"))
    elif may_look(request.user):
        return HttpResponseRedirect(onward)
    else:
        form = LoginForm(request)
    return page(request, "login.html", {"form": form, "next": onward, "page_title": "Log in"})


log_in = open_to_all(log_in)


@open_to_all
def log_out(request: HttpRequest) -> HttpResponse:
    """End the session, here and in the admin."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    logout(request)
    return HttpResponseRedirect(reverse("login"))
