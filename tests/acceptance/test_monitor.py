"""ReArq's command to serve the monitoring pages: who gets in, what each page shows, what each button does, how it ends.

The server is the real one, as a process; so are the workers whose jobs it shows.
"""

from __future__ import annotations

import base64
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.processes import Process
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import free_port
from tests.waiting import wait_until

TASKS = """\
import asyncio
from django_cfg_tasks import cron_task, task

@task(queue="mail", mask=["pin"])
async def send(to: str, password: str = "", pin: str = "") -> dict:
    return {"to": to, "token": "result-secret"}

@task(queue="mail", job_retry=0)
async def broken(why: str) -> None:
    raise ValueError(why)

@task(queue="slow", allow_api=True)
async def nap(seconds: float = 60, mark: str = "") -> str:
    await asyncio.sleep(seconds)
    return mark

@task(name="<script>alert(1)</script>", queue="mail")
async def hostile(value: str) -> str:
    return value

@cron_task("0 4 * * *", queue="mail")
async def nightly() -> int:
    return 7
"""

SETTINGS = """
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["jobs.example.com"]
MIDDLEWARE = ["shop.nosuch.Middleware"]  # the project's own, which these pages do without
TEMPLATES = []
"""

PEOPLE = """
from django.contrib.auth.models import Permission, User

def grant(name, *permissions, **fields):
    user = User.objects.create_user(name, password="pw", **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"{each}_tasklog" for each in permissions]))

User.objects.create_superuser("boss", password="pw")
grant("viewer", "view", is_staff=True)
grant("runner", "view", "run", is_staff=True)
grant("clerk", is_staff=True)
grant("outsider", "view")
grant("gone", "view", is_staff=True, is_active=False)
"""
EVIL = "<img src=/struck onerror=alert(1)>"


class Monitor:
    """A client of the server: of its JSON by HTTP Basic, of its pages after a login."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._clients: list[httpx.Client] = []

    def basic(self, user: str = "boss", password: str = "pw") -> httpx.Client:
        return self._client(auth=(user, password))

    def browser(self, user: str | None = "boss") -> httpx.Client:
        client = self._client(headers={"Accept": "text/html"})
        if user is not None:
            assert log_in(client, user).status_code == 302
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _client(self, **options: Any) -> httpx.Client:
        client = httpx.Client(base_url=self.url, timeout=30, **options)
        self._clients.append(client)
        return client


def log_in(client: httpx.Client, user: str, password: str = "pw", to: str = "/job") -> httpx.Response:
    page = client.get("/login", params={"next": to})
    fields = {"username": user, "password": password, "next": to, "csrfmiddlewaretoken": csrf(page)}
    return client.post("/login", data=fields)


def csrf(page: httpx.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]


def press(client: httpx.Client, act: str, back: str = "/job", **fields: Any) -> httpx.Response:
    """Post a form as a page has it, and return the page that it leads to."""
    token = csrf(client.get("/task"))
    answer = client.post(f"/act/{act}", data={"csrfmiddlewaretoken": token, "back": back, **fields})
    assert answer.status_code == 302, answer.text
    return client.get(answer.headers["location"])


def start(project: TaskProject, *arguments: str) -> Monitor:
    port = free_port()
    process = project.server("--port", str(port), *arguments)
    process.wait_for_log(r"monitoring pages are at http://", timeout=60)
    return Monitor(process, port)


@pytest.fixture
def project(make_project: Callable[..., TaskProject]) -> TaskProject:
    project = make_project(TASKS, rearq={"server_enabled": True, "logs_dir": "logs", "lease": 2}, settings=SETTINGS)
    project.run(PEOPLE)
    return project


@pytest.fixture
def monitor(project: TaskProject) -> Iterator[Monitor]:
    monitor = start(project)
    yield monitor
    monitor.close()


def test_it_is_off_until_it_is_enabled(make_project: Callable[..., TaskProject]) -> None:
    server = make_project(TASKS).server()
    assert server.wait() == 1
    assert "RearqConfig(server_enabled=True)" in server.output
    assert "Traceback" not in server.output


def test_where_it_listens_and_how_it_ends(make_project: Callable[..., TaskProject]) -> None:
    port = free_port()
    project = make_project(TASKS, rearq={"server_enabled": True, "server_port": port})
    server = project.server()
    server.wait_for_log(rf"at http://127\.0\.0\.1:{port}/", timeout=60)
    taken, unknown = project.server(name="taken"), project.server("--workers", "4", name="unknown")
    assert (taken.wait(), unknown.wait()) == (1, 2)
    assert f"can't listen on 127.0.0.1:{port}" in taken.output
    assert "--port" in taken.output
    assert "No such option" in unknown.output
    assert "Traceback" not in taken.output + unknown.output
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 401
    server.sigterm()
    assert server.wait() == 0
    assert "Traceback" not in server.output


def test_a_second_signal_ends_it_at_once(monitor: Monitor, redis_server: RedisServer) -> None:
    client, server = monitor.browser(), monitor.process
    redis_server.pause()
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(client.get, "/worker")  # which waits for Redis
        wait_until(asking.running, "a request is under way")
        server.sigterm()
        server.wait_for_log("SIGTERM: taking no new requests")
        assert server.running
        server.send(signal.SIGINT)
        assert server.wait(4) == 0
        with pytest.raises(httpx.HTTPError):
            asking.result()


@pytest.mark.long
def test_who_gets_in(monitor: Monitor) -> None:
    stranger = monitor.browser(user=None)
    for path in ("/", "/worker", "/task", "/job", "/result"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"]) == (302, f"/login?next={path.replace('/', '%2F')}")
    # Machines are told how.
    for path in ("/job/data", "/result/data", "/worker/log?name=x", "/job/result?job_id=x"):
        answer = httpx.get(monitor.url + path)
        assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
        assert "Log in first" in answer.json()["msg"]
    for user, password in (("boss", "wrong"), ("nobody", "pw"), ("gone", "pw"), ("boss", "")):
        assert monitor.basic(user, password).get("/job/data").status_code == 401
    for broken in ("Basic", "Basic !", "Basic " + base64.b64encode(b"\xff\xfe:x").decode(), "Bearer x"):
        assert httpx.get(monitor.url + "/job/data", headers={"Authorization": broken}).status_code == 401
    for user in ("clerk", "outsider"):
        answer = monitor.basic(user).get("/job/data")
        assert (answer.status_code, "tasks.view_tasklog" in answer.json()["msg"]) == (403, True)
        refused = log_in(monitor.browser(user=None), user)
        assert (refused.status_code, "No member of staff" in refused.text) == (200, True)
    assert "No member of staff" in log_in(monitor.browser(user=None), "boss", "wrong").text
    # In by the form: on to where one wanted, and never elsewhere.
    for to, where in (("/job?x=1", "/job?x=1"), ("//evil.example", "/"), ("https://evil.example/", "/")):
        client = monitor.browser(user=None)
        assert log_in(client, "viewer", to=to).headers["location"] == where
        assert client.get("/job").status_code == 200
    assert monitor.basic("viewer").get("/job/data").json() == {"rows": [], "total": 0}
    out = client.post("/logout", data={"csrfmiddlewaretoken": csrf(client.get("/job"))})
    assert (out.headers["location"], client.get("/job").status_code) == ("/login", 302)
    assert "pw" not in re.findall(r"\w+", monitor.process.output)


@pytest.mark.long
def test_what_every_answer_carries_and_whom_it_answers(monitor: Monitor) -> None:
    client = monitor.browser("viewer")
    for path in (
        "/",
        "/worker",
        "/task",
        "/job",
        "/result",
        "/login",
        "/nowhere",
        "/job?offset=x",
        "/assets/monitor.css",
    ):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "<script" not in answer.text.replace("&lt;script", "")
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', answer.text)
    assert client.get("/job").headers["cache-control"] == "no-store"
    assert client.get("/nowhere").status_code == 404
    assert "offset=" in client.get("/job?offset=x").text
    for host, status in (("jobs.example.com", 200), ("localhost:9", 200), ("evil.example", 400), ("", 400)):
        assert client.get("/job", headers={"Host": host}, follow_redirects=True).status_code == status
    cookies = client.get("/login", headers={"Cookie": ""}).headers.get_list("set-cookie")
    assert all("SameSite" in cookie for cookie in cookies)


@pytest.mark.long
def test_pages_elsewhere_can_change_nothing(monitor: Monitor, project: TaskProject) -> None:
    job = project.json("from shop.tasks import nap\nemit(nap.enqueue().job_id)")
    client = monitor.browser()
    assert client.post("/act/cancel", data={"job_id": job}).status_code == 403
    token = csrf(client.get("/task"))
    fields = {"job_id": job, "csrfmiddlewaretoken": token}
    assert client.post("/act/cancel", data=fields, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.request("PUT", "/job/cancel", json={"job_id": job}).status_code == 403
    assert client.get("/act/cancel", params=fields).status_code == 405
    assert client.get("/logout").status_code == 405
    # What a browser sends that remembers a login by HTTP Basic.
    with monitor.basic() as machine:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert machine.put("/job/cancel", json={"job_id": job}, headers=headers).status_code == 403
        plain = {"Content-Type": "text/plain"}
        assert machine.put("/job/cancel", content=b'{"job_id": "x"}', headers=plain).status_code == 400
        assert machine.get("/job/data").json()["rows"][0]["status"] == "queued"
        assert machine.put("/job/cancel", json={"job_id": job}, headers={"Origin": monitor.url}).status_code == 200


@pytest.mark.long
def test_outages_are_answered(monitor: Monitor, project: TaskProject, redis_server: RedisServer) -> None:
    machine, boss = monitor.basic(), monitor.browser()
    redis_server.stop()
    for answer in (boss.get("/worker"), boss.get("/"), machine.delete("/worker", params={"name": "x"})):
        assert answer.status_code == 503
    # A job is taken without Redis, and listed.
    job_id = machine.post("/job", json={"task": "nap", "args": [0]}).json()["job_id"]
    wait_until(lambda: machine.get("/job/data").json()["total"] == 1, "it is listed")
    assert job_id in boss.get("/job").text
    (project.folder / "db.sqlite3").unlink()
    answer = boss.get("/job")
    assert (answer.status_code, "Something went wrong" in answer.text) == (500, True)
    assert "default-src" in answer.headers["content-security-policy"]


@pytest.mark.long
def test_a_viewer_only_looks(monitor: Monitor, project: TaskProject) -> None:
    job = project.json("from shop.tasks import nap\nemit(nap.enqueue().job_id)")
    viewer, runner = monitor.basic("viewer"), monitor.basic("runner")
    row = viewer.get("/job/data").json()["rows"][0]
    refused = [
        viewer.put("/job/cancel", json={"job_id": job}),
        viewer.put("/job", json={"job_id": job, "job_retry": 1}),
        viewer.post("/job", json={"task": "nap"}),
        viewer.delete("/job", params={"ids": row["id"]}),
        viewer.delete("/result", params={"ids": row["id"]}),
        viewer.put("/task", json={"task_name": "nap", "status": "disabled"}),
        viewer.delete("/worker", params={"name": "x"}),
        viewer.get("/worker/log", params={"name": "x"}),
        runner.post("/job", json={"task": "send", "args": ["ada"]}),  # it has no allow_api=True
        runner.post("/job", json={"task": "nightly", "args": [1]}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert "allow_api" in refused[-1].json()["msg"]
    client = monitor.browser("viewer")
    pages = client.get("/task").text + client.get("/job").text
    for word in (">Run<", ">Disable<", ">Cancel<", ">Edit<", ">Remove selected<"):
        assert word not in pages
    assert "tasks.cancel_tasklog" in press(client, "cancel", job_id=job).text
    assert runner.post("/job", json={"task": "nap", "kwargs": {"seconds": 0}}).status_code == 200
    assert runner.post("/job", json={"task": "nightly"}).status_code == 200


@pytest.mark.long
def test_every_page_and_button(monitor: Monitor, project: TaskProject) -> None:
    worker = project.worker("--queue", "mail", "--with-timer")
    worker.wait_for_log("consumes mail", timeout=60)
    boss, machine = monitor.browser(), monitor.basic()

    def data(path: str, **query: Any) -> Any:
        answer = machine.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(job_id: str) -> str | None:
        rows = data("/job/data", job_id=job_id)["rows"]
        return rows[0]["status"] if rows else None

    # Run, from the page, with what the form offers.
    page = press(
        boss,
        "run",
        "/task",
        task="send",
        args='["ada"]',
        kwargs='{"password": "s3cr3t-1", "pin": "s3cr3t-2"}',
        job_id="welcome",
    )
    assert "A job of send is enqueued." in page.text
    assert "job_id=welcome" in page.text
    evil = press(boss, "run", "/task", task="<script>alert(1)</script>", args=f'["{EVIL}"]', job_id="<b>evil</b>")
    assert "is enqueued" in evil.text
    press(boss, "run", "/task", task="broken", args=f'["{EVIL}"]', job_id="fails")
    press(boss, "run", "/task", task="nightly", job_id="by hand")
    for wrong, said in (
        ({"args": "[1"}, "not JSON"),
        ({"args": "{}"}, "a list"),
        ({"args": '["a","b","c","d"]'}, "can&#x27;t be called"),
        ({"args": '["a"]', "countdown": "soon"}, "no number"),
        ({"args": '["a"]', "eta": "2030-99-01T00:00"}, "a moment"),
    ):
        assert said in press(boss, "run", "/task", task="send", **wrong).text
    assert "No task is called" in press(boss, "run", "/task", task="nothing").text
    later = press(
        boss, "run", "/task", task="nap", kwargs='{"mark": "x"}', job_id="later", countdown="3600", job_retry="2"
    ).text
    assert "is enqueued" in later

    for job_id, end in (
        ("welcome", "success"),
        ("<b>evil</b>", "success"),
        ("fails", "failed"),
        ("by hand", "success"),
    ):
        wait_until(lambda job_id=job_id, end=end: status(job_id) == end, f"{job_id} is {end}", timeout=40)

    # Jobs and results, and what can be asked of them.
    jobs = boss.get("/job").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in jobs
    assert "&lt;b&gt;evil&lt;/b&gt;" in jobs
    results = boss.get("/result").text
    assert f"ValueError: {EVIL}".replace("<", "&lt;").replace(">", "&gt;") in results
    everything = jobs + results + machine.get("/job/data").text + machine.get("/result/data").text
    for hidden in ("s3cr3t", "result-secret"):
        assert hidden not in everything + monitor.process.output
    assert EVIL not in jobs + results
    assert data("/job/data", task="send")["total"] == 1
    assert data("/job/data", status="deferred")["rows"][0]["job_id"] == "later"
    assert data("/job/data", limit=2, offset=1)["total"] == 5
    assert len(data("/job/data", limit=2, offset=1)["rows"]) == 2
    assert data("/result/data", success="0")["rows"][0]["job"]["job_id"] == "fails"
    assert data("/result/data", success="1", task="nightly")["rows"][0]["result"] == 7
    assert data("/job/data", start_time="2100-01-01T00:00")["total"] == 0
    assert data("/job/result", job_id="welcome")["result"] == {"to": "ada", "token": "********"}
    assert data("/job/result", job_id="later") is None
    for query in ({"status": "lost"}, {"task": "\0"}, {"job_id": "\0"}, {"limit": "-1"}, {"offset": "99999999"}):
        assert machine.get("/job/data", params=query).status_code == 400, query
    assert machine.put("/job/cancel", json={"job_id": "\0"}).status_code == 400
    older = boss.get("/job?limit=2")
    assert "Older" in older.text
    assert "1 to 2 of 5" in older.text
    assert "3 to 4 of 5" in boss.get("/job?limit=2&offset=2").text

    # Edit and cancel a job that waits.
    page = press(
        boss,
        "edit",
        job_id="later",
        args="[]",
        kwargs='{"mark": "edited"}',
        job_retry="7",
        job_retry_after="9",
        expire_time="2099-01-01T00:00:00",
    )
    assert "is changed" in page.text
    wait_until(lambda: data("/job/data", job_id="later")["rows"][0]["kwargs"] == {"mark": "edited"}, "the edit shows")
    row = data("/job/data", job_id="later")["rows"][0]
    assert (row["job_retry"], row["job_retry_after"], row["expire_time"][:4], row["status"]) == (
        7,
        9,
        "2099",
        "deferred",
    )
    assert "can&#x27;t be called" in press(boss, "edit", job_id="later", kwargs='{"nothing": 1}').text
    assert machine.put("/job", json={"job_id": "fails", "job_retry": 1}).status_code == 409
    assert machine.put("/job", json={"job_id": "unheard of", "job_retry": 1}).status_code == 404
    assert "is canceled" in press(boss, "cancel", job_id="later").text
    assert "has ended already" in press(boss, "cancel", job_id="later").text
    wait_until(lambda: status("later") == "canceled", "it is canceled")

    # Tasks: switched off and on.
    assert "nightly is disabled" in press(boss, "switch", "/task", task_name="nightly", status="disabled").text
    assert ">Enable<" in boss.get("/task").text
    assert machine.post("/job", json={"task": "nightly"}).status_code == 409
    assert machine.put("/task", json={"task_name": "nightly", "status": "enabled"}).status_code == 200
    assert ">Enable<" not in boss.get("/task").text
    assert "0 4 * * *" in boss.get("/task").text
    assert "At 04:00" in boss.get("/task").text

    # Removed: what has ended, with its history; what has not stays.
    waiting = machine.post("/job", json={"task": "nap", "kwargs": {"seconds": 0}}).json()["job_id"]
    wait_until(lambda: status(waiting) == "queued", "it waits")
    ids = [data("/job/data", job_id=each)["rows"][0]["id"] for each in ("fails", waiting)]
    assert "1 job(s) deleted" in press(boss, "remove", ids=[str(each) for each in ids]).text
    assert (status("fails"), status(waiting)) == (None, "queued")
    assert machine.delete("/job", params={"ids": ids[1]}).status_code == 409
    assert machine.delete("/result", params={"ids": ids[0]}).status_code == 404
    known = project.json(
        "from django_cfg_tasks import get_rearq_client\nemit(sorted(get_rearq_client().load(['fails', 'welcome'])))"
    )
    assert known == ["welcome"]

    # Workers: their logs, and those that died.
    workers = boss.get("/worker").text
    assert workers.count(">online<") == 2
    assert "mail" in workers
    name = re.search(r"/worker/log\?name=([^\"]+)", workers)
    assert name
    assert "consumes mail" in boss.get(f"/worker/log?name={name[1]}").text
    assert "consumes mail" in data("/worker/log", name=name[1]) + data("/worker/log", name=f"{name[1]}-timer")
    for outside in ("../db", "nobody", "..%2f..%2fproject/settings.py"):
        assert boss.get(f"/worker/log?name={outside}").status_code == 404
    assert machine.delete("/worker", params={"name": name[1]}).status_code == 409
    dashboard = boss.get("/").text
    assert ">2</b>" in dashboard
    assert "<svg" in dashboard
    worker.sigkill()
    wait_until(lambda: ">offline<" in boss.get("/worker").text, "it is found dead")

    def forgotten() -> bool:
        return machine.delete("/worker", params={"name": name[1]}).status_code == 200

    project.worker("--queue", "other", name="another").wait_for_log("consumes other", timeout=60)
    wait_until(forgotten, "it is off the list", timeout=40)
    assert f"<b>{name[1]}</b>" not in boss.get("/worker").text

    # Who did what is kept where the admin shows it.
    kept = project.json(
        "from django.contrib.admin.models import LogEntry\n"
        "emit(list(LogEntry.objects.values_list('change_message', flat=True)))"
    )
    assert {"canceled", "changed", "deleted", "disabled", "enabled", "taken off the list"} <= set(kept)
    assert monitor.process.stop() == 0
    assert "Traceback" not in monitor.process.output
