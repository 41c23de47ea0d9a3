"""Between a request and the engine: what the engine raises becomes an answer with a reason, and never a 500."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rest_framework import exceptions, status

from django_cfg_tasks.client import ReArqClient, get_rearq_client
from django_cfg_tasks.exceptions import (
    BrokerUnavailableError,
    ConfigurationError,
    EnqueueError,
    JobNotFoundError,
    StoreUnavailableError,
    TaskDisabledError,
    TasksDisabledError,
    UnknownTaskError,
    is_sql_away,
)
from django_cfg_tasks.health import PATIENCE

T = TypeVar("T")


class Unavailable(exceptions.APIException):
    """Redis or SQL can't be asked now, or the configuration can't be used."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"


class Conflict(exceptions.APIException):
    """What is asked for can't be done as things stand; the detail says why."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


@contextmanager
def answered() -> Iterator[None]:
    """Turn errors of the engine into answers: 404 for the unknown, 409 for a wrong state, 400 for arguments, 503."""
    try:
        yield
    except (UnknownTaskError, JobNotFoundError) as error:
        raise exceptions.NotFound(str(error)) from error
    except (TaskDisabledError, TasksDisabledError) as error:
        raise Conflict(str(error)) from error
    except (BrokerUnavailableError, StoreUnavailableError, ConfigurationError) as error:
        raise Unavailable(str(error)) from error
    except EnqueueError as error:
        if is_sql_away(error):
            raise Unavailable(str(error)) from error
        raise exceptions.ValidationError({"detail": str(error)}) from error


def ask(question: Callable[[ReArqClient], Coroutine[Any, Any, T]]) -> T:
    """Run a question to Redis and SQL, and wait some seconds at most for its answer; 503 without one."""
    with answered():
        client = get_rearq_client()
        return client.call(_soon(question(client)), instead="await live's own functions")


async def _soon(question: Coroutine[Any, Any, T]) -> T:
    # A question that hangs is given up without waiting for that either.
    asked = asyncio.ensure_future(question)
    done, _ = await asyncio.wait([asked], timeout=PATIENCE)
    if not done:
        asked.cancel()
        raise BrokerUnavailableError(f"Redis or SQL did not answer in {PATIENCE:g} s.")
    return asked.result()
