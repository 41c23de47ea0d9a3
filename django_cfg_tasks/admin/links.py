"""The addresses of the pages on jobs, in one admin site."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse


class Links:
    """Addresses in the site of this name."""

    def __init__(self, site: str) -> None:
        self._site = site

    def jobs(self, **query: object) -> str:
        """The list of those that these filters let through."""
        address = reverse("admin:tasks_tasklog_changelist", current_app=self._site)
        asked = {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in query.items()}
        return f"{address}?{urlencode(asked)}" if asked else address

    def job(self, key: object, page: str = "change") -> str:
        """A page of one, by its row's id or by its job's."""
        return reverse(f"admin:tasks_tasklog_{page}", args=[quote(str(key))], current_app=self._site)
