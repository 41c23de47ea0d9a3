"""Names of tasks as people type them."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from django.core.management.base import CommandError

from django_cfg_tasks.registry import tasks


def unknown(name: str) -> CommandError:
    """Return the error for a task that there is not, with those that were perhaps meant."""
    return CommandError(f"No task is called {name!r}.{_near(name, sorted(task.name for task in tasks))}")


def _near(name: str, known: Collection[str]) -> str:
    folded = {one.casefold(): one for one in known}
    near = [folded[one] for one in difflib.get_close_matches(name.casefold(), folded, cutoff=0.5)]
    near += [one for one in known if name.casefold() in one.casefold() and one not in near]
    if near:
        return f" Did you mean {' or '.join(map(repr, near[:3]))}?"
    return f" There are: {', '.join(known)}." if 0 < len(known) <= 10 else " See: manage.py tasks_list."
