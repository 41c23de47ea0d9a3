"""docs/howto/deploy.md says what is so: how long a stop takes, and what the linters print."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from django_cfg_tasks.dispatcher import FLUSH_SECONDS, UNWIND_SECONDS
from django_cfg_tasks.worker import hooks
from tests.docs import pages
from tests.docs.ladder import RUNGS

PAGE = pages.ROOT / "docs" / "howto" / "deploy.md"
SHOWN = [block.text for block in pages.blocks(PAGE) if block.kind == "text"]


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_time_that_a_stop_takes() -> None:
    assert [float(row[0]) for row in pages.table(PAGE, "What happens to running jobs")] == list(RUNGS)
    assert f"`shutdown_timeout` + {sum(RUNGS[1:]):g} s" in PAGE.read_text()
    assert FLUSH_SECONDS + UNWIND_SECONDS + hooks.END_SECONDS + hooks.UNWIND_SECONDS <= 10  # "add up to ten"


def test_what_systemd_prints() -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    said = run(analyze, "security", "--offline=true", "deploy/systemd/rearq-worker@.service")
    mark = re.compile(r"level for rearq-worker@i\.service: ([\d.]+) OK")
    (shown,), (found,) = mark.findall(SHOWN[1]), mark.findall(said)
    assert abs(float(shown) - float(found)) < 1  # each version of systemd looks at some more


def installed(name: str) -> str:
    """Return a program of the environment in which the tests run."""
    command = Path(sys.executable).with_name(name)
    return str(command) if command.exists() else shutil.which(name) or name


def test_what_the_schemas_print(tmp_path: Path) -> None:
    schema = installed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"
    assert run(*schema, "docker-compose.yml") == SHOWN[0]
    slip = tmp_path / "slip.yml"
    slip.write_text((pages.ROOT / "docker-compose.yml").read_text().replace("stop_grace_period", "stop_grace"))
    with pytest.raises(AssertionError, match="stop_grace"):
        run(*schema, str(slip))
    assert run(installed("kubernetes-validate"), "--strict", "deploy/kubernetes/base/worker.yaml") == SHOWN[2]
