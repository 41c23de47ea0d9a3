"""What is done when worker processes start and end, and around each enqueue and each run of a job.

It holds functions, and knows neither workers nor who watches them. What goes around jobs is for tools, such as those
in `contrib`; it is not part of the public API.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from django_cfg_tasks.exceptions import DeclarationError
from django_cfg_tasks.jobs import Attempt, JobRecord

logger = logging.getLogger("django_cfg_tasks.hooks")

T = TypeVar("T")
Around = Callable[[T], AbstractContextManager[object]]
Hook = TypeVar("Hook", bound=Callable[[], Any])

start_hooks: list[Callable[[], Any]] = []
"""In the order of their declaration."""
stop_hooks: list[Callable[[], Any]] = []
"""In the order of their declaration; they run in the reverse order."""


@dataclass(slots=True)
class JobRun:
    """One run of a job. ``attempt`` and ``error``, what the task raised, are there once it has ended."""

    record: JobRecord
    attempt: Attempt | None = None
    error: BaseException | None = None


around_enqueue: list[Around[Sequence[JobRecord]]] = []
"""Each makes a context that is entered, by whoever enqueues, before jobs are stored, and left after. It may add to
their ``options``, and sees what storing them raises."""
around_run: list[Around[JobRun]] = []
"""Each makes a context that is entered before a job's function is called, in the asyncio task and the context in which
it is, and left when what became of the run is known. No error passes through it."""

_NOTHING = nullcontext()


def around(functions: Sequence[Around[T]], subject: T) -> AbstractContextManager[object]:
    """Return all contexts that ``functions`` make for ``subject`` as one; costs nothing where there are none.

    What goes wrong in one of them is logged: it must not cost a job.
    """
    return _all_around(functions, subject) if functions else _NOTHING


@contextmanager
def _all_around(functions: Sequence[Around[T]], subject: T) -> Iterator[None]:
    entered: list[tuple[Around[T], AbstractContextManager[object]]] = []
    error: BaseException | None = None
    try:
        for function in list(functions):
            try:
                context = function(subject)
                context.__enter__()
                entered.append((function, context))
            except Exception:
                logger.exception("%s failed before a job, which goes on without it.", _name_of(function))
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        for function, context in reversed(entered):
            try:
                context.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
            except Exception as failure:
                if failure is not error:
                    logger.exception("%s failed after a job, which goes on without it.", _name_of(function))


def on_worker_start(function: Hook) -> Hook:
    """Have ``function`` called in every worker process before its first job, in the order of declaration.

    Async functions run on the worker's event loop, where async tasks run too, sync ones in a thread. None takes
    arguments. SQL and Redis have been reached by then. One that raises ends the worker with exit code 1.
    DeclarationError where ``function`` can't be a hook.
    """
    _add(start_hooks, function, "on_worker_start")
    return function


def on_worker_stop(function: Hook) -> Hook:
    """Have ``function`` called in every worker process after its last job, in the reverse order of declaration.

    As `on_worker_start`. The outcomes of all jobs are written by then. One that raises is logged, one that takes too
    long is given up; the others run all the same.
    """
    _add(stop_hooks, function, "on_worker_stop")
    return function


def path_of(function: Callable[[], Any]) -> str:
    """Return where a hook is written: ``module.qualname``."""
    return f"{function.__module__}.{function.__qualname__}"


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _add(hooks: list[Callable[[], Any]], function: Any, decorator: str) -> None:
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise DeclarationError(f"@{decorator}: {function!r} can't be a hook: a hook is a function, async or not.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DeclarationError(
            f"@{decorator}: {path_of(function)} can't be a hook: a hook returns, it doesn't yield. "
            "What is to be done at the end goes into a function of its own, with @on_worker_stop."
        )
    needed = [name for name, parameter in inspect.signature(function).parameters.items() if _is_needed(parameter)]
    if needed:
        raise DeclarationError(
            f"@{decorator}: {path_of(function)} can't be a hook: it is called without arguments, "
            f"and its parameter {needed[0]!r} has no default."
        )
    for index, known in enumerate(hooks):
        if _same_place(known, function):
            hooks[index] = function
            return
    hooks.append(function)


def _is_needed(parameter: inspect.Parameter) -> bool:
    several = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not several


def _same_place(known: Callable[[], Any], function: Callable[[], Any]) -> bool:
    """Tell whether it is the same function, of a module that was loaded again.

    Functions made by one line of another function are different ones, and so are two of one name in a module.
    """
    if known == function:
        return True
    is_local = inspect.ismethod(function) or "<locals>" in function.__qualname__
    return not is_local and path_of(known) == path_of(function) and _line(known) == _line(function)


def _line(function: Callable[[], Any]) -> int:
    return int(inspect.unwrap(function).__code__.co_firstlineno)
