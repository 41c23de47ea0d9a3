"""Runs the hooks of a worker process. What they do is the project's business; that none of them holds it up is ours."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async

from django_cfg_tasks.exceptions import HookError
from django_cfg_tasks.hooks import path_of, start_hooks, stop_hooks
from django_cfg_tasks.worker.process import Process
from django_cfg_tasks.worker.runner import django_connections

logger = logging.getLogger("django_cfg_tasks.worker")

END_SECONDS = 5.0
"""How long a stop hook may take, and a start hook once the process is told to stop."""
UNWIND_SECONDS = 1.0
"""How long one that was cancelled for that may take to clean up."""


@asynccontextmanager
async def hooked(process: Process, *, up: bool) -> AsyncIterator[None]:
    """Call the start hooks before the work, the stop hooks after it; not ``up``: none.

    HookError where a start hook fails. Where not all start hooks have come to their end, no stop hook is called.
    """
    started = up and await _start(process)
    try:
        yield
    finally:
        if started:
            # Receivers of signals may use what the hooks take down.
            await process.client.signals.flush()
            await _stop(process)


async def _start(process: Process) -> bool:
    """Return False if the process was told to stop before all were done."""
    stopping = asyncio.ensure_future(process.ladder.stopping.wait())
    try:
        for hook in list(start_hooks):
            running = asyncio.create_task(_failure(hook), name=f"on_worker_start {path_of(hook)}")
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not await _ended(running, process) or process.ladder.stopping.is_set():
                return False
            error = running.result()
            if error is not None:
                logger.critical("The start hook %s failed: no job is taken.", path_of(hook), exc_info=error)
                raise HookError(f"The start hook {path_of(hook)} failed: {error!r}") from error
        return True
    finally:
        stopping.cancel()


async def _stop(process: Process) -> None:
    for hook in reversed(stop_hooks):
        running = asyncio.create_task(_failure(hook), name=f"on_worker_stop {path_of(hook)}")
        if not await _ended(running, process):
            logger.warning(
                "The stop hook %s did not end within %g s; the worker ends without it.", path_of(hook), END_SECONDS
            )
        elif (error := running.result()) is not None:
            logger.error("The stop hook %s failed.", path_of(hook), exc_info=error)


async def _ended(running: asyncio.Task[BaseException | None], process: Process) -> bool:
    """Wait for the end of a hook, a while; False if it had to be cancelled."""
    await asyncio.wait({running}, timeout=END_SECONDS)
    if running.done():
        return True
    running.cancel()
    await asyncio.wait({running}, timeout=UNWIND_SECONDS)
    if not running.done():
        process.leave_behind()
    return False


async def _failure(hook: Callable[[], Any]) -> BaseException | None:
    """Call a hook; return what it raised. SystemExit too, which would end the event loop and all that runs there."""
    try:
        async with django_connections():
            await (hook() if inspect.iscoroutinefunction(hook) else sync_to_async(hook)())
    except BaseException as error:
        current = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
            raise
        return error
    return None
