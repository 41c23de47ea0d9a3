"""What a benchmark asks of Redis without a client library, as each peer's environment has another one or none.

One connection per thread. Also the bell: how a task tells the producer that it ran, in libraries without results.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, BinaryIO
from urllib.parse import urlsplit

BELL = "peers:bell"
TIMEOUT = 30

_connections = threading.local()


def ask(*words: str | int) -> Any:
    """Send one command to the Redis that ``PEER_REDIS`` names; return its answer: int, str, None or a list."""
    file = _connection()
    encoded = [str(word).encode() for word in words]
    file.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    file.flush()
    return _answer(file)


def ring() -> None:
    """Tell who waits for the bell; called by a task."""
    ask("LPUSH", BELL, 1)


def wait_for_bell() -> None:
    """Wait until a task rang. TimeoutError after `TIMEOUT` seconds."""
    if ask("BLPOP", BELL, TIMEOUT) is None:
        raise TimeoutError(f"no task rang within {TIMEOUT} s")


def _connection() -> BinaryIO:
    if getattr(_connections, "pid", None) != os.getpid():  # a fork would share its parent's
        address = urlsplit(os.environ["PEER_REDIS"])
        plug = socket.create_connection((address.hostname or "127.0.0.1", address.port or 6379), timeout=TIMEOUT + 5)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _connections.file, _connections.pid = plug.makefile("rwb"), os.getpid()
    file: BinaryIO = _connections.file
    return file


def _answer(file: BinaryIO) -> Any:
    line = file.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise RuntimeError(f"Redis: {rest}")
    if kind == ":":
        return int(rest)
    if kind == "$":
        return None if rest == "-1" else file.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return None if rest == "-1" else [_answer(file) for _ in range(int(rest))]
    return rest
