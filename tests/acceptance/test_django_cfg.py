"""The real django-cfg, installed as its page tells: the page's own project runs a job, and its admin is unfold's.

Apart from the other tests (``make test-django-cfg``). What is installed stays in ``.venv-django-cfg``, and only this
package is installed anew. What the tests print is what the project said.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROCESSES, start_or_skip
from tests.docs import pages
from tests.docs.test_pages import REDIS_URL, run_steps
from tests.processes import Processes
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import ServiceMissing

pytestmark = [pytest.mark.django_cfg, pytest.mark.long, pytest.mark.timeout(600)]
PAGE = pages.ROOT / "docs" / "howto" / "django-cfg.md"
FOLDER = pages.ROOT / ".venv-django-cfg"
PYTHON = FOLDER / ".venv" / "bin" / "python"

VIEWS = """\
from django.db import transaction
from django.http import JsonResponse
from shop.tasks import add

def order(request):
    return JsonResponse({"job_id": add.enqueue(20, 22).job_id})

@transaction.non_atomic_requests
async def aorder(request):
    return JsonResponse({"job_id": (await add.delay(30, 3)).job_id})
"""
URLS = 'from shop import views\nurlpatterns += [path("order/", views.order), path("aorder/", views.aorder)]\n'

# In one process, as each takes seconds to import all of it.
SET_UP = """
from django.core.management import call_command
call_command("collectstatic", "--noinput", "--verbosity=0")
call_command("migrate", "--verbosity=0")
call_command("check", "--fail-level=ERROR")
"""

ASK = """
import time
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog
boss = get_user_model().objects.create_superuser(email="boss@example.com", username="boss")
client = Client(headers={"host": "localhost"})
client.force_login(boss, "django.contrib.auth.backends.ModelBackend")
job_ids = [client.get(path).json()["job_id"] for path in ("/order/", "/aorder/")]
for job_id in job_ids:
    assert get_rearq_client().wait_final(job_id, 30) is not None, job_id
deadline = time.monotonic() + 30
while TaskLog.objects.filter(job_id__in=job_ids, status="success").count() < 2:
    assert time.monotonic() < deadline, list(TaskLog.objects.values("job_id", "status"))
    time.sleep(0.1)
logs = {log.job_id: log for log in TaskLog.objects.filter(job_id__in=job_ids)}
rows = [{"task": log.task_name, "status": log.status, "result": log.result, "user": log.user == boss}
        for log in map(logs.get, job_ids)]
stranger = Client(headers={"host": "localhost"})
def asked(path):
    answer = client.get(path)
    text = answer.content.decode()
    return {"path": path, "status": answer.status_code, "unfold": "unfold/css" in text,
            "ours": "django_cfg_tasks/admin" in text, "login": stranger.get(path).status_code}
listed = client.get("/cfg/tasks/logs/").json()
emit({
    "user_model": settings.AUTH_USER_MODEL,
    "rows": rows,
    "listed": sorted(row["job_id"] for row in listed["results"] if row["job_id"] in job_ids) == sorted(job_ids),
    "api": [asked(f"/cfg/tasks/{path}/")["status"] for path in ("logs/overview", "workers", "schema")],
    "admin": [asked(path) for path in (
        reverse("admin:tasks_tasklog_changelist"), reverse("admin:tasks_tasklog_change", args=[logs[job_ids[0]].pk]),
        reverse("admin:tasks_dashboard_changelist"),
    )],
    "index": "/admin/tasks/dashboard/" in client.get("/admin/").content.decode(),
    "theirs": client.get(reverse("django_cfg_health")).status_code,
})
"""

VERSIONS = """
import importlib.metadata as m, json, sys
names = ("django-cfg", "django-cfg-tasks", "django", "django-unfold", "redis", "rearq", "tortoise-orm")
print(json.dumps({"python": sys.version.split()[0]} | {name: m.version(name) for name in names}))
"""


class DjangoCfgProject(TaskProject):
    """A project that sees what its page installed, and nothing of the tests' own environment."""

    python = PYTHON

    @property
    def env(self) -> dict[str, str]:
        return {name: value for name, value in super().env.items() if name != "PYTHONPATH"}


Site = tuple[DjangoCfgProject, Processes, str]


def python_312() -> Path:
    """Return Python 3.12's path, found as the Makefile finds it."""
    make = ["make", "--no-print-directory", "--silent", "find-python-3.12"]
    found = subprocess.run(make, cwd=pages.ROOT, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        raise ServiceMissing("no Python 3.12 with venv on PATH or under ~/.pyenv, which django-cfg needs")
    return Path(found)


def uv() -> Path:
    """Return uv, from PATH or from an environment of its own."""
    if (found := shutil.which("uv")) is not None:
        return Path(found)
    tools = FOLDER / "tools"
    if not (tools / "bin" / "uv").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", tools], check=True)
        subprocess.run([tools / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return tools / "bin" / "uv"


@pytest.fixture(scope="module")
def _installed() -> None:
    """Do as the page says: its pyproject.toml, ``uv sync``; but for where this package comes from."""
    interpreter = start_or_skip(python_312)
    (toml,) = (block.text for block in pages.blocks(PAGE) if block.kind == "toml")
    FOLDER.mkdir(exist_ok=True)
    ours = f"[tool.uv.sources]\ndjango-cfg-tasks = {{ path = {json.dumps(str(pages.ROOT))} }}\n"
    (FOLDER / "pyproject.toml").write_text(f"{toml}\n{ours}")
    command = [uv(), "sync", "--quiet", "--python", interpreter, "--reinstall-package", "django-cfg-tasks"]
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(command, cwd=FOLDER, env=env, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def _site(_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page's project, migrated, with a worker; and what the checks say of it."""
    folder = tmp_path_factory.mktemp("django_cfg")
    processes = Processes(folder)
    redis = start_or_skip(lambda: RedisServer().start())
    files: dict[str, str] = {}
    for block in pages.blocks(PAGE):
        if block.path:
            files[block.path] = files.get(block.path, "") + block.text.replace(REDIS_URL, redis.url) + "\n"
    files["shop/views.py"] = VIEWS
    files["project/urls.py"] += URLS
    (folder / "site").mkdir()
    try:
        project = DjangoCfgProject(folder / "site", processes, tasks="", databases={}, tasks_config={}, files=files)
        said = project.run(SET_UP, timeout=200) + (project.folder / "stderr.log").read_text()
        project.worker("--queue", "default", "--with-timer").wait_for_log("consumes ", timeout=120)
        yield project, processes, said
    finally:
        processes.kill_all()
        redis.close()


@pytest.fixture
def site(request: pytest.FixtureRequest, _site: Site) -> DjangoCfgProject:
    project, request.node.stash[PROCESSES], _ = _site
    return project


@pytest.fixture
def said(_site: Site) -> str:
    return _site[2]


def test_it_is_the_real_one_beside_a_redis_py_that_it_wants(site: DjangoCfgProject) -> None:
    versions = json.loads(site.run(VERSIONS, setup=False).splitlines()[-1])
    print(json.dumps(versions, indent=1))
    assert versions["django-cfg"].startswith("2.3.")
    assert versions["rearq"] == "0.2.8"
    assert (6, 4) <= tuple(map(int, versions["redis"].split(".")))[:2] < (7, 0)


def test_its_page(site: DjangoCfgProject) -> None:
    run_steps(PAGE, site)


def test_the_checks_have_nothing_to_say_of_it(said: str) -> None:
    print(said)
    assert "django_cfg_tasks." not in said
    assert "System check identified" in said


def test_views_enqueue_and_the_api_and_unfolds_admin_show_it(site: DjangoCfgProject) -> None:
    found = site.json(ASK, timeout=120)
    print(json.dumps(found, indent=1))
    assert found["user_model"] == "django_cfg_accounts.CustomUser"
    job = {"task": "add", "status": "success", "user": True}
    assert found["rows"] == [job | {"result": 42}, job | {"result": 33}]
    assert found["listed"]
    assert found["api"] == [200, 200, 200]
    for page in found["admin"]:
        assert page | {"path": ""} == {"path": "", "status": 200, "unfold": True, "ours": True, "login": 302}
    assert found["index"]
    assert found["theirs"] == 200
