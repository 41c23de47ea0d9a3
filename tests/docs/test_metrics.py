"""The metrics' pages and the files of deploy/ say what is exposed; a real Prometheus scrapes and evaluates them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_metrics import PREFIX, TOKEN, ask, of_process, served
from tests.docs import pages
from tests.project import TaskProject
from tests.servers import end, free_port, launch
from tests.waiting import wait_until

DEPLOY = pages.ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "tasks.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
REFERENCE = pages.ROOT / "docs" / "reference" / "metrics.md"
TASKS = """\
from django_cfg_tasks import task

@task
async def good(): ...

@task(job_retry=0)
def bad():
    raise ValueError("no paper")
"""
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def documented(section: str) -> dict[str, tuple[str, list[str]]]:
    """Return type and labels of each metric of a table, by its whole name."""
    start = f"{PREFIX}worker_" if section.startswith("Of a worker") else PREFIX
    return {
        start + row[0].strip("`"): (row[1], re.findall(r"`(\w+)`", row[2])) for row in pages.table(REFERENCE, section)
    }


def told(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return the same of what is exposed; without labels where there are no samples."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        family.name + "_total" * (family.type == "counter"): (
            family.type,
            sorted({label for sample in family.samples for label in sample.labels} - {"le"}),
        )
        for family in text_string_to_metric_families(text)
        if family.name.startswith(PREFIX) and not family.name.endswith("_created")
    }


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[str]:
    """Run one with this configuration; yields its address."""
    port = free_port()
    shutil.copy(RULES, folder)
    (folder / "token").write_text(TOKEN)
    (folder / "prometheus.yml").write_text(config)
    command = [
        program("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    process = launch(command, folder=folder, log=folder / "prometheus.log")
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        end(process, 15, 30)


def query(api: str, expression: str) -> list[Any]:
    """Return the result; an error of Prometheus is one of the test."""
    text = ask(f"{api}/query?{urllib.parse.urlencode({'query': expression})}")
    result: list[Any] = json.loads(text)["data"]["result"]
    return result


def test_rules_are_tested_by_promtool() -> None:
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [program("promtool"), *words], cwd=RULES.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_described_and_has_a_case() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert alerts == [
        row[0].strip("`") for row in pages.table(REFERENCE.parents[1] / "howto" / "metrics.md", "Prometheus")
    ]
    cases = (RULES.parent / "alerts_test.yml").read_text()
    assert all(cases.count(alert) == 2 for alert in alerts)


def test_the_dashboard_is_whole() -> None:
    known = {*documented("Of the system"), *documented("Of a worker or timer process")}
    texts = [*EXPRESSIONS, RULES.read_text()]
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for text in texts for name in re.findall(rf"{PREFIX}\w+", text)}
    assert used <= known
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken), "panels don't overlap"
    assert max(x for x, _ in taken) < 24
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


@pytest.mark.long
def test_prometheus_scrapes_what_is_documented_and_answers_the_dashboard(
    make_project: Callable[..., TaskProject], tmp_path: Path
) -> None:
    program("prometheus")
    port = free_port()
    project = make_project(TASKS, metrics_token=TOKEN)
    with served(project) as web:
        project.worker("--with-timer", "--metrics-port", str(port))
        project.run("from shop.tasks import *\ngood.enqueue(), bad.enqueue()")
        wait_until(lambda: of_process(port).get("worker_runs_total failed default bad"), "both jobs ran", 60)
        assert told(ask(web, Authorization=f"Bearer {TOKEN}")) == {
            name: (kind, sorted(labels)) for name, (kind, labels) in documented("Of the system").items()
        }
        assert told(ask(f"http://127.0.0.1:{port}/metrics")) == {
            name: (kind, sorted(labels)) for name, (kind, labels) in documented("Of a worker or timer process").items()
        }
        config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        config = config.replace("15s", "1s").replace("web:8000", urllib.parse.urlsplit(web).netloc)
        config = config.replace('"worker-1:9100", "worker-2:9100"', f'"127.0.0.1:{port}"')
        folder = tmp_path / "prometheus"
        folder.mkdir()
        with prometheus(folder, config) as api:
            wait_until(lambda: _answers(api), "Prometheus answers", 30)
            wait_until(
                lambda: query(api, "up") and all(r["value"][1] == "1" for r in query(api, "up")), "both are up", 30
            )
            # Rates need two scrapes.
            wait_until(lambda: query(api, f"rate({PREFIX}worker_runs_total[10s])"), "there is a rate", 30)
            for expression in EXPRESSIONS:
                text = expression.replace("$__rate_interval", "10s").replace("$queue", ".*")
                wait_until(lambda text=text: query(api, text), f"{text} has an answer", 15)
            rules = json.loads(ask(f"{api}/rules"))["data"]["groups"][0]["rules"]
            wait_until(
                lambda: all(r["health"] == "ok" for r in json.loads(ask(f"{api}/rules"))["data"]["groups"][0]["rules"]),
                "all rules were evaluated",
            )
            assert len(rules) == 9


def _answers(api: str) -> bool:
    try:
        return bool(ask(f"{api}/status/buildinfo"))
    except OSError:
        return False
