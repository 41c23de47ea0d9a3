"""Dramatiq on Redis, with plain functions: its threads run those; coroutines would take the way through one more."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.stamps import stamp
from benchmarks.peers.wire import ask as redis
from benchmarks.peers.wire import ring, wait_for_bell

RESULTS = os.environ["PEER_VARIANT"] == "results"

broker = RedisBroker(url=os.environ["PEER_REDIS"])
if RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=os.environ["PEER_REDIS"]), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def noop() -> None:
    stamp()


@dramatiq.actor
def ring_back() -> None:
    ring()


def enqueue() -> Any:
    return noop.send()


def ask() -> Any:
    return noop.send() if RESULTS else ring_back.send()


def settled() -> bool:
    # Not its acknowledgements: the last ones wait until an idle consumer's back-off ends, seconds after the work.
    return redis("LLEN", "dramatiq:default") == 0


def result(message: Any) -> None:
    if RESULTS:
        message.get_result(block=True, timeout=30_000)
    else:
        wait_for_bell()
