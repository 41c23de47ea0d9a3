"""Optional: ``TaskLog.user`` is who made the request in which a job was enqueued."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject

from django_cfg_tasks.attribution import attributed_to

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class UserMiddleware:
    """Attributes the jobs that are enqueued during a request to its user; ``using(user=…)`` goes before.

    The user is read when something is enqueued, and then as the view sees it: what REST framework or a login has made
    of ``request.user`` counts, and a request that enqueues nothing touches neither session nor database.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request, sync or async as the next one does."""
        if self._is_async:
            return self._answer(request)
        with attributed_to(RequestUser(request)):
            return self.get_response(request)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        with attributed_to(RequestUser(request)):
            return await cast(Awaitable[HttpResponseBase], self.get_response(request))


class RequestUser:
    """The user of a request, as it is when it is asked for."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def key(self) -> Any:
        """Return the user's primary key; None for an anonymous one, and where nobody authenticates."""
        return getattr(getattr(self._request, "user", None), "pk", None)

    async def akey(self) -> Any:
        """`key`, for async code."""
        # Not auser(): that is Django's own login, whatever else has made request.user.
        if issubclass(type(getattr(self._request, "user", None)), LazyObject):
            return await sync_to_async(self.key)()
        return self.key()
