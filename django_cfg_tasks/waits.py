"""Work whose only waits are for sockets: a thread that may block can do it, and an event loop that may not.

Such work is a generator. It yields a `Wait` where it waits for a socket, and None where the next step may block in
another way (a name is looked up, a file is written); it returns what came of it. Whoever drives it knows how to wait.
"""

from __future__ import annotations

import asyncio
import math
import select
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Wait(NamedTuple):
    """Wait until a socket can be read, or ``to_write``; after ``seconds``, TimeoutError is raised there instead."""

    fd: int
    seconds: float | None = None
    to_write: bool = False


Steps = Generator[Wait | None, None, T]


def block_on(steps: Steps[T]) -> T:
    """Do the work in this thread."""
    try:
        wait = next(steps)
        while True:
            wait = next(steps) if wait is None or _is_ready(wait) else steps.throw(_in_vain(wait))
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()  # for Ctrl-C, which may come while it waits


async def follow(steps: Steps[T], hand_over: Callable[[Steps[T]], asyncio.Future[T]]) -> T:
    """Do the work on the running loop, as far as that waits for sockets only, and have the rest done elsewhere.

    ``hand_over`` takes the work where its next step may block, where the loop knows no way to wait, and where the
    caller is cancelled: what was begun is brought to its end. It may go on before there is something to read.
    """
    try:
        wait = next(steps)
        while wait is not None:
            try:
                await _ready(wait)
            except TimeoutError as error:
                wait = steps.throw(error)
            except NotImplementedError:  # Windows' own loop waits for no sockets but its own
                break
            except asyncio.CancelledError:
                hand_over(steps).cancel()  # nobody listens any more
                raise
            except BaseException:
                steps.close()
                raise
            else:
                wait = next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    return await hand_over(steps)


def _is_ready(wait: Wait) -> bool:
    if not hasattr(select, "poll"):  # Windows
        sockets = [wait.fd]
        return any(select.select([] if wait.to_write else sockets, sockets if wait.to_write else [], [], wait.seconds))
    poll = select.poll()
    poll.register(wait.fd, select.POLLOUT if wait.to_write else select.POLLIN)
    return bool(poll.poll(None if wait.seconds is None else math.ceil(1000 * wait.seconds)))


async def _ready(wait: Wait) -> None:
    loop = asyncio.get_running_loop()
    add, remove = (loop.add_writer, loop.remove_writer) if wait.to_write else (loop.add_reader, loop.remove_reader)
    ready = loop.create_future()
    add(wait.fd, _tell, ready)
    timer = None if wait.seconds is None else loop.call_later(wait.seconds, _give_up, ready, wait)
    try:
        await ready
    finally:
        remove(wait.fd)
        if timer is not None:
            timer.cancel()


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _give_up(ready: asyncio.Future[None], wait: Wait) -> None:
    if not ready.done():
        ready.set_exception(_in_vain(wait))


def _in_vain(wait: Wait) -> TimeoutError:
    return TimeoutError(f"no answer within {wait.seconds:g} s")
