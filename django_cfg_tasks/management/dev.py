"""``manage.py rearq dev``: web server, worker, timer, and a Redis where none answers, in one terminal.

For a developer's machine: Ctrl-C ends all in order, and what ends by itself is started again, or told.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

from django.core.management.base import CommandError

from django_cfg_tasks import embedded
from django_cfg_tasks.conf import get_config
from django_cfg_tasks.config import RearqConfig, mask_url
from django_cfg_tasks.worker import sources
from django_cfg_tasks.worker.supervisor import NUMBER, Child, OnError, Supervisor

HERE = ("localhost", "127.0.0.1", "::1")
KNOCK_SECONDS = 2.0
_COLORS = (36, 32, 33, 35)  # cyan, green, yellow, magenta
_RED = 31


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("addrport", nargs="?", help="Port of the web server, or address:port, as of runserver.")
    parser.add_argument(
        "-q", "--queue", action="append", default=[], metavar="TEXT", help="Queue to consume; may be repeated."
    )
    parser.add_argument("--no-web", action="store_true", help="Start no web server.")


def run(program: Sequence[str], options: dict[str, Any], out: Any, *, color: bool) -> int:
    """Run all until Ctrl-C; return the exit code. ``program`` is how ``manage.py`` is started."""
    config = get_config().rearq
    embedded_folder = _ensure_embedded(config)
    queues = [word for queue in options["queue"] for word in ("--queue", queue)]
    django = _djangos(options, color=color)
    children = [
        *_redis(config),
        *([] if options["no_web"] else [_web(program, options["addrport"], django)]),
        _part(program, "worker", [*queues, *django]),
        _part(program, "timer", django),
    ]
    screen = _Screen(out, [child.name for child in children], color=color)
    if embedded_folder is not None:
        screen.tell(f"An embedded Redis runs in {embedded_folder}.", False)
    try:
        return Supervisor(children, tell=screen.tell, show=screen.show, watch=sources.watch).run()
    finally:
        if embedded_folder is not None:
            embedded.stop(embedded_folder)


def _web(program: Sequence[str], addrport: str | None, django: Sequence[str]) -> Child:
    # It has Django's own autoreloader, which knows when a template needs no new process.
    command = [*program, "runserver", *([addrport] if addrport else []), *django]
    return Child("web", command, _plain(), on_error=OnError.GIVE_UP)


def _part(program: Sequence[str], name: str, options: Sequence[str]) -> Child:
    command = [*program, "rearq", name, *options]
    return Child(name, command, {NUMBER: "1", **_plain()}, on_error=OnError.AWAIT_CHANGE, reloads=True)


def _djangos(options: dict[str, Any], *, color: bool) -> list[str]:
    """Return Django's own options for the others: those of this command line."""
    words = [f"--{name}={options[name]}" for name in ("settings", "pythonpath") if options[name]]
    return [*words, "--force-color" if color else "--no-color"]


def _plain() -> dict[str, str]:
    return {"PYTHONUNBUFFERED": "1"}


# Redis


def _ensure_embedded(config: RearqConfig) -> Path | None:
    """Start the Redis of an ``embedded://`` URL; return its folder if it did not run before."""
    if not config.redis_url.startswith("embedded://") or config.sentinels:
        return None
    folder = embedded.folder_of(config.redis_url)
    ran = embedded.runs(folder)
    embedded.ensure_running(config.redis_url)
    return None if ran else folder


def _redis(config: RearqConfig) -> list[Child]:
    """Return a Redis for the configured address where none answers, if that is one of this machine."""
    url = config.redis_url
    parts = urlsplit(url)
    if config.sentinels or parts.scheme == "embedded" or _answers(url):
        return []
    if parts.scheme not in ("redis", "unix") or (parts.scheme == "redis" and parts.hostname not in HERE):
        raise CommandError(
            f"No Redis answers at {mask_url(url)}. One is started only for an address of this machine without TLS; "
            "start yours, or set redis_url, to embedded://./redis for one that needs no installation."
        )
    listen = (
        ["--port", str(parts.port or 6379), "--bind", "127.0.0.1", "-::1"]
        if parts.scheme == "redis"
        else ["--port", "0", "--unixsocket", unquote(parts.path)]
    )
    # The doorbell may be lost: it is rung again from SQL.
    lasting = ["--save", "", "--appendonly", "no", "--dir", tempfile.gettempdir(), "--loglevel", "warning"]
    command = [str(embedded.find_server()), "-", *listen, *lasting]
    return [
        Child(
            "redis", command, {"LC_ALL": "C"}, on_error=OnError.GIVE_UP, stays_longest=True,
            asks=_access(parts.username, parts.password).encode(),
        )
    ]  # fmt: skip


def _access(user: str | None, password: str | None) -> str:
    """Return the lines of a Redis configuration that let in who the URL names; other users of a machine see no file."""
    if not password:
        return ""
    secret = unquote(password)
    if set(secret) & set("\r\n\"\\ '"):
        raise CommandError("redis_url: a Redis can't be started with quotes, backslashes or blanks in its password.")
    lines = [f'requirepass "{secret}"']
    if user and unquote(user) != "default":
        lines.append(f'user {unquote(user)} on ">{secret}" ~* &* +@all')
    return "\n".join(lines) + "\n"


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(KNOCK_SECONDS)
                connection.connect(unquote(parts.path))
        else:
            with socket.create_connection((parts.hostname or "localhost", parts.port or 6379), KNOCK_SECONDS):
                pass
    except OSError:
        return False
    return True


# The terminal


class _Screen:
    """Writes lines of several processes, each with the name of its own before it."""

    def __init__(self, out: TextIO, names: Sequence[str], *, color: bool) -> None:
        self._out = out
        self._width = max(map(len, ("dev", *names)))
        self._colors = dict(zip(names, itertools.cycle(_COLORS), strict=False)) if color else {}
        self._lock = threading.Lock()
        self._color = color

    def show(self, child: Child, line: bytes) -> None:
        """Write a line that a process printed."""
        self._write(child.name, self._colors.get(child.name), line.decode(errors="replace").rstrip("\r\n"))

    def tell(self, text: str, alarming: bool) -> None:
        """Write a line of our own."""
        self._write("dev", _RED if alarming and self._color else None, text)

    def _write(self, name: str, color: int | None, text: str) -> None:
        prefix = f"{name:<{self._width}} |"
        if color is not None:
            prefix = f"\033[{color}m{prefix}\033[0m"
        with self._lock:
            self._out.write(f"{prefix} {text}\n")
            self._out.flush()
