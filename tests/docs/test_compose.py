"""docker-compose.yml fits the package: what it runs exists, and nothing is killed before it has stopped in order."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.docs import pages, shell
from tests.docs.ladder import LADDER_SECONDS
from tests.project import TaskProject

FILE = pages.ROOT / "docker-compose.yml"
DOCKERFILE = pages.ROOT / "example_project" / "Dockerfile"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
TASKS = ("worker", "timer")


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


def test_docker_accepts_it() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    subprocess.run([docker, "compose", "--file", FILE, "config", "--quiet"], check=True)


def test_it_has_two_workers_and_what_they_need() -> None:
    assert set(SERVICES) == {"migrate", "products", "web", "worker", "timer", "redis", "postgres"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert shlex.join(SERVICES["redis"]["command"]).startswith("redis-server --appendonly yes")
    for name, service in SERVICES.items():
        if name not in ("migrate", "products"):
            assert service["healthcheck"]["test"], name
        for needed, how in service.get("depends_on", {}).items():
            healthy = "healthcheck" in SERVICES[needed]
            assert how["condition"] == ("service_healthy" if healthy else "service_completed_successfully")


@pytest.mark.parametrize("name", ["migrate", "products", *TASKS])
def test_commands_exist(name: str) -> None:
    shell.check(SERVICES[name]["command"])


@pytest.mark.parametrize("name", TASKS)
def test_the_grace_period_exceeds_the_shutdown_ladder(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) >= LADDER_SECONDS + 5


def test_the_shop_reads_the_environment_that_it_is_given() -> None:
    settings = (pages.ROOT / "example_project/project/settings.py").read_text()
    for name in SERVICES["web"]["environment"]:
        assert f'"{name}"' in settings, f"the shop's settings read no {name}"


def test_the_image_is_made_of_files_that_exist() -> None:
    copied = [words[1:-1] for line in DOCKERFILE.read_text().splitlines() if (words := line.split())[:1] == ["COPY"]]
    for sources in copied:
        assert all((pages.ROOT / source).exists() for source in sources), sources
    requirements = re.findall(r"RUN (pip install .*)", DOCKERFILE.read_text())
    assert requirements == ["pip install '.[postgres]' 'uvicorn>=0.30'"]
    assert SERVICES["web"]["command"] == yaml.safe_load(DOCKERFILE.read_text().rpartition("CMD ")[2])


def test_the_health_check_tells_a_running_worker(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    command = SERVICES["worker"]["healthcheck"]["test"]
    assert SERVICES["timer"]["healthcheck"]["test"] == command
    assert command[:3] == ["CMD", "python", "-c"]
    project = make_project()

    def healthy() -> bool:
        check = project.start(sys.executable, "-c", command[3], name="health", env={"SHOP_REDIS_URL": redis_server.url})
        return check.wait() == 0

    assert not healthy()
    timer = project.timer()
    timer.wait_for_log("started")
    assert healthy()
    assert timer.stop() == 0
    assert not healthy()
