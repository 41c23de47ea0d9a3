"""Views that are imported when one is first asked for, as most processes of a project never ask.

``manage.py check`` and ``migrate`` read the project's addresses, and would load the REST framework for them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string


class DeferredView:
    """A view for `django.urls.path`: the class that ``name`` gives below this package, with ``as_view``'s ``actions``.

    It answers for the view in all else, too: middleware and what makes schemas ask views for their attributes.
    """

    def __init__(self, name: str, actions: dict[str, str] | None = None) -> None:
        self._name = name
        self._actions = actions

    def __call__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        found: HttpResponseBase = self._view(request, *args, **kwargs)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    @cached_property
    def _view(self) -> Any:
        found = import_string(f"{__package__}.{self._name}")
        return found.as_view(*filter(None, [self._actions]))
