"""The reference pages say what the code says: every setting, exception and check, and nothing else."""

from __future__ import annotations

import argparse
import re
import tomllib
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from pydantic.fields import FieldInfo

from django_cfg_tasks import RearqConfig, TaskConfig, exceptions
from django_cfg_tasks.checks import configuration, deployment
from django_cfg_tasks.contrib.django_tasks import backend
from tests.docs import pages

REFERENCE = pages.ROOT / "docs" / "reference"
COMMANDS = [name for name, app in get_commands().items() if app == "django_cfg_tasks"]
DJANGO_OPTIONS = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
_SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def bounds(field: FieldInfo) -> set[str]:
    found = set()
    for constraint in field.metadata:
        for kind, (sign, attribute) in _SIGNS.items():
            if isinstance(constraint, kind):
                found.add(f"{sign} {getattr(constraint, attribute)}")
    return found


def shown_type(annotation: Any) -> str:
    is_plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    text = annotation.__name__ if is_plain else str(annotation)
    if "Literal" in text:
        return "str"
    text = re.sub(r"typing\.Annotated\[(\w+),.*", r"\1]", text)
    return text.replace(" | ", " or ")


@pytest.mark.parametrize("model", [TaskConfig, RearqConfig])
def test_settings(model: type[TaskConfig | RearqConfig]) -> None:
    rows = {row[0].strip("`"): row[1:] for row in pages.table(REFERENCE / "settings.md", model.__name__)}
    assert list(rows) == list(model.model_fields)
    for name, field in model.model_fields.items():
        kind, default, allowed, meaning = rows[name]
        actual = field.get_default(call_default_factory=True)
        expected = RearqConfig() if default == "`RearqConfig()`" else eval(default.strip("`"))
        assert actual == expected, f"{name}: the default is {actual!r}"
        assert kind == shown_type(field.annotation), f"{name}: the type is {shown_type(field.annotation)}"
        shown = set(re.findall(r"[≥≤<>] \d+", allowed))
        assert shown == bounds(field), f"{name}: the bounds are {bounds(field)}"
        assert meaning


def test_exceptions() -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in pages.table(REFERENCE / "exceptions.md", "Exceptions")}
    raised = {
        name: kind.__mro__[1].__name__
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    assert rows == raised


def test_checks() -> None:
    headings = re.findall(r"^## (.+)$", (REFERENCE / "checks.md").read_text(), re.MULTILINE)
    constants = [*vars(configuration).values(), *vars(deployment).values(), backend.NOT_INSTALLED]
    known = [value for value in constants if re.fullmatch(r"django_cfg_tasks\.[EWI]\d+", str(value))]
    assert headings == known


def test_command_line() -> None:
    page = REFERENCE / "cli.md"
    parsers = {name: load_command_class("django_cfg_tasks", name).create_parser("manage.py", name) for name in COMMANDS}
    (parts,) = (action for action in parsers.pop("rearq")._actions if isinstance(action, argparse._SubParsersAction))
    for name, parser in {**parsers, **parts.choices}.items():
        actual = [
            max(action.option_strings, key=len) if action.option_strings else str(action.metavar or action.dest)
            for action in parser._actions
            if action.help is not argparse.SUPPRESS and not set(action.option_strings) & DJANGO_OPTIONS
        ]
        rows = pages.table(page, name) if actual else []
        shown = [re.split(r"[ `]", row[0].strip("`"))[0] for row in rows]
        assert sorted(shown) == sorted(name.replace("--noinput", "--no-input") for name in actual), name


def test_rest_endpoints() -> None:
    from django_cfg_tasks.api import schema  # with models: the settings are ready here

    rows = [row[0].strip("`") for row in pages.table(REFERENCE / "rest.md", "Endpoints")]
    routes = [
        f"{method.upper()} {path.removeprefix('/cfg/tasks/')}"
        for path, methods in schema.document(None)["paths"].items()
        for method in methods
    ]
    assert sorted(rows) == sorted(routes)


def test_rest_filters() -> None:
    from django_cfg_tasks.history.filters import FILTERS, ORDERINGS

    rows = [row[0].strip("`") for row in pages.table(REFERENCE / "rest.md", "Jobs")]
    assert rows == list(FILTERS)
    text = (REFERENCE / "rest.md").read_text()
    assert all(f"`{column}`" in text for column in ORDERINGS)


def test_versions() -> None:
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    page = pages.ROOT / "docs" / "explanation" / "compatibility.md"
    rows = {row[0]: row[1] for row in pages.table(page, "Why is it tied to these versions?")}
    for name in ("Python", "Django"):
        prefix = {"Python": "Programming Language :: Python :: 3.", "Django": "Framework :: Django :: "}[name]
        classified = [c.rpartition(" :: ")[2] for c in project["classifiers"] if c.startswith(prefix)]
        assert rows[name].split(", ") == classified
    assert f"rearq=={rows['ReArq'].split(',')[0]}" in project["dependencies"]
    assert f"redis>={rows['redis-py'].split()[0]}" in project["dependencies"]
