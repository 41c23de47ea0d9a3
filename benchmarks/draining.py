"""How fast one worker empties a queue of jobs that do nothing, beside the limit: what that takes of SQL and Redis.

The time is SQL's own, from the start of the first job to the end of the last; and until the history of all is written.
The work is the same for all: jobs that were made by SQL, with rows, history and entries as enqueueing leaves them.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks import limit
from benchmarks.figures import number, ratio, spread, table
from benchmarks.stage import Cpu, Stage, say

LIMIT_SECONDS = 1.5
LIMIT = "limit: all three tables, by 100"
LIMITS = {
    LIMIT: (100, True),
    "limit: without history, by 100": (100, False),
    "limit: all three tables, one job at a time": (1, True),
}
WORKERS = {
    "worker, 10 at once": (10, "nothing"),
    "worker, 100 at once": (100, "nothing"),
    "worker, 10 at once, functions in threads": (10, "nothing_in_a_thread"),
}
ENDS = "SELECT min(start_time), max(finish_time), count(*) FROM rearq_job_results WHERE success"
UNTOLD = "SELECT EXISTS (SELECT 1 FROM django_cfg_task_log WHERE status IN ('queued', 'in_progress'))"


@dataclass
class Costs:
    """What jobs cost in each round, in µs of CPU, and how many were done in a second."""

    rates: list[float] = field(default_factory=list)
    with_history: list[float] = field(default_factory=list)
    """Jobs in a second, until the history of the last was written."""
    program: list[float] = field(default_factory=list)
    sql: list[float] = field(default_factory=list)
    redis: list[float] = field(default_factory=list)

    def add(self, jobs: int, seconds: float, used: Cpu) -> None:
        """Keep what a round has found."""
        self.rates.append(jobs / seconds)
        for kept, spent in ((self.program, used.program), (self.sql, used.sql), (self.redis, used.redis)):
            kept.append(1e6 * spent / jobs)

    @property
    def all(self) -> list[float]:
        """What jobs cost altogether, in each round."""
        return [sum(costs) for costs in zip(self.program, self.sql, self.redis, strict=True)]


class Draining:
    """The figures of all rounds, and the table of them."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._found: dict[tuple[str, str], Costs] = defaultdict(Costs)

    def round(self, stage: Stage) -> None:
        """Measure the limit and each kind of worker once."""
        for row, (batch, history) in LIMITS.items():
            self._limit(stage, row, batch, history=history)
        for row, (slots, task) in WORKERS.items():
            # What threads cost is the same wherever jobs are kept: seen once, it needs no more of the time.
            if task == "nothing" or stage.store == "nofsync":
                self._worker(stage, row, slots, task)

    def _limit(self, stage: Stage, row: str, batch: int, *, history: bool) -> None:
        stage.add_waiting(self._jobs if batch > 1 else self._jobs // 6)
        before = stage.cpu()
        done = limit.run_waiting(stage.url, stage.redis.url, LIMIT_SECONDS, batch, history=history)
        used = stage.cpu() - before
        found = self._found[stage.title, row]
        found.add(done.jobs, done.seconds, used)
        if history:
            found.with_history.append(done.rate)
        stage.clear()
        say(f"drain  {stage.title}  {row}: {number(done.rate)}/s")

    def _worker(self, stage: Stage, row: str, slots: int, task: str) -> None:
        stage.add_waiting(self._jobs, task)
        with stage.worker(slots=slots) as worker:
            before = stage.cpu(worker.pid)
            # By Redis first: to ask SQL over and over would slow down what is measured.
            stage.wait_for(lambda: not stage.waiting(), "no job waits")
            stage.wait_for(lambda: not stage.execute(UNTOLD)[0][0], "history is complete")
            told, used = time.time(), stage.cpu(worker.pid) - before
        [[first, last, done]] = stage.execute(ENDS)
        if done != self._jobs:
            raise RuntimeError(f"{done} of {self._jobs} jobs succeeded.")
        start, end = moment(first), moment(last)
        found = self._found[stage.title, row]
        found.add(done, end - start, used)
        found.with_history.append(done / (told - start))
        stage.clear()
        say(
            f"drain  {stage.title}  {row}: {number(found.rates[-1])}/s, {number(found.with_history[-1])}/s with history"
        )

    def markdown(self, stages: Sequence[Stage]) -> str:
        """Return the tables, one for each store."""
        return "\n\n".join(f"{stage.title}:\n\n{self._table(stage.title)}" for stage in stages)

    def _table(self, title: str) -> str:
        beside = self._found[title, LIMIT]
        rows = []
        for row in (*LIMITS, *WORKERS):
            found = self._found[title, row]
            if not found.rates:
                continue
            rows.append(
                [
                    row,
                    spread(found.rates),
                    spread(found.with_history) if found.with_history else "",
                    ratio(found.with_history, beside.rates) if row in WORKERS else "",
                    *(number(median(used)) if any(used) else "" for used in (found.program, found.sql, found.redis)),
                    ratio(found.all, beside.all) if row in WORKERS else "",
                ]
            )
        header = ["drain", "jobs per s", "per s until history is written", "of the limit"]
        return table([*header, "µs of CPU per job", "of the SQL server", "of Redis", "all CPU, times the limit"], rows)


def moment(value: dt.datetime | str) -> float:
    """Return a time that a database gave as `time.time` would tell it."""
    return (value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)).timestamp()
