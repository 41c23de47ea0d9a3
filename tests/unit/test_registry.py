"""The registry: tasks by name, one function to a name."""

from __future__ import annotations

import threading
import types
from typing import Any

import pytest

from django_cfg_tasks.exceptions import DeclarationError, DuplicateTaskError, UnknownTaskError
from django_cfg_tasks.options import TaskOptions
from django_cfg_tasks.registry import Registry
from django_cfg_tasks.task import SyncTask, Task


def declared(name: str, module: str = "shop.tasks", queue: str = "default") -> Task[..., Any]:
    """A task called ``name``, as if its function stood in ``module``."""

    def function() -> None: ...

    copy = types.FunctionType(function.__code__, {"__name__": module}, name)
    copy.__module__, copy.__qualname__ = module, name
    return SyncTask(copy, name, TaskOptions(queue=queue))


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_found_by_name(registry: Registry) -> None:
    task = declared("send_email")
    registry.add(task)
    assert registry["send_email"] is registry.get("send_email") is task
    assert "send_email" in registry
    assert list(registry) == [task]
    assert len(registry) == 1


def test_an_unknown_name_is_told_with_the_known_ones(registry: Registry) -> None:
    assert registry.get("other") is None
    assert "other" not in registry
    with pytest.raises(UnknownTaskError, match=r"^No task is called 'other'\. Known: none\.$"):
        registry["other"]
    for name in "cba":
        registry.add(declared(name))
    with pytest.raises(UnknownTaskError, match=r"^No task is called 'other'\. Known: a, b, c\.$"):
        registry["other"]


def test_two_functions_of_one_name_are_both_named_with_the_way_out(registry: Registry) -> None:
    first = declared("send_email", "shop.tasks")
    registry.add(first)
    with pytest.raises(DuplicateTaskError) as caught:
        registry.add(declared("send_email", "billing.tasks"))
    assert str(caught.value) == (
        "Two tasks are called 'send_email': shop.tasks.send_email and billing.tasks.send_email. "
        'Give one of them a name of its own: @task(name="...").'
    )
    assert isinstance(caught.value, DeclarationError)
    assert registry["send_email"] is first


def test_the_same_function_declared_again_replaces_itself(registry: Registry) -> None:
    """Its module was reloaded."""
    registry.add(declared("send_email"))
    again = declared("send_email", queue="mail")
    registry.add(again)
    assert list(registry) == [again]


def test_queues_default_first(registry: Registry) -> None:
    assert registry.queues() == ["default"]
    for number, queue in enumerate(["mail", "default", "billing", "mail"]):
        registry.add(declared(f"task{number}", queue=queue))
    assert registry.queues() == ["default", "billing", "mail"]


def test_default_is_there_even_where_no_task_uses_it(registry: Registry) -> None:
    registry.add(declared("send_email", queue="mail"))
    assert registry.queues() == ["default", "mail"]


def test_removed(registry: Registry) -> None:
    registry.add(declared("send_email", "shop.tasks"))
    registry.remove("send_email")
    registry.remove("never known")
    registry.add(declared("send_email", "billing.tasks"))
    assert registry["send_email"].path == "billing.tasks.send_email"


def test_it_can_grow_while_it_is_walked_through(registry: Registry) -> None:
    registry.add(declared("a"))
    for task in registry:
        registry.add(declared(task.name + "a")) if len(registry) < 5 else None
    assert {task.name for task in registry} == {"a", "aa"}


def test_of_fifty_threads_with_one_name_one_wins(registry: Registry) -> None:
    start = threading.Barrier(50)
    refused: list[DuplicateTaskError] = []

    def add(number: int) -> None:
        task = declared("send_email", f"module{number}")
        start.wait(10)
        try:
            registry.add(task)
        except DuplicateTaskError as error:
            refused.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(registry) == 1
    assert len(refused) == 49
    assert all(registry["send_email"].path in str(error) for error in refused)
