"""docker-compose.yml fits the package: what it runs exists, and nothing is killed before it has stopped in order."""

from __future__ import annotations

import os
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
TRYING_OUT = "for-trying-out"
PASSWORD = f"${{SHOP_POSTGRES_PASSWORD:-{TRYING_OUT}}}"


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


def compose() -> list[str]:
    """Docker's plugin, or the same program alone; the test is skipped where there is neither."""
    for command in (["docker", "compose"], ["docker-compose"]):
        found = shutil.which(command[0])
        if found and not subprocess.run([found, *command[1:], "version"], capture_output=True, check=False).returncode:
            return [found, *command[1:], "--file", str(FILE)]
    pytest.skip("docker compose is not installed")


def test_docker_accepts_it() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}

    def config(**variables: str) -> str:
        command = [*compose(), "--env-file", os.devnull, "config"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env | variables)
        assert (done.returncode, done.stderr) == (0, "")
        return yaml.safe_dump(yaml.safe_load(done.stdout)["services"])

    assert config().count(TRYING_OUT) == 6
    deployed = config(SHOP_POSTGRES_PASSWORD="Kettle7", SHOP_SECRET_KEY="long", SHOP_DEBUG="0")
    assert "insecure" not in deployed
    assert TRYING_OUT not in deployed
    assert deployed.count("Kettle7") == 6
    assert deployed.count("SHOP_DEBUG: '0'") == 5


def test_what_is_secret_comes_from_outside() -> None:
    for name in ("migrate", "products", "web", *TASKS):
        environment = SERVICES[name]["environment"]
        assert environment["SHOP_SECRET_KEY"].startswith("${SHOP_SECRET_KEY:-insecure")
        assert environment["SHOP_DEBUG"] == "${SHOP_DEBUG:-1}"
        assert PASSWORD in environment["SHOP_DATABASE_URL"]
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"] == PASSWORD
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


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
    assert requirements == ["pip install '.[metrics,postgres]' 'uvicorn>=0.30'"]
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
