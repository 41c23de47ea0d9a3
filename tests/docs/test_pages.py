"""Every block of README and docs runs, in a project of its own, with ReArq's real worker beside it."""

from __future__ import annotations

import ast
import configparser
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs import pages, shell
from tests.docs.pages import Block
from tests.project import SETTINGS, TaskProject

DRIVER = Path(__file__).with_name("driver.py")
REDIS_URL = "redis://localhost:6379/0"
OUR_APPS = '    "rest_framework",\n    "django_cfg_tasks",\n    "shop",\n'
SETTINGS_FILE = "project/settings.py"
STEPS = ("python", "setup", "check", "http", "console")
DATA: dict[str, Callable[[str], Any]] = {
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "json": json.loads,
    "ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
    "text": str,
    "python before": ast.parse,
}


def runs(page: Path) -> bool:
    """Tell whether a page has Python to run here; settings that are each on their own are another test's.

    So is what needs django-cfg: tests/acceptance/test_django_cfg.py.
    """
    return any(block.kind in STEPS for block in pages.blocks(page)) and not {
        "variants", "django-cfg",
    } & pages.options(page)  # fmt: skip


def ids(page: Path) -> str:
    return pages.name(page)


@pytest.mark.parametrize("page", list(filter(runs, pages.PAGES)), ids=ids)
def test_python(page: Path, make_project: Callable[..., TaskProject], redis_server: Any, migrated: Path) -> None:
    """Files are written, commands are started, then the Python runs from top to bottom."""
    bare = "bare" in pages.options(page)
    project = make_project(migrate=False)
    files: dict[str, str] = {}
    for block in pages.blocks(page):
        if block.path:
            files[block.path] = files.get(block.path, "") + block.text.replace(REDIS_URL, redis_server.url) + "\n"
    if bare:
        # As startproject and startapp leave it: all else is the page's.
        assert OUR_APPS in SETTINGS
        files[SETTINGS_FILE] = configured(project, SETTINGS.replace(OUR_APPS, '    "shop",\n')) + files[SETTINGS_FILE]
        (project.folder / "main.py").unlink()
        (project.folder / "project" / "urls.py").write_text("urlpatterns = []\n")
    for path, text in files.items():
        project.write(path, text)
    if bare:
        start_commands(page, project)
    else:
        shutil.copy(migrated, project.folder)
        if any("/migrations/" in path for path in files):
            project.manage("migrate", "--verbosity=0")
        if "worker" in pages.options(page):
            project.worker("--with-timer").wait_for_log("consumes ")
    run_steps(page, project)


def start_commands(page: Path, project: TaskProject) -> None:
    """Do what the page's shell blocks say: migrate, and start each worker."""
    for block in pages.blocks(page):
        for words in shell.commands(block.text) if block.kind == "bash" else []:
            if words[:3] == ["python", "manage.py", "migrate"]:
                project.manage(*words[2:], "--verbosity=0")
            elif words[0] == "rearq":
                project.rearq(*words[2:], app=words[1], name=f"worker of {block.place}").wait_for_log("consumes ")


def run_steps(page: Path, project: TaskProject) -> None:
    steps = [
        {"kind": block.kind, "text": block.text, "place": block.place, "line": block.line}
        for block in pages.blocks(page)
        if block.kind in STEPS and not block.path
    ]
    project.write("steps.json", json.dumps(steps))
    project._run([str(project.python), str(copied(DRIVER, project)), "steps.json"], 100)


def copied(file: Path, project: TaskProject) -> Path:
    """A copy in the project's folder, so that the project is what it imports from."""
    return Path(shutil.copy(file, project.folder / f"docs_{file.name}"))


def configured(project: TaskProject, settings: str) -> str:
    return f"{settings}DATABASES = {project.databases!r}\n"


def variants() -> list[Block]:
    return [
        block
        for page in pages.PAGES
        if "variants" in pages.options(page)
        for block in pages.blocks(page)
        if block.kind in ("python", "file") and block.path == SETTINGS_FILE
    ]


@pytest.mark.parametrize("block", variants(), ids=lambda block: block.place)
def test_settings(block: Block, make_project: Callable[..., TaskProject]) -> None:
    """Each settings block, on its own, gives a configuration that Django's checks accept; what follows is checked."""
    project = make_project(migrate=False)
    blocks = pages.blocks(block.page)
    for other in blocks:
        if other.path and other.path != SETTINGS_FILE:
            project.write(other.path, other.text)
    project.write(SETTINGS_FILE, configured(project, SETTINGS) + block.text)
    check = blocks[blocks.index(block) + 1]
    assert check.kind == "check", f"{block.place}: say in a check what these settings lead to"
    code = "from django_cfg_tasks.conf import get_config\nconfig = get_config()\n" + check.text
    project.run(f"from django.core.management import call_command\ncall_command('check', '--fail-level=ERROR')\n{code}")


@pytest.mark.parametrize("page", [*pages.PAGES, pages.CONTRIBUTING], ids=ids)
def test_commands_and_data(page: Path) -> None:
    """Shell commands name what exists, data parses, and no block is of a kind that no test looks at."""
    for block in pages.blocks(page):
        if block.kind in ("bash", "console"):
            for words in shell.commands(block.text) if block.kind == "bash" else shell.entered(block.text):
                try:
                    shell.check(words)
                except AssertionError as error:
                    raise AssertionError(f"{block.place}: {error}") from error
        if block.kind in DATA:
            DATA[block.kind](block.text)
        else:
            assert block.kind in ("bash", *STEPS, *pages.HIDDEN), (
                f"{block.place}: nothing tests a block of {block.kind!r}"
            )
