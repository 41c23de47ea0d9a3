"""Shell commands of the docs, held against the programs that they name: nothing is shown that would be refused."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandError

from tests.docs.pages import ROOT

_VALUE = "(?:TEXT|INTEGER)"
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w,]+)\])?(?P<version>[=<>~!].*)?")
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_COMPOSE = ("up", "down", "logs", "ps", "config", "build", "run", "stop", "start")
_KUBECTL = ("apply", "delete", "kustomize", "rollout", "wait")
BESIDE = {
    "django-tasks",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp",
    "opentelemetry-instrumentation-django",
    "sentry-sdk",
    "uvicorn",
}
"""What pages install though this package does not need it."""
REARQ_APPS = ("main:rearq", "django_cfg_tasks.main:rearq")


def commands(text: str) -> list[list[str]]:
    """Return the words of each command: comments left out, continued lines joined, ``&&`` taken apart."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [line for line in words if line]


def entered(text: str) -> list[list[str]]:
    """Return the words of each command of a console, whose other lines are what is printed."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def check(words: list[str]) -> None:
    """Raise AssertionError where a command would be refused, or is none that is known here."""
    while _ASSIGNMENT.match(words[0]):
        words = words[1:]
    match words:
        case ["rearq", app, command, *arguments]:
            assert app in REARQ_APPS, f"what is {app}?"
            _check_rearq(command, arguments)
        case ["python", "manage.py", command, *arguments]:
            _check_manage(command, arguments)
        case ["opentelemetry-instrument", *command]:
            check(command)
        case ["python", "-m", "venv", _] | ["cd", _] | ["kill", "-TERM", _]:
            pass
        case ["pip", "install", *arguments]:
            _check_pip(arguments)
        case ["uv", "sync"]:
            pass
        case ["make", *arguments]:
            _check_make(arguments)
        case _:
            _check_operation(words)


def _check_operation(words: list[str]) -> None:
    """What people do to hosts: their files, services and objects are those of the repository."""
    match words:
        case ["docker", "compose", command, *arguments] if command in _COMPOSE:
            _check_compose(arguments)
        case ["systemctl", "stop" | "start" | "restart" | "status" | "enable" | "daemon-reload", *arguments]:
            _check_units(arguments)
        case ["systemd-analyze", "verify" | "security", *arguments]:
            _check_units([Path(word).name for word in arguments])
        case ["kubectl", command, *arguments] if command in _KUBECTL:
            _check_kubernetes(arguments)
        case ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files]:
            assert all((ROOT / file).exists() for file in files), f"no such file among {files}"
        case ["kubernetes-validate", "--strict", *files] | ["cp", *files, "/etc/systemd/system"]:
            assert all((ROOT / file).exists() for file in files), f"no such file among {files}"
        case _:
            raise AssertionError(f"a command that no test knows: {shlex.join(words)}")


@functools.cache
def rearq_help(command: str) -> str:
    """Return what ``rearq main:rearq <command> --help`` prints, in the example project."""
    done = subprocess.run(
        [Path(sys.executable).with_name("rearq"), "main:rearq", command, "--help"],
        cwd=ROOT / "example_project",
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"rearq has no command {command}: {done.stdout}{done.stderr}"
    return done.stdout


def _check_rearq(command: str, arguments: list[str]) -> None:
    text = rearq_help(command)
    takes_value = False
    for word in arguments:
        if word.startswith("-"):
            option = re.search(rf"(?:^|[\s,]){re.escape(word.split('=')[0])}(?= {_VALUE}|[\s,])(?P<value>[^\n]*)", text)
            assert option, f"rearq {command} has no option {word}:\n{text}"
            takes_value = bool(re.search(f" {_VALUE}", option["value"])) and "=" not in word
        else:
            assert takes_value, f"rearq {command} takes no argument {word}"
            takes_value = False
    assert not takes_value, f"rearq {command} {shlex.join(arguments)}: a value is missing"


def _check_manage(command: str, arguments: list[str]) -> None:
    found = get_commands().get(command)
    assert found, f"manage.py has no command {command}"
    loaded = load_command_class(found, command) if isinstance(found, str) else found
    parser = loaded.create_parser("manage.py", command)
    parser.called_from_command_line = False
    try:
        parser.parse_args(arguments)
    except CommandError as error:
        raise AssertionError(f"manage.py {command} {shlex.join(arguments)}: {error}") from error


def _check_pip(arguments: list[str]) -> None:
    for word in arguments:
        if word in ("--no-deps", "-e", "."):
            continue
        requirement = _REQUIREMENT.fullmatch(word)
        assert requirement, f"pip can't read {word}"
        if requirement["name"].replace("_", "-") == _PROJECT["name"].replace("_", "-"):
            extras = set((requirement["extras"] or "").split(",")) - {""}
            assert extras <= set(_PROJECT["optional-dependencies"]), f"no such extra: {word}"
        else:
            known = {re.split(r"[\[<>=~!; ]", line)[0] for line in _PROJECT["dependencies"]}
            assert requirement["name"] in known | BESIDE, f"nothing that this package needs: {word}"


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in arguments:
        name, assigned, _ = word.partition("=")
        pattern = rf"^(?:export )?{name} *\??=" if assigned else rf"^{re.escape(name)}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {word}"


def _check_compose(arguments: list[str]) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for word in arguments:
        known = word in services or word in ("--build", "--follow", "--detach", "--quiet", "--rm", "--no-deps")
        assert known, f"docker compose: what is {word}?"


def _check_units(arguments: list[str]) -> None:
    units = {re.sub(r"@.*?\.", "@.", file.name) for file in (ROOT / "deploy" / "systemd").iterdir()}
    for word in arguments:
        if not word.startswith("--"):
            unit = re.sub(r"@\d+", "@", word)
            assert {unit, f"{unit}.service"} & units, f"no such unit: {word}"


def _check_kubernetes(arguments: list[str]) -> None:
    """Files, objects and labels are those of deploy/kubernetes; the program itself needs a cluster for most of it."""
    base = ROOT / "deploy" / "kubernetes" / "base"
    objects = [each for file in base.glob("*.yaml") for each in yaml.safe_load_all(file.read_text())]
    names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects if "metadata" in each}
    components = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in objects
        if "labels" in each.get("metadata", {})
    }
    kind = ""
    for word in arguments:
        label = re.fullmatch(r"app\.kubernetes\.io/component(?:=| in \()([\w, ]+)\)?", word)
        if label:
            assert set(re.split(r", ?", label[1])) <= components | {"config"}, f"no such component: {word}"
        elif word in ("job", "status"):
            kind = word
        elif "/" in word:
            assert word in names or (ROOT / word).exists(), f"no such object or file: {word}"
        elif not word.startswith("-"):
            assert f"{kind}/{word}" in names, f"kubectl: what is {word}?"
