"""Importing the package does nothing but define: no socket, thread, signal handler, settings or ready apps.

Each test asks a fresh interpreter, in which an audit hook notes what Python reports of itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import django
import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """\
import json, signal, sys, threading

seen = []
WATCHED = ("socket.__new__", "socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen", "os.fork",
           "os.posix_spawn", "os.exec", "os.system")
sys.addaudithook(lambda event, args: seen.append(event) if event in WATCHED else None)
HEAVY = ("rearq", "tortoise", "fastapi", "uvicorn", "asyncpg", "aiosqlite", "rest_framework", "croniter")
start = threading.Thread.start
threading.Thread.start = lambda self: (seen.append("thread"), start(self))
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

def report(**more):
    print(json.dumps({
        "seen": seen,
        "threads": [thread.name for thread in threading.enumerate()],
        "handlers": [number for number, old in handlers.items() if signal.getsignal(number) is not old],
        "loaded": [name for name in HEAVY if name in sys.modules],
        **more,
    }))
"""

NOTHING = {"seen": [], "threads": ["MainThread"], "handlers": [], "loaded": []}

TASKS = """\
from django_cfg_tasks import Retry, cron_task, task

@task
def resize(width: int) -> int:
    return width * 2

@task(bind=True, queue="mail", job_retry=3)
async def send(context, to: str) -> None:
    raise Retry(countdown=5)

@cron_task(cron="*/5 * * * *", run_at_start=True)
async def beat() -> None: ...

late = send.using(countdown=60)
"""

SETTINGS = """\
from django_cfg_tasks import RearqConfig, ReArqClient, TaskConfig, cron_task, get_rearq_client, task
import django_cfg_tasks.client, django_cfg_tasks.config, django_cfg_tasks.decorators

SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_cfg_tasks"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DJANGO_CFG_TASKS = TaskConfig(enabled=True, rearq=RearqConfig(redis_url="redis://127.0.0.1:1/0", max_jobs=3))
"""


def ask(folder: Path, code: str, **environment: str) -> dict[str, Any]:
    """Run ``code`` in a fresh interpreter in ``folder`` and return what it reports."""
    # No settings, and no coverage started in the child: that would be a thing at import.
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "COVERAGE_", "COV_"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + code],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """Otherwise the other tests could not fail."""
    answer = ask(
        tmp_path,
        "import asyncio, croniter, socket, subprocess, tortoise\n"
        "subprocess.run([sys.executable, '-c', ''], check=True)\n"
        "thread = threading.Thread(target=asyncio.run, args=(asyncio.sleep(0),), name='mine')\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "thread.start(); thread.join()\n"
        "report()",
    )
    assert {"socket.__new__", "thread", "subprocess.Popen"} <= {*answer["seen"]}
    assert answer["handlers"] == [15]
    assert {"tortoise", "croniter"} <= {*answer["loaded"]}


def test_the_package_without_settings(tmp_path: Path) -> None:
    answer = ask(
        tmp_path,
        "import django_cfg_tasks\n"
        "from django.conf import settings\n"
        "report(configured=settings.configured, names=[n for n in django_cfg_tasks.__all__"
        " if not hasattr(django_cfg_tasks, n)])",
    )
    assert answer == NOTHING | {"configured": False, "names": []}


def test_what_is_not_asked_for_is_not_imported(tmp_path: Path) -> None:
    answer = ask(
        tmp_path,
        "before = {*sys.modules}\n"
        "import django_cfg_tasks\n"
        "report(names=sorted({*django_cfg_tasks.__all__} - {*dir(django_cfg_tasks)}),"
        " new=sorted(({*sys.modules} - before) & {'django', 'pydantic', 'redis', 'asyncio'}))",
    )
    assert answer == NOTHING | {"names": [], "new": []}


def test_the_pytest_plugin_where_nobody_uses_it(tmp_path: Path) -> None:
    answer = ask(
        tmp_path,
        "import django_cfg_tasks.pytest_plugin as plugin\n"
        "plugin.pytest_runtest_setup()\n"
        "report(new=sorted({*sys.modules} & {'django', 'pydantic', 'redis', 'django_cfg_tasks.testing'}))",
    )
    assert answer == NOTHING | {"new": []}


@pytest.mark.parametrize(
    "first", ["import django_cfg_tasks.task", "from django_cfg_tasks import Task", "import django_cfg_tasks.decorators"]
)
def test_task_is_the_decorator_whatever_was_imported_before(tmp_path: Path, first: str) -> None:
    """A module has that name too."""
    answer = ask(
        tmp_path,
        f"{first}\n"
        "from django_cfg_tasks import Task, task\n"
        "import django_cfg_tasks\n"
        "declared = [task(lambda: None, name='one'), django_cfg_tasks.task(name='two')(lambda: None)]\n"
        "report(declared=[isinstance(one, Task) for one in declared], module=sys.modules['django_cfg_tasks.task'].Task"
        " is Task)",
    )
    assert answer == NOTHING | {"declared": [True, True], "module": True}


def test_a_name_that_is_none(tmp_path: Path) -> None:
    answer = ask(
        tmp_path,
        "import django_cfg_tasks\n"
        "try:\n"
        "    django_cfg_tasks.tusk\n"
        "except AttributeError as error:\n"
        "    report(error=str(error))",
    )
    assert answer == NOTHING | {"error": "module 'django_cfg_tasks' has no attribute 'tusk'"}


def test_a_tasks_module_without_settings(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    answer = ask(
        tmp_path,
        "import tasks\n"
        "from django.apps import apps\n"
        "from django.conf import settings\n"
        "report(result=tasks.resize(4), ready=apps.ready, configured=settings.configured)",
    )
    assert answer == NOTHING | {"result": 8, "ready": False, "configured": False}


def test_in_a_thread(tmp_path: Path) -> None:
    """Where a signal handler could not be installed, and no event loop is current."""
    (tmp_path / "tasks.py").write_text(TASKS)
    answer = ask(
        tmp_path,
        "errors = []\n"
        "def load():\n"
        "    try:\n"
        "        import tasks\n"
        "    except BaseException as error:\n"
        "        errors.append(repr(error))\n"
        "thread = threading.Thread(target=load)\n"
        "thread.start(); thread.join()\n"
        "report(errors=errors, tasks='tasks' in sys.modules)",
    )
    assert answer == NOTHING | {"seen": ["thread"], "errors": [], "tasks": True}


def test_inside_a_running_event_loop(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    answer = ask(
        tmp_path,
        "import asyncio\n"
        "async def load():\n"
        "    seen.clear()\n"
        "    handlers[signal.SIGINT] = signal.getsignal(signal.SIGINT)\n"  # asyncio's own
        "    import tasks\n"
        "    report(result=tasks.resize(4), others=len(asyncio.all_tasks()) - 1)\n"
        "asyncio.run(load())",
    )
    assert answer == NOTHING | {"result": 8, "others": 0}


def test_from_a_settings_module(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    answer = ask(
        tmp_path,
        "from django.conf import settings\n"
        "from django_cfg_tasks import conf\n"
        "report(jobs=conf.get_config().rearq.max_jobs)",
        DJANGO_SETTINGS_MODULE="settings",
    )
    assert answer == NOTHING | {"jobs": 3}


@pytest.mark.parametrize("made", ["get_rearq_client()", "get_rearq_client().store", "tasks.send.using(queue='x')"])
def test_making_a_client_opens_nothing(tmp_path: Path, made: str) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "tasks.py").write_text(TASKS)
    answer = ask(
        tmp_path,
        f"import tasks\nfrom django_cfg_tasks import get_rearq_client\n{made}\nreport()",
        DJANGO_SETTINGS_MODULE="settings",
    )
    assert answer == NOTHING


SITE = """\
from django_cfg_tasks import RearqConfig, TaskConfig

SECRET_KEY = "x"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.sessions", "django_cfg_tasks", "shop",
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
ROOT_URLCONF = "site_urls"
STATIC_URL = "static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DJANGO_CFG_TASKS = TaskConfig(rearq=RearqConfig(redis_url="redis://127.0.0.1:1/0"))
"""
SITE_URLS = """\
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("cfg/tasks/", include("django_cfg_tasks.urls"))]
"""


@pytest.mark.parametrize("command", ["", "from django.core.management import call_command; call_command('check')"])
def test_a_project_that_is_set_up_or_checked_has_no_more_than_it_needs(tmp_path: Path, command: str) -> None:
    """The admin, cron tasks and the API's addresses among it, and neither Redis nor the API in use."""
    (tmp_path / "settings.py").write_text(SITE)
    (tmp_path / "site_urls.py").write_text(SITE_URLS)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/tasks.py").write_text(TASKS)
    answer = ask(
        tmp_path,
        f"import django\ndjango.setup()\n{command}\n"
        "from django_cfg_tasks.registry import tasks\n"
        "from django.contrib import admin\n"
        "report(beat='beat' in tasks, pages=len([m for m in admin.site._registry if m._meta.app_label == 'tasks']),"
        " redis='redis' in sys.modules)",
        DJANGO_SETTINGS_MODULE="settings",
    )
    if command and django.VERSION >= (6, 1):
        answer["seen"].remove("sqlite3.connect")  # Django's own check of JSON fields asks the database
    assert answer == NOTHING | {"beat": True, "pages": 2, "redis": False}


def test_a_web_process_that_is_set_up_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    answer = ask(
        tmp_path,
        "import django\ndjango.setup()\n"
        "names = ('rearq.worker', 'rearq.cli', 'rearq.server.app', 'django_cfg_tasks.monitor', 'uvicorn')\n"
        "report(rearq_worker=[n for n in names if n in sys.modules])",
        DJANGO_SETTINGS_MODULE="settings",
    )
    assert (answer["seen"], answer["threads"], answer["handlers"]) == ([], ["MainThread"], [])
    assert answer["rearq_worker"] == []
    assert not {"rearq", "tortoise", "fastapi"} & {*answer["loaded"]}
