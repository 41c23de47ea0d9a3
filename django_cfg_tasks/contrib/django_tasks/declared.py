"""Django's tasks as tasks of the engine: each under its module path, declared when Django's own decorator runs.

A worker knows those whose modules it has imported, as any task. Where a job's is not among them, it imports what a web
server would, the project's URLs: who enqueues is mostly there. Nothing is imported by a name that came from data.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django_cfg_tasks import conf
from django_cfg_tasks.context import JobContext
from django_cfg_tasks.contrib.django_tasks.framework import AnyTask, TaskContext, normalize_json
from django_cfg_tasks.contrib.django_tasks.news import tell_of
from django_cfg_tasks.contrib.django_tasks.results import result_of, task_of
from django_cfg_tasks.exceptions import UnknownTaskError
from django_cfg_tasks.options import TaskOptions
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import AsyncTask, SyncTask, Task

_declared: dict[str, AnyTask] = {}


def declare(task: AnyTask, options: dict[str, Any]) -> None:
    """Have the engine know a task, with ``options`` of its own; the first declaration of a function counts.

    DeclarationError where it can't be: its module path is too long, or the name of another task.
    """
    name = task.module_path
    known = _declared.get(name)
    if known is not None and known.func is task.func and name in tasks:
        return
    kind = AsyncTask if inspect.iscoroutinefunction(task.func) else SyncTask
    bound = TaskOptions(queue=task.queue_name, bind=task.takes_context, **options)
    engine: Task[..., Any] = kind(_called(task), name, bound)
    tasks.add(engine)
    _declared[name] = task
    tell_of(engine, task)


def declared(name: str) -> AnyTask | None:
    """Return Django's task of a module path, looking for it if need be; None where there is none."""
    try:
        tasks.find(name)
    except UnknownTaskError:
        return None
    return _declared.get(name)


def import_urls() -> None:
    """Import the project's URLs, and with them what its views import; UnknownTaskError where that fails."""
    urls = conf.root_urlconf()
    try:
        if urls:
            import_module(urls)
    except Exception as error:
        raise UnknownTaskError(
            f"Its module may be one that {urls} (ROOT_URLCONF) imports, and that can't be imported here: "
            f"{type(error).__name__}: {error}"
        ) from error


def _called(task: AnyTask) -> Callable[..., Any]:
    """Return what the engine calls: the function, with arguments and result as Django's own backends pass them.

    So there are no annotations to convert by; the parameters have their names, by which secrets are masked.
    """
    function = task.func

    def given(args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_context(args[0], task), *args[1:]) if task.takes_context else args

    async def arun(*args: Any, **kwargs: Any) -> Any:
        return normalize_json(await function(*given(args), **kwargs))

    def run(*args: Any, **kwargs: Any) -> Any:
        return normalize_json(function(*given(args), **kwargs))

    called = functools.update_wrapper(arun if inspect.iscoroutinefunction(function) else run, function)
    signature = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    called.__annotations__ = {}
    vars(called)["__signature__"] = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    return called


def _context(context: JobContext, task: AnyTask) -> TaskContext[..., Any]:
    record = context._record  # noqa: SLF001 - the run's own, before anybody has changed it
    return TaskContext(task_result=result_of(record, task_of(record, task)))


tasks.finders.append(import_urls)
