"""A throw-away Django project with tasks, worked on by ReArq's real command line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.processes import Process, Processes
from tests.servers import tail

SETTINGS = """\
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "tests-only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "project.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "django_cfg_tasks",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
"""

URLS = """\
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("cfg/tasks/", include("django_cfg_tasks.urls"))]
"""

MAIN = """\
import os, django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()
from django_cfg_tasks import get_rearq_client
rearq = get_rearq_client().rearq
"""

MANAGE = """\
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
execute_from_command_line(sys.argv)
"""

APPS = """\
from django.apps import AppConfig

class ShopConfig(AppConfig):
    name = "shop"
"""

# What every snippet of `TaskProject.run` starts with.
PRELUDE = """\
import json
def emit(value):
    print(json.dumps(value, default=str))
"""


class CommandFailed(AssertionError):
    """A command of the project ended with an error. The text has what it printed."""


class TaskProject:
    """A Django project in a folder: ``project.settings``, ``main.py``, and an app ``shop`` with tasks.

    ``databases`` is Django's setting; ``tasks_config`` is ``DJANGO_CFG_TASKS`` as a dict. Nothing runs until
    a method says so.
    """

    python = Path(sys.executable)
    """What runs it: the tests' own Python, unless a subclass knows better."""

    def __init__(
        self,
        folder: Path,
        processes: Processes,
        *,
        tasks: str,
        databases: dict[str, Any],
        tasks_config: dict[str, Any],
        settings: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.databases = databases
        self.tasks_config = tasks_config
        self._processes = processes
        self.write("manage.py", MANAGE)
        self.write("main.py", MAIN)
        self.write("project/__init__.py", "")
        self.write("project/urls.py", URLS)
        configured = f"DATABASES = {databases!r}\nDJANGO_CFG_TASKS = {tasks_config!r}\n"
        if any("mysql" in entry["ENGINE"] for entry in databases.values()):
            configured += "import pymysql\npymysql.install_as_MySQLdb()\n"
        self.write("project/settings.py", SETTINGS + configured + settings)
        self.write("shop/__init__.py", "")
        self.write("shop/apps.py", APPS)
        self.write("shop/tasks.py", tasks)
        for path, text in (files or {}).items():
            self.write(path, text)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the project's processes: the tests' own, with the project's settings module."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        # Output reaches the log as it is printed, and children see Python's own warning rules, not pytest's.
        return inherited | {"DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONUNBUFFERED": "1"}

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project (tasks, models, templates), making its folders."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def manage(self, *arguments: str, timeout: float = 60) -> str:
        """Run ``manage.py`` and return its stdout; `CommandFailed` if it fails."""
        return self._run([str(self.python), "manage.py", *arguments], timeout)

    def run(self, code: str, *, setup: bool = True, timeout: float = 60, env: Mapping[str, str] | None = None) -> str:
        """Run Python code in a fresh process in the project's folder and return its stdout.

        ``django.setup()`` has been called, unless ``setup=False``; ``emit(value)`` prints JSON.
        """
        prelude = PRELUDE + ("import django\ndjango.setup()\n" if setup else "")
        return self._run([str(self.python), "-c", prelude + code], timeout, env)

    def json(self, code: str, *, setup: bool = True, timeout: float = 60) -> Any:
        """`run` code that ends with ``emit(value)``; return the value from the last line of its stdout."""
        output = self.run(code, setup=setup, timeout=timeout)
        try:
            return json.loads(output.strip().splitlines()[-1])
        except (IndexError, ValueError):
            raise CommandFailed(f"the snippet's last line is not JSON:\n{output}") from None

    def start(self, *command: str | os.PathLike[str], name: str, env: Mapping[str, str] | None = None) -> Process:
        """Start any command in the project's folder, with the project's environment plus ``env``."""
        return self._processes.start(*command, cwd=self.folder, env=self.env | dict(env or {}), name=name)

    def start_code(self, code: str, *, name: str = "snippet", env: Mapping[str, str] | None = None) -> Process:
        """Start Python code as `run` does, and don't wait for it."""
        setup = PRELUDE + "import django\ndjango.setup()\n"
        return self.start(self.python, "-c", setup + code, name=name, env=env)

    def rearq(
        self, *arguments: str, name: str, app: str = "main:rearq", env: Mapping[str, str] | None = None
    ) -> Process:
        """Start ReArq's own command: ``rearq main:rearq <arguments>``."""
        return self.start(self.python.with_name("rearq"), app, *arguments, name=name, env=env)

    def managed(self, *arguments: str, name: str, env: Mapping[str, str] | None = None) -> Process:
        """Start ``manage.py`` with these arguments, and don't wait for it."""
        return self.start(self.python, "manage.py", *arguments, name=name, env=env)

    def worker(self, *arguments: str, name: str = "worker", env: Mapping[str, str] | None = None) -> Process:
        """``rearq main:rearq worker <arguments>``."""
        return self.rearq("worker", *arguments, name=name, env=env)

    def timer(self, *arguments: str, name: str = "timer", env: Mapping[str, str] | None = None) -> Process:
        """``rearq main:rearq timer <arguments>``."""
        return self.rearq("timer", *arguments, name=name, env=env)

    def server(self, *arguments: str, name: str = "server", env: Mapping[str, str] | None = None) -> Process:
        """``rearq main:rearq server <arguments>``."""
        return self.rearq("server", *arguments, name=name, env=env)

    def freeze(self, process: Process) -> None:
        """Freeze a process at a moment when it writes to no SQLite file.

        Frozen in the middle of a write, it would keep the file's lock, and nobody could go on.
        """
        with ExitStack() as stack:
            for entry in self.databases.values():
                if "sqlite3" in entry["ENGINE"]:
                    connection = stack.enter_context(closing(sqlite3.connect(entry["NAME"], timeout=30)))
                    connection.execute("BEGIN IMMEDIATE")
            process.freeze()

    def _run(self, command: list[str], timeout: float, env: Mapping[str, str] | None = None) -> str:
        """Run to the end; stderr is shown in the error only."""
        errors = self.folder / "stderr.log"
        with errors.open("wb") as stderr:
            try:
                done = subprocess.run(
                    command,
                    cwd=self.folder,
                    env=self.env | dict(env or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    timeout=timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise CommandFailed(f"not done after {timeout:g} s: {command[1:]}\n{tail(errors)}") from None
        output = done.stdout.decode(errors="replace")
        if done.returncode:
            raise CommandFailed(f"exit code {done.returncode}: {command[1:]}\n{output}\n{tail(errors, 60)}")
        return output
