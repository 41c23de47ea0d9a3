"""A whole project for the browser: web server, worker, timer, its own Redis, and people who log in."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.browser.watch import HIT
from tests.processes import Processes
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import free_port
from tests.waiting import wait_until

LIST = "/admin/tasks/tasklog/"
DASHBOARD = "/admin/tasks/dashboard/"

EVIL = f'<img src={HIT} onerror="window.struck=1">'
"""Text that must be shown as it is. A page that takes it for HTML asks for `watch.HIT`."""
EVIL_QUEUE = f'<img/src="{HIT}"/onerror="window.struck=1">'  # a queue's name holds no spaces

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

TASKS = f"""\
import asyncio
import pathlib

from django_cfg_tasks import cron_task, task

SWITCHES = pathlib.Path(__file__).parent.parent / "switches"
EVIL = {EVIL!r}


class GatewayDown(Exception):
    pass


async def switched_on(name):
    while not (SWITCHES / name).exists():
        await asyncio.sleep(0.05)


@task(queue="payments", job_retry=0)
async def charge_card(order: str, amount: float = 9.5, token: str = "") -> dict:
    if not (SWITCHES / f"{{order}} answers").exists():
        raise GatewayDown(f"no answer for {{order}}")
    await switched_on(f"{{order}} paid")
    return {{"order": order, "paid": True}}


@task(bind=True, queue="reports", job_retry=0)
async def write_report(ctx, name: str) -> str:
    ctx.progress(0.4, "400 of 1,000 lines")
    await switched_on(f"{{name}} half")
    ctx.progress(0.7, "700 of 1,000 lines")
    await switched_on(f"{{name}} written")
    return name


@task(queue="mail")
async def send_mail(to: str) -> bool:
    return True


@task(queue="mail", job_retry=100, job_retry_after=2)
async def lose(name: str) -> bool:
    if not (SWITCHES / f"{{name}} found").exists():
        raise LookupError(f"{{name}} is lost")
    return True


@task(queue="warehouses_overseas", job_retry=0)
async def settle_the_accounts_of_all_warehouses_at_the_end_of_the_year(account_number: str) -> None:
    raise RuntimeError("no_space_to_break_this_line_at_" * 20)


@cron_task("0 4 * * *")
async def clear_carts() -> int:
    return 3


@task(bind=True, name=EVIL, queue={EVIL_QUEUE!r}, job_retry=0)
async def evil(ctx, value: str, fails: bool = False) -> dict:
    ctx.progress(0.5, EVIL)
    if fails:
        raise type(EVIL, (Exception,), {{}})(EVIL)
    await switched_on(value)
    return {{EVIL: [EVIL]}}
"""

ASGI = """\
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
application = ASGIStaticFilesHandler(get_asgi_application())
"""

VIEWS = """\
import json
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django_cfg_tasks.registry import tasks

@csrf_exempt
def enqueue(request):
    asked = json.loads(request.body)
    job = tasks[asked["task"]].using(**asked["options"]).enqueue(*asked["args"])
    return JsonResponse({"job_id": job.job_id})

def favicon(request):
    return HttpResponse(status=204)

def careless(request):
    return HttpResponse('''<!doctype html><title>What no page should do</title>
        <p style="color: red">Styled</p>
        <script>document.title = "ran"</script><img src="/nowhere.png" alt="">
        <script src="/static/careless.js"></script>''')
"""

URLS = """\
from django.contrib import admin
from django.urls import include, path
from shop import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("cfg/tasks/", include("django_cfg_tasks.urls")),
    path("shop/enqueue/", views.enqueue),
    path("shop/careless/", views.careless),
    path("favicon.ico", views.favicon),  # browsers ask for it, and the admin has none
]
"""

SETTINGS = """
INSTALLED_APPS += ["django.contrib.staticfiles"]
MIDDLEWARE = [
    "project.policy.content_security_policy",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""

MIDDLEWARE = f"""\
POLICY = {POLICY!r}

def content_security_policy(get_response):
    def middleware(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response
    return middleware
"""

CARELESS_SCRIPT = 'setTimeout(() => { throw new Error("careless"); }); alert("careless");'

PEOPLE = """\
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

call_command("migrate", verbosity=0)
people = {
    "boss": User.objects.create_superuser("boss", password="pw"),
    "viewer": User.objects.create_user("viewer", is_staff=True),
    "evil": User.objects.create_user(EVIL),
}
people["viewer"].user_permissions.add(Permission.objects.get(codename="view_tasklog"))
sessions = {}
for name, user in people.items():
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    sessions[name] = session.session_key
emit([sessions, {name: user.pk for name, user in people.items()}])
"""

# Several processes write: as the example project has it.
SQLITE = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}


class Stage:
    """The project, served. Jobs of a task wait for switches: a test says when they go on.

    ``settings`` is appended to the settings module. `start` returns when the web server answers and the worker reads.
    """

    def __init__(self, folder: Path, redis: RedisServer, settings: str = "") -> None:
        self.processes = Processes(folder)
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "site" / "db"), "OPTIONS": SQLITE}
        (folder / "site" / "switches").mkdir(parents=True)
        self.project = TaskProject(
            folder / "site",
            self.processes,
            tasks=TASKS,
            databases={"default": database},
            tasks_config={"rearq": {"redis_url": redis.url, "max_jobs": 50, "server_enabled": True}},
            settings=SETTINGS + settings,
            files={
                "project/urls.py": URLS,
                "project/asgi.py": ASGI,
                "project/policy.py": MIDDLEWARE,
                "shop/views.py": VIEWS,
                "shop/static/careless.js": CARELESS_SCRIPT,
            },
        )
        self.port = free_port()
        self.sessions: dict[str, str] = {}
        self.users: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Stage:
        self.sessions, self.users = self.project.json(f"EVIL = {EVIL!r}\n{PEOPLE}")
        worker = self.project.worker("--with-timer")
        command = ["-m", "uvicorn", "project.asgi:application", "--host", "127.0.0.1", "--port", str(self.port)]
        web = self.project.start(sys.executable, *command, "--lifespan", "off", "--no-access-log", name="web")
        worker.wait_for_log("consumes ", timeout=60)
        web.wait_for_log("Uvicorn running", timeout=60)
        return self

    def enqueue(self, task: str, *args: Any, **options: Any) -> str:
        """Enqueue a job in the web server, as a view of the project would; return its id."""
        answer: dict[str, str] = self._ask("POST", "/shop/enqueue/", {"task": task, "args": args, "options": options})
        return answer["job_id"]

    def switch_on(self, name: str) -> None:
        """Let the jobs go on that wait for this switch."""
        (self.project.folder / "switches" / name).touch()

    def log(self, job_id: str) -> dict[str, Any] | None:
        """Return a job's row as the REST API has it; None before it is written."""
        found: dict[str, Any] = self._ask("GET", f"/cfg/tasks/logs/?{urlencode({'search': job_id})}")
        return next((row for row in found["results"] if row["job_id"] == job_id), None)

    def page_of(self, job_id: str, *statuses: str) -> str:
        """Return the address of a job's page, once the log knows it (or knows it with one of these statuses)."""
        return f"{LIST}{self.reached(job_id, *statuses)['id']}/change/"

    def reached(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the log says that a job has one of these statuses (or any), and return its row."""

        def row() -> dict[str, Any] | None:
            log = self.log(job_id)
            return log if log and (not statuses or log["status"] in statuses) else None

        found = wait_until(row, f"{job_id} is {' or '.join(statuses) or 'in the log'}", timeout=30)
        assert found is not None
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Cookie": f"sessionid={self.sessions['boss']}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, f"{method} {path}: {answer.status}\n{text}"
        return json.loads(text)
