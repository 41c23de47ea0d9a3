"""Which tasks this process knows, by name. It holds them and knows nothing of how they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django_cfg_tasks.exceptions import ConfigurationError, DeclarationError, DuplicateTaskError, UnknownTaskError

if TYPE_CHECKING:
    from django_cfg_tasks.task import Task


class Registry:
    """Tasks by name; safe to fill and to read from many threads.

    The package's own tasks are found by their names, and are not among those that are listed: no project need know of
    them, nor have a worker for their queues.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._own: dict[str, Task[..., Any]] = {}
        self._queues: set[str] = set()
        self._lock = threading.Lock()
        self.finders: list[Callable[[], None]] = []
        """What may import modules that declare further tasks, whichever is looked for; see `find`."""
        self.lanes: Callable[[str], Sequence[str]] = lambda queue: (queue,)
        """The queues that a worker of a queue consumes in its place, most urgent first; see `in_lanes`."""
        self.fault: DeclarationError | None = None
        """What the apps' task modules could not declare, so that not all tasks are known."""

    def require_all(self) -> None:
        """Raise ConfigurationError where not all tasks are known: a job of one that is missing would fail."""
        if self.fault is not None:
            raise ConfigurationError(f"Not all tasks could be declared. {self.fault}") from self.fault

    def add(self, task: Task[..., Any]) -> None:
        """Take ``task`` in; DuplicateTaskError if another function already has its name.

        The same function declared again (a module reloaded, or run as ``__main__``) replaces itself.
        """
        with self._lock:
            known = self._tasks.get(task.name)
            if known is not None and not _same_place(known, task):
                raise DuplicateTaskError(
                    f"Two tasks are called {task.name!r}: {known.path} and {task.path}. "
                    f'Give one of them a name of its own: @task(name="...").'
                )
            self._tasks[task.name] = task

    def add_own(self, task: Task[..., Any]) -> None:
        """Take in a task of the package itself."""
        self._own[task.name] = task

    def get(self, name: str) -> Task[..., Any] | None:
        """Return the task called ``name``, or None."""
        return self._tasks.get(name) or self._own.get(name)

    def find(self, name: str) -> Task[..., Any] | None:
        """Return the task called ``name``, or None. Where it is not known, the finders import what they know of, which
        can take a moment; UnknownTaskError where that failed.
        """
        found = self.get(name)
        for finder in self.finders if found is None else ():
            finder()
        return found or self.get(name)

    def __getitem__(self, name: str) -> Task[..., Any]:
        if (found := self.get(name)) is not None:
            return found
        raise UnknownTaskError(f"No task is called {name!r}. Known: {', '.join(sorted(self._tasks)) or 'none'}.")

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def queues(self) -> list[str]:
        """Return every queue that a task uses, ``default`` first, the others by name."""
        others = {task.options.queue for task in self} | self._queues
        return ["default", *sorted(others - {"default"})]

    def add_queues(self, queues: Iterable[str]) -> None:
        """Have `queues` name these too, though no task is declared for them."""
        self._queues.update(queues)

    def in_lanes(self, queues: Iterable[str]) -> list[str]:
        """Return what a worker of ``queues`` consumes: each queue's lanes in its place, each once."""
        return list(dict.fromkeys(lane for queue in queues for lane in self.lanes(queue)))

    def is_lane(self, queue: str) -> bool:
        """Tell whether a queue is consumed in the place of another, by which the project knows it."""
        queues = self.queues()
        return queue not in queues and queue in self.in_lanes(queues)

    def remove(self, name: str) -> None:
        """Forget the task called ``name``, if it is known (for tests that declare tasks of their own)."""
        with self._lock:
            self._tasks.pop(name, None)


def _same_place(one: Task[..., Any], other: Task[..., Any]) -> bool:
    return one.path == other.path


tasks = Registry()
"""The tasks of this process."""
