"""Traces from a web request to the end of its jobs: one tree, in one process and over several, and after a Redis that
lost all."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import free_port
from tests.waiting import wait_until

TASKS = """\
import asyncio, contextvars
from django_cfg_tasks import Retry, cron_task, task
from opentelemetry import trace

left = contextvars.ContextVar("left", default=None)

@task
def take_order(card_number: str):
    with trace.get_tracer("shop").start_as_current_span("pick"):
        send_receipt.enqueue(card_number)
    weigh.enqueue_many([[1], [2]])

@task(job_retry=1, job_retry_after=0, bind=True)
async def send_receipt(ctx, card_number: str):
    if ctx.job_retries == 0:
        raise ConnectionError("the mail server is away")
    with trace.get_tracer("shop").start_as_current_span("smtp"):
        await asyncio.sleep(0)

@task(bind=True)
async def weigh(ctx, number: int):
    assert left.get() is None, "an earlier job's"
    left.set(number)
    if ctx.job_retries < number - 1:
        raise Retry(countdown=0)

@cron_task(cron="* * * * * *", catch_up="none", queue="clock")
async def beat(): ...
"""

URLS = """\
from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from shop.tasks import take_order

def order(request):
    with transaction.atomic():
        return JsonResponse({"job_id": take_order.enqueue("4000-1234").job_id})

urlpatterns = [path("order/", order)]
"""

ONE_PROCESS = """\
import asyncio
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from django.test import Client
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.contrib.opentelemetry import DjangoCfgTasksInstrumentor
from django_cfg_tasks.worker.worker import Worker

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
instrumentor = DjangoCfgTasksInstrumentor()
instrumentor.instrument()
instrumentor.instrument()  # as `opentelemetry-instrument` and a line in settings do together

async def ended(count):
    async with asyncio.timeout(60):
        while sum(span.name.startswith("process ") for span in exporter.get_finished_spans()) < count:
            await asyncio.sleep(0.02)

async def main():
    rearq = get_rearq_client().rearq
    await rearq.init()
    working = asyncio.create_task(Worker(rearq, ["default"]).run())
    assert (await asyncio.to_thread(Client().get, "/order/")).status_code == 200
    await ended(6)
    assert (await asyncio.to_thread(Client().get, "/order/")).status_code == 200
    await ended(12)
    instrumentor.uninstrument()
    from shop.tasks import weigh
    assert (await (await weigh.delay(1)).result(timeout=30)).success
    rearq.process.ladder.stop()
    await working

asyncio.run(main())
emit([json.loads(span.to_json()) for span in exporter.get_finished_spans()])
"""

TREE = [
    "GET order/ SERVER",
    ["send take_order PRODUCER", ["process take_order CONSUMER success",
        ["pick INTERNAL", ["send send_receipt PRODUCER",
            ["process send_receipt CONSUMER ERROR retried"],
            ["process send_receipt CONSUMER success", ["smtp INTERNAL"]]]],
        ["send weigh PRODUCER",
            ["process weigh CONSUMER retried"],
            ["process weigh CONSUMER success"],
            ["process weigh CONSUMER success"]]]],
]  # fmt: skip

WITH_TRACES = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}


def label(span: dict[str, Any]) -> str:
    """Name a span: what, of which kind, whether it is an error, and what became of a run."""
    status = span["status"]["status_code"]
    parts = [span["name"], span["kind"].removeprefix("SpanKind."), status if status == "ERROR" else ""]
    return " ".join([*filter(None, parts), *filter(None, [span["attributes"].get("django_cfg_tasks.outcome")])])


def trees(spans: list[dict[str, Any]]) -> list[list[Any]]:
    """Return the trees that spans form, as labels and the trees beneath them, in the order of the alphabet."""
    known = {span["context"]["span_id"] for span in spans}
    assert len(known) == len(spans)

    def tree(span: dict[str, Any]) -> list[Any]:
        beneath = [tree(other) for other in spans if other["parent_id"] == span["context"]["span_id"]]
        return [label(span), *sorted(beneath, key=str)]

    return sorted((tree(span) for span in spans if span["parent_id"] not in known), key=str)


def printed(output: str) -> list[dict[str, Any]]:
    """Return the spans that a process's console exporter has printed among its log lines."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while (position := output.find('{\n    "name":', position)) >= 0:
        span, position = decoder.raw_decode(output, position)
        found.append(span)
    return found


def test_a_request_and_all_its_jobs_are_one_tree(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, files={"project/urls.py": URLS}, rearq={"max_jobs": 1})
    spans = project.json(ONE_PROCESS)
    assert trees(spans) == [TREE, TREE], "one for each request, and nothing of the job after them"
    assert len({span["context"]["trace_id"] for span in spans}) == 2
    assert "4000-1234" not in json.dumps(spans), "arguments are in no span"

    failed = next(span for span in spans if span["status"]["status_code"] == "ERROR")
    assert failed["attributes"] == {
        "messaging.system": "rearq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": failed["attributes"]["messaging.message.id"],
        "django_cfg_tasks.task": "send_receipt",
        "django_cfg_tasks.attempt": 1,
        "django_cfg_tasks.outcome": "retried",
        "error.type": "ConnectionError",
    }
    assert failed["status"]["description"] == "ConnectionError: the mail server is away"
    [event] = failed["events"]
    assert event["attributes"]["exception.message"] == "the mail server is away"
    assert 'raise ConnectionError("the mail server is away")' in event["attributes"]["exception.stacktrace"]
    batch = next(span for span in spans if span["name"] == "send weigh")
    assert batch["attributes"]["messaging.batch.message_count"] == 2
    attempts = [s["attributes"]["django_cfg_tasks.attempt"] for s in spans if s["name"] == "process send_receipt"]
    assert sorted(attempts) == [1, 1, 2, 2]


@pytest.mark.long
def test_the_tree_grows_over_processes_and_though_redis_loses_all(
    make_project: Callable[..., TaskProject], redis_server: RedisServer
) -> None:
    project = make_project(TASKS, files={"project/urls.py": URLS})
    instrumented = Path(sys.executable).with_name("opentelemetry-instrument")
    port = free_port()
    web = project.start(
        instrumented, sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}",
        name="web", env=WITH_TRACES,
    )  # fmt: skip
    web.wait_for_log("Starting .*development server")
    wait_until(lambda: answers(port), "the web server answers", 30)
    redis_server.wipe()
    worker = project.start(
        instrumented, Path(sys.executable).with_name("rearq"), "main:rearq", "worker", "--with-timer",
        name="worker", env=WITH_TRACES,
    )  # fmt: skip
    worker.wait_for_log("process beat", 60, count=2)
    worker.wait_for_log("send_receipt .*: success", 60)
    worker.wait_for_log("weigh .*: success", 60, count=2)
    web.send(signal.SIGINT)
    worker.sigterm()
    assert (web.wait(), worker.wait()) == (0, 0)
    spans = printed(web.output) + printed(worker.output)
    assert TREE in trees(spans)
    beats = [span for span in spans if span["name"] == "send beat"]
    assert {span["parent_id"] for span in beats} == {None}, "what a timer enqueues begins a trace"
    assert len({span["context"]["trace_id"] for span in beats}) == len(beats) >= 2


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/order/", timeout=20) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False
