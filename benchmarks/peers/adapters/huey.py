"""Huey on Redis, with threads. `notify_result` pushes a result to who waits, where it would look again and again."""

import os
from typing import Any

from huey import RedisHuey

from benchmarks.peers.stamps import stamp

huey = RedisHuey("peers", url=os.environ["PEER_REDIS"], notify_result=True)


@huey.task()
def noop() -> None:
    stamp()


@huey.task()
def answer() -> int:  # a result of None is not stored
    return 1


def enqueue() -> Any:
    return noop()


def ask() -> Any:
    return answer()


def settled() -> bool:
    return len(huey) == 0  # what was taken from the queue is noted nowhere


def result(handle: Any) -> None:
    handle.get(blocking=True, timeout=30)
