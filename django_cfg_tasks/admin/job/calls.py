"""A job as the line of Python that would enqueue one like it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

from django_cfg_tasks.admin.display import shortened
from django_cfg_tasks.masking import MASK
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.options import DELAY_OPTIONS
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import Task

WIDTH = 88
"""Characters of a line, beyond which each argument has a line of its own."""
_TAKEN = DELAY_OPTIONS | {"args", "kwargs"}
"""Names that `delay` takes for options of the call, unless the task has such parameters."""


@dataclass(frozen=True, slots=True)
class Call:
    """The text, and what has to be said about it."""

    text: str
    is_masked: bool
    """Whether values in it are hidden, which must be put in before it is run."""
    is_declared: bool
    """Whether this process knows the task."""


def as_delay(log: TaskLog, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """Return the call of ``log``'s job with these arguments, which may be shown, and the import that it needs."""
    task = tasks.get(log.task_name)
    line, name = _import(log.task_name, task)
    if task is not None and log.queue_name not in ("", task.options.queue):
        name += f".using(queue={literal(log.queue_name)})"
    own = task.codec.signature.parameters if task is not None else {}
    verb = "aenqueue" if any(key in _TAKEN and key not in own for key in kwargs) else "delay"
    arguments = [*map(literal, args), *_keywords(kwargs)]
    call = f"await {name}.{verb}({', '.join(arguments)})"
    if len(call) > WIDTH:
        call = f"await {name}.{verb}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"
    return Call(shortened(f"{line}\n\n{call}"), _is_masked([*args, kwargs]), task is not None)


def literal(value: Any) -> str:
    """Return JSON data as Python writes it, on one line and without a character that can't be seen."""
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(str(key))}: {literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def _import(name: str, task: Task[..., Any] | None) -> tuple[str, str]:
    """Return an import, and the task's name after it: where it was declared, if it is found there, else by its name."""
    if task is not None:
        module, path = task.function.__module__, task.function.__qualname__
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, Task) and found.name == name and module != "__main__":
            return f"from {module} import {path.partition('.')[0]}", path
    return "from django_cfg_tasks.registry import tasks", f"tasks[{literal(name)}]"


def _keywords(kwargs: Mapping[str, Any]) -> list[str]:
    named = [f"{key}={literal(value)}" for key, value in kwargs.items() if _is_name(key)]
    others = {key: value for key, value in kwargs.items() if not _is_name(key)}
    return [*named, f"**{literal(others)}"] if others else named


def _is_name(key: str) -> bool:
    return key.isascii() and key.isidentifier() and not iskeyword(key)


def _is_masked(data: Any) -> bool:
    if isinstance(data, dict):
        return any(_is_masked(value) for value in data.values())
    return any(_is_masked(value) for value in data) if isinstance(data, list) else data == MASK
