"""The example project's own tests, as its readers run them: without Redis. They find what production finds."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Processes
from tests.redis_server import RedisServer
from tests.waiting import wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"
NOWHERE = "redis://127.0.0.1:1/0"
FAULTS = {
    "shop/views.py": ("charge_card.delay(order.number)", "charge_card.delay(order)"),
    "shop/tasks.py": (
        "            send_receipt.enqueue(order_number)\n    return file",
        "            pass\n    return order",
    ),
}
ARGUMENT = "The argument 'order_number' can't be stored as JSON: Order is a model instance."
RESULT = "The result can't be stored as JSON: Order is a model instance."
ORDER = """
import django; django.setup()
from django.test import Client
from shop.tests import WEB_ORDER
client = Client(SERVER_NAME="localhost")
assert client.post("/orders/", WEB_ORDER, content_type="application/json").status_code == 202
client.post("/orders/async/", WEB_ORDER, content_type="application/json")
"""
ERROR = """
import django; django.setup()
from django_cfg_tasks.models import TaskLog
print(*TaskLog.objects.filter(task_name="write_invoice", status="failed").values_list("error_message", flat=True))
"""


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "SHOP_VAR": str(folder / "var"), **environment}
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_the_shops_own_tests_pass_in_seconds_and_without_redis() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(EXAMPLE, "manage.py", "test", SHOP_REDIS_URL=NOWHERE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    count = re.search(r"Ran (\d+) tests", done.stderr)
    assert count is not None
    assert int(count[1]) >= 29
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A copy of the shop whose async view hands a model instance over, and whose invoices come back as one."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "shop", ignore=shutil.ignore_patterns("var", "__pycache__"))
    for name, (right, wrong) in FAULTS.items():
        text = (folder / name).read_text()
        assert text.count(right) == 1
        (folder / name).write_text(text.replace(right, wrong))
    return folder


@pytest.mark.long
def test_faults_in_serialisation_are_found_as_production_finds_them(
    faulty: Path, redis_server: RedisServer, processes: Processes
) -> None:
    tested = run(faulty, "manage.py", "test", SHOP_REDIS_URL=NOWHERE)
    assert tested.returncode == 1
    assert f"SerializationError: {ARGUMENT}" in tested.stderr
    assert f"ResultError: {RESULT}" in tested.stderr

    for arguments in (["migrate", "--verbosity=0"], ["loaddata", "--verbosity=0", "products"]):
        made = run(faulty, "manage.py", *arguments, SHOP_REDIS_URL=redis_server.url)
        assert made.returncode == 0, made.stderr
    worker = processes.start(
        Path(sys.executable).with_name("rearq"), "main:rearq", "worker",
        *[word for queue in ("payments", "invoices") for word in ("--queue", queue)],
        cwd=faulty, name="worker",
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "SHOP_VAR": str(faulty / "var"),
             "SHOP_REDIS_URL": redis_server.url, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    worker.wait_for_log("consumes ")
    ordered = run(faulty, "-c", ORDER, SHOP_REDIS_URL=redis_server.url)
    assert f"SerializationError: {ARGUMENT}" in ordered.stderr
    said: list[str] = []

    def has_failed() -> bool:
        said[:] = [run(faulty, "-c", ERROR, SHOP_REDIS_URL=redis_server.url).stdout]
        return bool(said[0].strip())

    wait_until(has_failed, "the invoice's job has failed", 30)
    assert said[0].startswith(RESULT)
