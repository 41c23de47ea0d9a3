"""What a process of the project does that enqueues: called by the benchmarks inside of it, after ``django.setup()``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 50
GATHERED = 100
MOST_JOBS = 8000
"""In one measurement: the recorder's buffer must hold their history."""
FIRST_JOBS, LEAST_JOBS = 5, 20
"""Jobs that open connections and prepare statements, and those that a latency is the median of, at least."""

Rates = dict[str, dict[str, float]]


def rates(task: Any, seconds: float) -> Rates:
    """Enqueue jobs in each way for some seconds, one way after another, and return what each did.

    ``jobs``, the ``seconds`` until all were accepted, those until their ``history`` was written, and the ``cpu``
    seconds of this process until then.
    """
    task.enqueue_many([(0,)] * 10)  # connections are open, statements prepared

    async def one_by_one(until: float) -> int:
        jobs = 0
        while time.perf_counter() < until:
            await task.delay(jobs)
            jobs += 1
        return jobs

    async def gathered(until: float) -> int:
        jobs = 0
        while time.perf_counter() < until and jobs < MOST_JOBS:
            await asyncio.gather(*(task.delay(number) for number in range(GATHERED)))
            jobs += GATHERED
        return jobs

    ways: dict[str, Callable[[float], int]] = {
        "enqueue": lambda until: _while(until, lambda: task.enqueue(0), 1),
        "delay": lambda until: asyncio.run(one_by_one(until)),
        "threads": lambda until: _in_threads(task, until),
        "gather": lambda until: asyncio.run(gathered(until)),
        "many_100": lambda until: _while(until, lambda: task.enqueue_many([(0,)] * 100), 100),
        "many_1000": lambda until: _while(until, lambda: task.enqueue_many([(0,)] * 1000), 1000),
    }
    return {name: _measured(way, seconds) for name, way in ways.items()}


def latencies(task: Any, seconds: float) -> dict[str, list[list[float]]]:
    """Enqueue a job, wait for its result, and again, for some seconds, in each way.

    Of each job the ms until it was accepted, from there until it started, and from its end until its result was here.
    """

    async def awaited() -> list[list[float]]:
        legs: list[list[float]] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(legs) < FIRST_JOBS + LEAST_JOBS:
            began = time.time()
            job = await task.delay(0)
            accepted = time.time()
            legs.append(_legs(began, accepted, await job.result(timeout=30), time.time()))
        return legs

    def waited() -> list[list[float]]:
        legs: list[list[float]] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(legs) < FIRST_JOBS + LEAST_JOBS:
            began = time.time()
            job = task.enqueue(0)
            accepted = time.time()
            legs.append(_legs(began, accepted, job.wait(timeout=30), time.time()))
        return legs

    return {"await": asyncio.run(awaited())[FIRST_JOBS:], "wait": waited()[FIRST_JOBS:]}


def _legs(began: float, accepted: float, result: Any, told: float) -> list[float]:
    started, ended = result.start_time.timestamp(), result.finish_time.timestamp()
    return [1000 * leg for leg in (accepted - began, started - accepted, told - ended)]


def _while(until: float, action: Callable[[], object], jobs: int) -> int:
    done = 0
    while time.perf_counter() < until and done < MOST_JOBS:
        action()
        done += jobs
    return done


def _in_threads(task: Any, until: float) -> int:
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map(lambda _: _share(task, until), range(THREADS))
        return sum(each)


def _share(task: Any, until: float) -> int:
    jobs = 0
    while time.perf_counter() < until and jobs < MOST_JOBS / THREADS:
        task.enqueue(jobs)
        jobs += 1
    return jobs


def _measured(way: Callable[[float], int], seconds: float) -> dict[str, float]:
    from django_cfg_tasks.recorder import recorder

    recorder.flush(60)
    started, cpu = time.perf_counter(), time.process_time()
    jobs = way(started + seconds)
    accepted = time.perf_counter() - started
    if not recorder.flush(60) or recorder.has_dropped:
        raise RuntimeError(f"The history of {jobs} jobs was not written.")
    written = time.perf_counter() - started
    return {"jobs": jobs, "seconds": accepted, "history": written, "cpu": time.process_time() - cpu}
