"""deploy/kubernetes fits the package: schemas accept it, what it runs exists, none is killed before its time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from django_cfg_tasks import RearqConfig
from tests.docs import pages
from tests.docs.ladder import LADDER_SECONDS
from tests.project import TaskProject
from tests.redis_server import RedisServer

FOLDER = pages.ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
OLDEST, NEWEST = "1.30", "1.37"
DEPLOYMENTS = ("web", "worker", "timer")
TASKS = ("worker", "timer")

Object = dict[str, Any]

PROBE_PAGES = """
import json, sys
import django
django.setup()
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
answers = []
for path in sys.argv[1:]:
    with CaptureQueriesContext(connection) as queries:
        answers.append([Client().get(path, headers={"host": "localhost"}).status_code, len(queries)])
print(json.dumps(answers))
"""


@cache
def objects(folder: Path) -> tuple[Object, ...]:
    """Return every object of a folder's files, but for what kustomize itself reads."""
    texts = [file.read_text() for file in sorted(folder.glob("*.yaml")) if file.name != "kustomization.yaml"]
    return tuple(each for text in texts for each in yaml.safe_load_all(text) if each)


def the(kind: str, name: str) -> Object:
    (found,) = [each for each in objects(BASE) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(name: str) -> Object:
    spec: Object = the("Job" if name == "migrate" else "Deployment", f"shop-{name}")["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Object:
    (found,) = pod(name)["containers"]
    return dict(found)


def kustomization() -> Object:
    found: Object = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return found


def literals() -> dict[str, str]:
    (shop,) = [each for each in kustomization()["configMapGenerator"] if each["name"] == "shop"]
    return dict(line.split("=", 1) for line in shop["literals"])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_schemas_accept_them(version: str) -> None:
    every = [*objects(BASE), *objects(FOLDER), *objects(FOLDER / "autoscaling")]
    assert len(every) == 11
    for each in every:
        kubernetes_validate.validate(each, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):  # a slip would be found
        kubernetes_validate.validate({**every[0], "sepc": {}}, version, strict=True)


def test_kustomize_makes_them_one() -> None:
    """All of it is in the base, and names and labels that kustomize writes are valid too."""
    assert {BASE / name for name in kustomization()["resources"]} | {BASE / "kustomization.yaml"} == set(
        BASE.glob("*.yaml")
    )
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", BASE], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    for each in made:
        kubernetes_validate.validate(each, NEWEST, strict=True)
        assert each["metadata"]["labels"]["app.kubernetes.io/component"]
    assert sorted(each["kind"] for each in made).count("ConfigMap") == 2
    names = {each["metadata"]["name"] for each in made if each["kind"] == "ConfigMap"}
    referenced = set(re.findall(r"name: (shop-(?:probe-)?[0-9a-z]{10})$", done.stdout, re.MULTILINE))
    assert referenced == names


def test_commands_are_those_of_compose() -> None:
    """Whose test asks whether they exist."""
    services = yaml.safe_load((pages.ROOT / "docker-compose.yml").read_text())["services"]
    assert container("migrate")["command"] == [*services["migrate"]["command"], "--no-input"]
    for name in DEPLOYMENTS:
        assert container(name)["command"] == services[name]["command"]


def test_the_user_is_that_of_the_image() -> None:
    dockerfile = (pages.ROOT / "example_project" / "Dockerfile").read_text()
    assert f"useradd --uid {pod('web')['securityContext']['runAsUser']} " in dockerfile


@pytest.mark.parametrize("name", TASKS)
def test_the_grace_period_exceeds_the_shutdown_ladder(name: str) -> None:
    assert pod(name)["terminationGracePeriodSeconds"] >= LADDER_SECONDS + 5


@pytest.mark.parametrize("name", TASKS)
def test_probes_are_more_patient_than_a_lease(name: str) -> None:
    startup, liveness = container(name)["startupProbe"], container(name)["livenessProbe"]
    script = container(name)["volumeMounts"][-1]["mountPath"] + "/lease.py"
    assert startup["exec"]["command"] == ["python", script]
    assert liveness["exec"]["command"] == ["python", script, "--forgive-redis"]
    assert liveness["periodSeconds"] * (liveness["failureThreshold"] - 1) > RearqConfig().lease
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@pytest.mark.parametrize("name", ["migrate", *DEPLOYMENTS])
def test_nobody_is_root_or_unlimited(name: str) -> None:
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert pod(name)["automountServiceAccountToken"] is False
    context = container(name)["securityContext"]
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container(name)["resources"]["limits"].keys() == {"memory"}
    written = {mount["mountPath"] for mount in container(name)["volumeMounts"]}
    assert {literals()["SHOP_VAR"], "/tmp"} <= written


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_selectors_match_their_pods(name: str) -> None:
    deployment, budget = the("Deployment", f"shop-{name}"), the("PodDisruptionBudget", f"shop-{name}")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == budget["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["replicas"] > budget["spec"]["maxUnavailable"]


def test_the_shop_reads_the_environment_that_it_is_given() -> None:
    settings = (pages.ROOT / "example_project/project/settings.py").read_text()
    (secret,) = objects(FOLDER)
    read = set(re.findall(r'"(SHOP_[A-Z_]+)"', settings))
    assert literals().keys() | secret["stringData"].keys() == read
    for name in ("migrate", *DEPLOYMENTS):
        assert container(name)["envFrom"] == [{"configMapRef": {"name": "shop"}}, {"secretRef": {"name": "shop"}}]


def test_the_probe_tells_a_running_timer(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., RedisServer]
) -> None:
    server = make_redis()
    project = make_project(redis_url=server.url)

    def code(*options: str) -> int:
        probe = project.start(
            sys.executable, str(BASE / "lease.py"), *options, name="probe", env={"SHOP_REDIS_URL": server.url}
        )
        return probe.wait()

    assert code() == 1
    timer = project.timer()
    timer.wait_for_log("started")
    assert code() == 0
    assert timer.stop() == 0
    assert code("--forgive-redis") == 1
    server.stop()
    assert (code(), code("--forgive-redis")) == (1, 0)


def test_the_pages_that_are_probed_answer(tmp_path: Path, redis_server: RedisServer) -> None:
    """One asks the database, and tells when that is away; the other must not."""
    probes = [container("web")[kind]["httpGet"] for kind in ("readinessProbe", "livenessProbe")]
    assert all(probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}] for probe in probes)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment |= literals() | {"SHOP_VAR": str(tmp_path), "SHOP_REDIS_URL": redis_server.url}
    environment["DJANGO_SETTINGS_MODULE"] = "project.settings"

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=pages.ROOT / "example_project",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("manage.py", *container("migrate")["command"][2:], "--verbosity=0")
    (ready, asked), (alive, not_asked) = json.loads(run("-c", PROBE_PAGES, *(probe["path"] for probe in probes)))
    assert (ready, alive) == (200, 200)
    assert asked > 0
    assert not_asked == 0


def test_workers_are_scaled_by_a_metric_that_is_served() -> None:
    scaler, adapter = objects(FOLDER / "autoscaling")
    assert scaler["spec"]["scaleTargetRef"]["name"] == the("Deployment", "shop-worker")["metadata"]["name"]
    (metric,) = scaler["spec"]["metrics"]
    (rule,) = yaml.safe_load(adapter["data"]["config.yaml"])["externalRules"]
    assert rule["seriesQuery"].partition("{")[0] == metric["external"]["metric"]["name"]
    served = pages.table(pages.ROOT / "docs" / "reference" / "metrics.md", "Of the system")
    names = {f"django_cfg_tasks_{row[0].strip(chr(96))}" for row in served}
    assert metric["external"]["metric"]["name"] in names
