"""The server's process: one port, on the loop that owns the connections, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from django.apps import apps

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.exceptions import ConfigurationError

logger = logging.getLogger("django_cfg_tasks.monitor")

HOST = "127.0.0.1"
NEEDED = ("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions")
LONGEST_SHUTDOWN = 10
"""Seconds that requests have after the first signal."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Server(uvicorn.Server):
    """Uvicorn's, which would end the process by the signal that it got; this one ends in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._climb, number)
        try:
            yield
        finally:
            # Not given back: ReArq's handlers, from before, would do nothing of what is wanted.
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _climb(self, number: signal.Signals) -> None:
        name = signal.Signals(number).name
        if self.should_exit:
            logger.info("%s again: ending at once.", name)
            logging.shutdown()
            os._exit(0)
        logger.info("%s: taking no new requests; those that run may finish. A second signal skips the wait.", name)
        self.should_exit = True


def check() -> None:
    """Raise ConfigurationError where the project lacks what a login needs."""
    lacking = [app for app in NEEDED if not apps.is_installed(app)]
    if lacking:
        raise ConfigurationError(
            "The monitoring server lets staff in by Django's login, for which INSTALLED_APPS lacks "
            f"{', '.join(lacking)}."
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ConfigurationError where that can't be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise ConfigurationError(
            f"The monitoring server can't listen on {host}:{port}: {error.strerror or error}. "
            "Choose another with --host and --port, or RearqConfig(server_port=...)."
        ) from error


async def serve(client: ReArqClient, listener: socket.socket, on_shutdown: Callable[[], Awaitable[None]]) -> None:
    """Serve until SIGTERM or SIGINT, on the home loop; close the connections then. A second signal ends it at once."""
    from django_cfg_tasks.monitor.handler import MonitorHandler

    server = _Server(
        uvicorn.Config(
            MonitorHandler(),
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,  # its lines have queries in them
            server_header=False,
            timeout_graceful_shutdown=LONGEST_SHUTDOWN,
        )
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    host, port = listener.getsockname()[:2]
    logger.info("The monitoring pages are at http://%s:%d/ for staff. SIGTERM ends it.", _shown(host), port)
    try:
        await server.serve(sockets=[listener])
    finally:
        await on_shutdown()
        await client.aclose()
    logger.info("The monitoring server has ended.")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
