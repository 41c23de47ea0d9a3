"""Sentry's real SDK in web and worker processes, and a server on this machine that takes what it sends."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.project import TaskProject
from tests.waiting import wait_until

SETTINGS = """
import sentry_sdk
from django_cfg_tasks.contrib.sentry import DjangoCfgTasksIntegration
sentry_sdk.init({dsn!r}, integrations=[DjangoCfgTasksIntegration()], traces_sample_rate=1.0, {more})
"""

TASKS = """\
import asyncio, os, signal
import sentry_sdk
from django_cfg_tasks import Retry, cron_task, task

class Declined(Exception):
    pass

@task(job_retry=1, job_retry_after=0, mask=["iban"])
async def charge(order: int, password: str, iban: str):
    sentry_sdk.set_tag("shop", "north")
    await refund.delay(order)
    raise Declined("no funds")

@task(job_retry=0)
def refund(order: int):
    sentry_sdk.set_tag("order", order)
    raise LookupError(f"order {order}")

@task(job_retry=0, log_args=False)
def diagnose(patient: str):
    raise ValueError("unclear")

@task(bind=True, job_retry=1)
async def poll(ctx):
    if not ctx.job_retries:
        raise Retry(countdown=0)
    sentry_sdk.capture_message("polled")

@task(job_retry=0)
async def wait(seconds: float):
    await asyncio.sleep(seconds)

@task
async def dies(order: int):
    os.kill(os.getpid(), signal.SIGKILL)

@cron_task(cron="* * * * * *", catch_up="none")
async def beat(): ...
"""

URLS = """\
from django.http import JsonResponse
from django.urls import path
from shop.tasks import charge

def pay(request):
    job = charge.using(job_id="pay-7", user=42).enqueue(7, password="4000-1234", iban="DE89-37040044")
    return JsonResponse({"job_id": job.job_id})

urlpatterns = [path("pay/", pay)]
"""

REQUEST = """\
import sentry_sdk
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory
application = get_wsgi_application()
request = RequestFactory().get("/pay/").environ
answer = application(request, lambda status, headers: emit(status))
b"".join(answer), answer.close()
sentry_sdk.flush()
"""


class Sentry:
    """What Sentry would have got. ``items`` are the envelopes' payloads, by kind."""

    def __init__(self) -> None:
        self.items: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.dsn = f"http://key@127.0.0.1:{self.server.server_port}/1"

    def take(self, envelope: bytes) -> None:
        lines = envelope.splitlines()[1:]
        for header, payload in zip(lines[::2], lines[1::2], strict=False):
            kind = json.loads(header)["type"]
            if kind in ("event", "transaction"):
                self.items.append((kind, json.loads(payload)))

    def events(self, task: str) -> list[dict[str, Any]]:
        return self.of("event", task)

    def of(self, kind: str, name: str) -> list[dict[str, Any]]:
        return [item for each, item in list(self.items) if each == kind and item.get("transaction") == name]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    server = Sentry()
    yield server
    server.close()


@pytest.fixture
def make(make_project: Callable[..., TaskProject], sentry: Sentry) -> Callable[[str], TaskProject]:
    def make(more: str = "") -> TaskProject:
        return make_project(
            TASKS,
            files={"project/urls.py": URLS},
            settings=SETTINGS.format(dsn=sentry.dsn, more=more),
            rearq={"lease": 2, "max_deliveries": 1},
        )

    return make


def test_an_error_is_seen_once_with_its_job_and_beneath_its_request(
    make: Callable[[str], TaskProject], sentry: Sentry
) -> None:
    project = make("")
    worker = project.worker("--with-timer")
    project.run(REQUEST)
    project.run(
        "import time\nfrom shop.tasks import diagnose, poll, wait\n"
        "diagnose.using(job_id='d').enqueue('Mr. Secret')\n"
        "assert poll.enqueue().wait(timeout=30).success\n"
        "job = wait.enqueue(60)\nwhile job.refresh().status != 'in_progress':\n    time.sleep(0.02)\n"
        "job.cancel()\nassert job.wait(timeout=30)"
    )
    wait_until(lambda: len(sentry.of("transaction", "charge")) == 2, "both runs are seen", 30)
    wait_until(lambda: len(sentry.of("transaction", "beat")) >= 2, "what the timer enqueues is seen", 30)
    worker.sigterm()
    assert worker.wait() == 0

    assert [len(sentry.events(task)) for task in ("charge", "refund", "diagnose", "poll", "wait")] == [1, 2, 1, 1, 0]
    [event] = sentry.events("charge")
    assert event["level"] == "error"
    [exception] = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("Declined", "no funds")
    assert exception["mechanism"] == {"type": "django_cfg_tasks", "handled": False}
    tags = {"task": "charge", "queue": "default", "job_id": "pay-7", "shop": "north"}
    assert {tag: event["tags"].get(tag) for tag in tags} == tags
    assert event["contexts"]["django_cfg_tasks"] == {
        "job_id": "pay-7", "task": "charge", "queue": "default", "attempt": 2, "job_retries": 1, "job_retry": 1,
    }  # fmt: skip
    assert "user" not in event
    own = [frame for frame in exception["stacktrace"]["frames"] if frame["in_app"]]
    assert [frame["function"] for frame in own] == ["charge"]
    assert own[0]["vars"]["order"] == "7", "what is no secret helps"
    assert sentry.events("refund")[0]["tags"]["order"] == 7, "set in the thread of a sync function"
    [message] = sentry.events("poll")
    assert message["tags"]["task"] == "poll"
    assert "shop" not in message["tags"], "set by another job"
    everything = json.dumps(sentry.items)
    assert not [secret for secret in ("4000-1234", "DE89-37040044", "Mr. Secret") if secret in everything]

    [request] = sentry.of("transaction", "/pay/")
    [publish] = [span for span in request["spans"] if span["op"] == "queue.publish"]
    trace = request["contexts"]["trace"]
    assert event["contexts"]["trace"]["trace_id"] == trace["trace_id"]
    runs = sentry.of("transaction", "charge")
    for run in runs:
        seen = run["contexts"]["trace"]
        assert (seen["op"], seen["status"]) == ("queue.process", "internal_error")
        assert (seen["trace_id"], seen["parent_span_id"]) == (trace["trace_id"], publish["span_id"])
        assert seen["data"]["messaging.message.id"] == "pay-7"
        assert seen["data"]["messaging.message.receive.latency"] >= 0
    publishing = {span["span_id"] for run in runs for span in run["spans"] if span["op"] == "queue.publish"}
    assert {run["contexts"]["trace"]["parent_span_id"] for run in sentry.of("transaction", "refund")} == publishing
    statuses = [run["contexts"]["trace"]["status"] for run in sentry.of("transaction", "poll")]
    assert sorted(statuses) == ["aborted", "ok"]
    assert [run["contexts"]["trace"]["status"] for run in sentry.of("transaction", "wait")] == ["cancelled"]
    beats = sentry.of("transaction", "beat")
    assert len({beat["contexts"]["trace"]["trace_id"] for beat in beats}) == len(beats), "each begins a trace"


@pytest.mark.long
def test_personal_data_retries_and_jobs_that_kill_their_workers(
    make: Callable[[str], TaskProject], sentry: Sentry
) -> None:
    project = make("send_default_pii=True")
    settings = project.folder / "project" / "settings.py"
    settings.write_text(settings.read_text().replace("Integration()]", "Integration(report_retries=True)]"))
    first = project.worker(name="first")
    project.run(REQUEST)
    project.run("from shop.tasks import diagnose\ndiagnose.enqueue('Mr. Secret')")
    wait_until(lambda: len(sentry.events("charge")) == 2, "both errors are seen", 30)
    wait_until(lambda: sentry.events("diagnose"), "the other too", 30)
    events = sentry.events("charge")
    assert [event["exception"]["values"][0]["mechanism"]["handled"] for event in events] == [True, False]
    for event in events:
        context = event["contexts"]["django_cfg_tasks"]
        assert context["args"] == [7]
        assert context["kwargs"] == {"password": "********", "iban": "********"}
        assert event["user"] == {"id": "42"}
    assert "args" not in sentry.events("diagnose")[0]["contexts"]["django_cfg_tasks"]
    everything = json.dumps(sentry.items)
    assert not [secret for secret in ("4000-1234", "DE89-37040044", "Mr. Secret") if secret in everything]

    project.run("from shop.tasks import dies\ndies.using(job_id='last').enqueue(8)")
    assert first.wait(60) == -9
    second = project.worker(name="second")
    wait_until(lambda: sentry.events("dies"), "the error of a job whose worker died", 60)
    second.sigterm()
    assert second.wait() == 0
    [event] = sentry.events("dies")
    assert event["exception"]["values"][0]["type"] == "PoisonedJobError"
    assert event["tags"]["job_id"] == "last"
