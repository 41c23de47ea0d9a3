"""For whom the code that runs now enqueues: whoever made the request, or whom the running job is for.

A context variable holds it, so that tasks and threads that asyncio and asgiref start see it, and no others do. What a
request is, and where its user is found, is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

logger = logging.getLogger("django_cfg_tasks.client")


UNSAID: Final = ...
"""The ``user`` of a call that says nothing about it; None says: nobody."""


class Source(Protocol):
    """Where the current user's primary key comes from, once somebody enqueues."""

    def key(self) -> Any:
        """Return the key, or None for nobody."""

    async def akey(self) -> Any:
        """`key`, for async code."""


class JobsUser:
    """Whom a running job is for."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def key(self) -> Any:
        """Return the key, or None for nobody."""
        return self._key

    async def akey(self) -> Any:
        """`key`, for async code."""
        return self._key


_source: ContextVar[Source | None] = ContextVar("django_cfg_tasks.attribution", default=None)


@contextmanager
def attributed_to(source: Source) -> Iterator[None]:
    """Attribute the jobs that the block enqueues."""
    before = _source.get()
    _source.set(source)
    try:
        yield
    finally:
        _source.set(before)  # no token: what is left to the garbage collector ends in another context


def attribute_to_user_of_job(key: Any) -> None:
    """Attribute what the current context enqueues from here on to the user of the job that runs in it."""
    if key is not None or is_known():
        _source.set(JobsUser(key))


def is_known() -> bool:
    """Whether there is somebody to ask: quick, as every enqueue asks."""
    return _source.get() is not None


def current_key() -> Any:
    """Return the primary key of the current user, or None. It may ask the database.

    It never raises: a job is not refused for want of its label, which is logged.
    """
    source = _source.get()
    try:
        return source.key() if source is not None else None
    except Exception as error:
        return _unknown(error)


async def acurrent_key() -> Any:
    """`current_key`, for async code."""
    source = _source.get()
    try:
        return await source.akey() if source is not None else None
    except Exception as error:
        return _unknown(error)


def _unknown(error: Exception) -> None:
    logger.warning(
        "A job is enqueued for nobody, as the current user could not be read. In async code await task.delay(...), or "
        "say using(user=...). %s: %s",
        type(error).__name__,
        error,
    )
