"""Tells when the code of a project changes, by Django's own autoreloader."""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import django.template  # noqa: F401 - watches templates
from django.utils import autoreload, translation


def watch(changed: Callable[[object], None]) -> None:
    """Call ``changed``, from a thread of its own, with each file of the project that changes from now on.

    Watched are the modules that this process has imported, the other modules in their packages, and what Django's
    apps have watched: templates and translations.
    """
    reloader = _Reloader(changed)
    for folder, pattern in _folders():
        reloader.watch_dir(folder, pattern)
    translation.get_language()  # whoever watches templates and translations has to be there by now
    autoreload.autoreload_started.send(sender=reloader)
    threading.Thread(target=reloader.run_loop, name="django_cfg_tasks-sources", daemon=True).start()


class _Reloader(autoreload.StatReloader):
    """Tells of changes, where Django's own would end the process."""

    def __init__(self, changed: Callable[[object], None]) -> None:
        super().__init__()
        self._changed = changed

    def notify_file_changed(self, path: object) -> None:
        """Tell."""
        self._changed(path)


def _folders() -> set[tuple[Path, str]]:
    """Return where further modules of the project may appear, and which files are looked for there."""
    found: set[tuple[Path, str]] = set()
    for name, file in _own_modules():
        depth = name.count(".")
        if depth or file.name == "__init__.py":
            package = file.parents[depth if file.name == "__init__.py" else depth - 1]
            found.add((package, "**/*.py"))
        else:
            # Not all below it: a virtual environment may lie there, and what else a project keeps.
            found.update({(file.parent, "*.py"), (file.parent, "*/*.py")})
    return found


def _own_modules() -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each module that is neither Python's nor installed."""
    places = sysconfig.get_paths()
    others = [Path(places[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    for module in list(sys.modules.values()):
        name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
        if not isinstance(name, str) or not isinstance(file, str) or not file.endswith(".py"):
            continue
        path = Path(file).resolve()
        if not any(path.is_relative_to(other) for other in others):
            yield name, path
