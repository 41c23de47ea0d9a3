"""What a job costs its worker, by stage: told every ten seconds and at the end, with ``--profile``.

It is put around the parts of a running worker, so that these know nothing of it, and cost nothing without it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, NoReturn

from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.recorder import recorder
from django_cfg_tasks.worker.runner import Runner

logger = logging.getLogger("django_cfg_tasks.worker")

TELL_SECONDS = 10.0


@dataclass(slots=True)
class Stage:
    """What was spent on one stage of jobs' lives."""

    calls: int = 0
    jobs: int = 0
    seconds: float = 0.0
    """From each call to its end: with what the servers take, and with what else the loop does meanwhile."""


class Profile:
    """Stages of the jobs of one worker: fetch, load, claim, run, record, TaskLog, ack."""

    def __init__(self, client: ReArqClient, runner: Runner) -> None:
        self.stages: dict[str, Stage] = {}
        self._cpu = time.process_time()
        self._began = time.monotonic()
        self._told = 0
        broker, store = client.broker, client.store
        self._put_around(broker, "fetch", "fetch", jobs=lambda args, found: len(found))
        self._put_around(store, "load", "load", jobs=_first)
        self._put_around(store, "claim", "claim", jobs=lambda args, found: len(found))
        self._put_around(runner, "run", "run", jobs=lambda args, found: 1)
        self._put_around(store, "record", "record", jobs=_first)
        self._put_around(recorder, "_write", "TaskLog", jobs=_first)
        self._put_around(broker, "settle", "ack", jobs=lambda args, found: len(args[0].entries))

    async def run(self) -> NoReturn:
        """Tell every ten seconds in which jobs have run, until cancelled."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if self._jobs() > self._told:
                self.tell()

    def tell(self) -> None:
        """Write the table of what has been spent so far into the log."""
        logger.info("%s", self.table())

    def table(self) -> str:
        """Return what has been spent so far, as text."""
        jobs = self._told = self._jobs()
        passed, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        lines = [
            f"{jobs} jobs in {passed:.1f} s, {1e6 * cpu / max(jobs, 1):.0f} us of this process's CPU time each",
            f"{'stage':<8} {'calls':>8} {'jobs':>8} {'jobs/call':>9} {'ms/call':>9} {'us/job':>9}",
        ]
        for name, stage in self.stages.items():
            lines.append(
                f"{name:<8} {stage.calls:>8} {stage.jobs:>8} {stage.jobs / max(stage.calls, 1):>9.1f} "
                f"{1e3 * stage.seconds / max(stage.calls, 1):>9.2f} {1e6 * stage.seconds / max(stage.jobs, 1):>9.0f}"
            )
        return "\n".join(lines)

    def _jobs(self) -> int:
        return self.stages["run"].jobs

    def _put_around(self, owner: object, method: str, name: str, *, jobs: Callable[[Any, Any], int]) -> None:
        stage = self.stages[name] = Stage()
        original = getattr(owner, method)

        def note(started: float, args: Any, found: Any) -> None:
            stage.calls += 1
            stage.jobs += jobs(args, found)
            stage.seconds += time.perf_counter() - started

        @functools.wraps(original)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            found = await original(*args, **kwargs)
            note(started, args, found)
            return found

        @functools.wraps(original)
        def called(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            found = original(*args, **kwargs)
            note(started, args, found)
            return found

        setattr(owner, method, awaited if inspect.iscoroutinefunction(original) else called)


def _first(args: tuple[Sized, ...], found: object) -> int:
    return len(args[0])
