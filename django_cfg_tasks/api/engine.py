"""Between a request and the engine: what the engine raises becomes an answer with a reason, and never a 500."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rest_framework import exceptions, status

from django_cfg_tasks import live
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import (
    BrokerUnavailableError,
    ConfigurationError,
    EnqueueError,
    JobNotFoundError,
    StoreUnavailableError,
    TaskDisabledError,
    TasksDisabledError,
    UnknownTaskError,
    WrongStateError,
    is_sql_away,
)

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
    except (TaskDisabledError, TasksDisabledError, WrongStateError) as error:
        raise Conflict(str(error)) from error
    except (BrokerUnavailableError, StoreUnavailableError, ConfigurationError) as error:
        raise Unavailable(str(error)) from error
    except EnqueueError as error:
        if is_sql_away(error):
            raise Unavailable(str(error)) from error
        raise exceptions.ValidationError({"detail": str(error)}) from error


def ask(question: Callable[[ReArqClient], Coroutine[Any, Any, T]]) -> T:
    """`live.ask`, with an answer for what it raises."""
    with answered():
        return live.ask(question)
