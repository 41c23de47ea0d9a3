"""``python -m benchmarks.peers.produce ADAPTER PHASE``: the producer's side of a row, in the peer's environment.

Phases: ``prepare`` makes tables and groups; ``fill`` enqueues, timed; ``settle`` waits until all that was enqueued is
done and noted as done; ``latency`` enqueues one job at a time and waits for its result. The last line printed is JSON.

An adapter is a module with ``enqueue()``, which returns something to wait by, and ``settled()``; either plain functions
or coroutine functions. Optional: ``prepare()``; ``connected()``, an async context manager around everything;
``enqueue_many(count)``; ``ask()``, what to enqueue for ``result(asked)``, which waits for it; ``leave_thread()``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers.stamps import Stamps

AT_ONCE = 100
BULK = 1000  # jobs in one call
WARM = 20
POLL = 0.005
SETTLE_SECONDS = 15.0

Maybe = Callable[..., Any]  # plain, or a coroutine function


def main() -> None:
    """Run one phase of one adapter, and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter")
    parser.add_argument("phase", choices=["prepare", "fill", "settle", "latency"])
    parser.add_argument("--one", type=int, default=0, metavar="N", help="fill: jobs enqueued one by one")
    parser.add_argument("--at-once", type=int, default=0, metavar="N", help="fill: jobs enqueued by 100 callers")
    parser.add_argument("--bulk", type=int, default=0, metavar="N", help="fill: jobs enqueued by the thousand")
    parser.add_argument("--expected", type=int, default=0, metavar="N", help="settle: how many jobs wait")
    parser.add_argument("--timeout", type=float, default=60, help="settle: seconds")
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="latency: jobs")
    parser.add_argument("--seconds", type=float, default=6, help="latency: end after so long with fewer")
    parser.add_argument("--pause", type=float, default=0.02, help="latency: up to so many seconds between two jobs")
    options = parser.parse_args()
    adapter = importlib.import_module(f"benchmarks.peers.adapters.{options.adapter}")
    phase = {"prepare": prepare, "fill": fill, "settle": settle, "latency": latency}[options.phase]
    found = asyncio.run(_connected(adapter, phase, options))
    sys.stdout.write(f"\n{json.dumps(found)}\n")
    sys.stdout.flush()


async def _connected(adapter: Any, phase: Callable[[Any, Any], Awaitable[Any]], options: Any) -> Any:
    async with AsyncExitStack() as stack:
        if hasattr(adapter, "connected"):
            await stack.enter_async_context(adapter.connected())
        return await phase(adapter, options)


async def prepare(adapter: Any, _options: Any) -> None:
    """Make what the library needs before the first job."""
    if hasattr(adapter, "prepare"):
        await _call(adapter.prepare)


async def fill(adapter: Any, options: Any) -> dict[str, Any]:
    """Enqueue in three ways, and return jobs per second of each and how many jobs wait."""
    rates: dict[str, float | None] = {"one": None, "at_once": None, "bulk": None}
    for _ in range(WARM):  # connects before 100 callers do so at once
        await _call(adapter.enqueue)
    waiting = WARM
    if options.one:
        begin = time.perf_counter()
        if inspect.iscoroutinefunction(adapter.enqueue):
            for _ in range(options.one):
                await adapter.enqueue()
        else:
            _repeat(adapter.enqueue, options.one)
        rates["one"] = options.one / (time.perf_counter() - begin)
        waiting += options.one
    at_once, bulk = options.at_once, options.bulk
    if not hasattr(adapter, "enqueue_many"):
        at_once, bulk = at_once + bulk, 0
    if at_once:
        each = max(1, at_once // AT_ONCE)
        callers = _coroutines if inspect.iscoroutinefunction(adapter.enqueue) else _threads
        rates["at_once"] = each * AT_ONCE / await callers(adapter, each)
        waiting += (each + 1) * AT_ONCE
    if bulk:
        await _call(adapter.enqueue_many, WARM)
        begin = time.perf_counter()
        for start in range(0, bulk, BULK):
            await _call(adapter.enqueue_many, min(BULK, bulk - start))
        rates["bulk"] = bulk / (time.perf_counter() - begin)
        waiting += WARM + bulk
    return {**rates, "waiting": waiting}


async def _coroutines(adapter: Any, each: int) -> float:
    """Return the seconds that 100 coroutines took for ``each`` jobs each; all of them have enqueued one before."""

    async def caller(jobs: int) -> None:
        for _ in range(jobs):
            await adapter.enqueue()

    await asyncio.gather(*(caller(1) for _ in range(AT_ONCE)))
    begin = time.perf_counter()
    await asyncio.gather(*(caller(each) for _ in range(AT_ONCE)))
    return time.perf_counter() - begin


async def _threads(adapter: Any, each: int) -> float:
    """`_coroutines`, with threads."""
    warm, done = threading.Barrier(AT_ONCE + 1), threading.Barrier(AT_ONCE + 1)
    failures: list[BaseException] = []

    def caller() -> None:
        try:
            adapter.enqueue()
            warm.wait()
            _repeat(adapter.enqueue, each)
            done.wait()
        except Exception as error:
            failures.append(error)
            warm.abort()
            done.abort()
        finally:
            if hasattr(adapter, "leave_thread"):
                adapter.leave_thread()

    def together() -> float:
        threads = [threading.Thread(target=caller, daemon=True) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        try:
            warm.wait(60)
            begin = time.perf_counter()
            done.wait(60)
            return time.perf_counter() - begin
        except threading.BrokenBarrierError:
            raise (failures or [TimeoutError("100 threads were not done within 60 s")])[0] from None

    return await asyncio.to_thread(together)


def _repeat(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()


async def settle(adapter: Any, options: Any) -> dict[str, Any]:
    """Wait for all runs, then until the library has noted the last one; return the seconds since the first run."""
    stamps = Stamps(Path(os.environ["PEER_STAMPS"]))
    await _call(adapter.settled)  # connects
    sys.stdout.write("waits\n")
    sys.stdout.flush()
    deadline = time.monotonic() + options.timeout
    while (found := stamps.read())[0] < options.expected:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{found[0]} of {options.expected} jobs were run within {options.timeout:g} s")
        await asyncio.sleep(0.01)
    noted = await _noted(adapter, deadline)
    runs, first, last = stamps.read()
    return {"seconds": noted - first, "until_last_run": last - first, "runs": runs}


async def _noted(adapter: Any, deadline: float) -> float:
    """Wait until the library has noted all jobs as done; return when it was asked and had."""
    while True:
        begin = time.monotonic()
        if await _call(adapter.settled):
            return begin
        if begin > deadline:
            raise TimeoutError("all jobs were run, and not all noted as done in time")
        # Asking takes time of the cores that the worker needs: no more than a third.
        await asyncio.sleep(max(POLL, 2 * (time.monotonic() - begin)))


async def latency(adapter: Any, options: Any) -> dict[str, Any]:
    """Enqueue a job and wait for its result, again and again; return ms at p50 and p95.

    A random pause lies between two jobs: who polls would else be met at the same point of its turn each time. It ends
    when all are noted: the worker is killed next, and what it had not written yet would be missing in the next drain.
    """
    enqueue: Maybe = getattr(adapter, "ask", adapter.enqueue)
    pauses = random.Random(7)  # noqa: S311  # the same for every row
    taken: list[float] = []
    deadline = time.monotonic() + options.seconds
    warm = 5 if options.pause < 0.1 else 1
    while len(taken) < warm + options.samples and (time.monotonic() < deadline or len(taken) < warm + 5):
        await asyncio.sleep(pauses.uniform(0, options.pause))
        begin = time.perf_counter()
        await _call(adapter.result, await _call(enqueue))
        taken.append(1000 * (time.perf_counter() - begin))
    await _noted(adapter, time.monotonic() + SETTLE_SECONDS)
    cuts = statistics.quantiles(taken[warm:], n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "samples": len(taken) - warm}


async def _call(function: Maybe, *arguments: Any) -> Any:
    """Call a plain function or a coroutine function.

    A plain one runs in the loop's thread, and may block it: nothing else runs there.
    """
    answer = function(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


if __name__ == "__main__":
    main()
