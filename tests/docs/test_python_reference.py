"""The page of the Python API says what the code says: every name, its parameters, its defaults, its members."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import django_cfg_tasks
from django_cfg_tasks import Job, JobContext, JobResult, JobStatus, ReArqClient, Retry, Task, cron_task, task
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.options import CallOptions, TaskOptions
from tests.docs import pages

REFERENCE = pages.ROOT / "docs" / "reference"
PAGE, SIGNALS = REFERENCE / "python.md", REFERENCE / "signals.md"
FURTHER = ["Of other modules", "TaskLog"]
# Public for other modules of the package, not for its users; the page says that it leaves such out.
INTERNAL = {
    ReArqClient: {
        *("acceptance", "broker", "home", "signals", "store", "waiter", "call", "read_records"),
        *("enqueue", "aenqueue"),
    },
    Task: {"attributed", "codec", "lock_key", "record"},
}
_CODE = re.compile(r"`([^`]+)`")


def first_cells(heading: str, page: Any = PAGE) -> list[str]:
    """Return the names in the first column of a table."""
    return [name for row in pages.table(page, heading) for name in _CODE.findall(row[0])]


def shown(name: str, member: Any) -> str:
    """Return a method as the page shows it: with its parameters and their defaults, and whether to await it."""
    if not inspect.isfunction(member):
        return name
    signature = inspect.signature(member)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()][1:]
    text = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    return f"{'await ' if inspect.iscoroutinefunction(member) else ''}{name}{text}"


def members(kind: type) -> Iterator[str]:
    own = [base for base in kind.__mro__ if base.__module__.startswith("django_cfg_tasks")]
    names = {name for base in own for name in vars(base)} | set(getattr(kind, "__dataclass_fields__", ()))
    if not dataclasses.is_dataclass(kind):
        names |= set(re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(kind.__init__)))  # type: ignore[misc]
    for name in names - INTERNAL.get(kind, set()):
        if not name.startswith("_"):
            yield shown(name, inspect.getattr_static(kind, name, None))


def test_every_name_has_its_section() -> None:
    headings = re.findall(r"^## (.+)$", pages.prose(PAGE), re.MULTILINE)
    assert headings[-len(FURTHER) :] == FURTHER
    assert sorted(headings[: -len(FURTHER)]) == sorted(django_cfg_tasks.__all__)


@pytest.mark.parametrize("kind", [Task, Job, JobResult, JobContext, ReArqClient], ids=lambda kind: kind.__name__)
def test_members(kind: type) -> None:
    listed = [name for name in first_cells(kind.__name__) if name != "task(...)"]
    assert sorted(listed) == sorted(members(kind))


def defaults(heading: str) -> dict[str, Any]:
    rows = pages.table(PAGE, heading)
    # As the code says it, not what it is made from: a default that can't be evaluated is one that was not given.
    return {row[0].strip("`"): eval(row[1].strip("`")) if row[1] else inspect.Parameter.empty for row in rows}


def test_options_of_a_task() -> None:
    declared = {field.name: field.default for field in dataclasses.fields(TaskOptions)}
    assert defaults("task") == {"name": inspect.signature(task).parameters["name"].default} | declared


def test_options_of_a_cron_task() -> None:
    parameters = inspect.signature(cron_task).parameters.values()
    assert defaults("cron_task") == {
        each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD
    }


def test_options_of_a_call() -> None:
    assert defaults("Options of a call") == {field.name: field.default for field in dataclasses.fields(CallOptions)}


def test_retry() -> None:
    assert defaults("Retry") == {each.name: each.default for each in inspect.signature(Retry).parameters.values()}
    assert f"`raise {shown('Retry', Retry.__init__)}`" in pages.prose(PAGE)
    assert not issubclass(Retry, TasksError)


def test_statuses() -> None:
    rows = {row[0].strip("`"): row[1] == "yes" for row in pages.table(PAGE, "JobStatus")}
    assert rows == {status.value: status.is_final for status in JobStatus}


def test_fields_of_the_history() -> None:
    assert sorted(first_cells("TaskLog")) == sorted(field.name for field in TaskLog._meta.get_fields())
    queries = {name for name in vars(type(TaskLog.objects.all())) if not name.startswith("_")}
    told = set(re.findall(r"`(\w+)\(\)`", pages.prose(PAGE).rpartition("## TaskLog")[2]))
    assert queries == told


def test_signals() -> None:
    from django_cfg_tasks import signals

    declared = [name for name, value in vars(signals).items() if isinstance(value, signals.TaskSignal)]
    assert first_cells("Which there are", SIGNALS) == declared
    assert all(f"`{name}`" in pages.prose(pages.ROOT / "docs" / "howto" / "signals.md") for name in declared)


def test_the_record_of_a_signal() -> None:
    assert sorted(first_cells("The record", SIGNALS)) == sorted(field.name for field in dataclasses.fields(JobRecord))
    properties = {name for name, value in vars(JobRecord).items() if isinstance(value, property)}
    told = set(re.findall(r"`(\w+)`", pages.prose(SIGNALS).rpartition("It has properties too")[2]))
    assert properties | {"None"} == told
