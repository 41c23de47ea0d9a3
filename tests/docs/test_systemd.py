"""The units in deploy/systemd fit the package: systemd reads them, commands exist, none is killed before its time."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs import pages, shell
from tests.docs.ladder import LADDER_SECONDS

FOLDER = pages.ROOT / "deploy" / "systemd"
SERVICES = ("rearq-worker@.service", "rearq-timer.service")


def value(unit: str, key: str) -> str:
    """The one value of a key in a unit; fails where there is none or several."""
    lines = (FOLDER / unit).read_text().splitlines()
    (found,) = [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]
    return found


def test_systemd_accepts_them(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    program = value(SERVICES[0], "ExecStart").split()[0]
    for unit in FOLDER.iterdir():  # verify wants the program to exist
        (tmp_path / unit.name).write_text(unit.read_text().replace(program, "/bin/true"))
    units = [tmp_path / "rearq-worker@1.service", tmp_path / SERVICES[1], tmp_path / "rearq.target"]
    shutil.copy(tmp_path / SERVICES[0], units[0])
    env = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    command = [analyze, "verify", "--man=no", *map(str, units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert str(tmp_path) not in said, said


@pytest.mark.parametrize("unit", SERVICES)
def test_commands_exist(unit: str) -> None:
    program, *words = shlex.split(value(unit, "ExecStart"))
    shell.check([Path(program).name, *words])


@pytest.mark.parametrize("unit", SERVICES)
def test_the_time_to_stop_exceeds_the_shutdown_ladder(unit: str) -> None:
    assert float(value(unit, "TimeoutStopSec")) >= LADDER_SECONDS + 5
    assert value(unit, "KillSignal") == "SIGTERM"
