"""How many jobs are accepted per second, by each way to enqueue, beside the limit: a row and an entry by plain drivers.

One round measures everything once, the limit first, then the ways of the engine in a fresh process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from benchmarks import limit
from benchmarks.figures import number, ratio, spread, table
from benchmarks.stage import Stage, say

SECONDS = 0.5
ONE, BATCH = "limit: a row and an entry, one by one", "limit: by 100"
WAYS = {
    "enqueue": ("`task.enqueue()`, one by one", ONE),
    "delay": ("`await task.delay()`, one by one", ONE),
    "threads": ("`enqueue()` in 50 threads", BATCH),
    "gather": ("`asyncio.gather` of 100 `delay()`", BATCH),
    "many_100": ("`enqueue_many` of 100", BATCH),
    "many_1000": ("`enqueue_many` of 1,000", BATCH),
}
RATES = f"from shop.tasks import nothing\nfrom benchmarks import producer\nemit(producer.rates(nothing, {SECONDS}))\n"


class Enqueueing:
    """The figures of all rounds, and the table of them."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._with_history: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._cpu: dict[tuple[str, str], list[float]] = defaultdict(list)

    def round(self, stage: Stage) -> None:
        """Measure the limit and each way once."""
        for row, batch in ((ONE, 1), (BATCH, 100)):
            done = limit.enqueue(stage.url, stage.redis.url, SECONDS, batch)
            self._keep(stage, row, done.rate, done.cpu / done.jobs)
            stage.clear()
        for way, found in stage.project.json(RATES, timeout=300).items():
            jobs = found["jobs"]
            row, _ = WAYS[way]
            self._keep(stage, row, jobs / found["seconds"], found["cpu"] / jobs)
            self._with_history[stage.title, row].append(jobs / found["history"])
        stage.clear()

    def _keep(self, stage: Stage, row: str, rate: float, cpu: float) -> None:
        self._rates[stage.title, row].append(rate)
        self._cpu[stage.title, row].append(1e6 * cpu)
        say(f"enqueue  {stage.title}  {row}: {number(rate)}/s")

    def markdown(self, stages: Sequence[Stage]) -> str:
        """Return the tables, one for each store."""
        return "\n\n".join(f"{stage.title}:\n\n{self._table(stage.title)}" for stage in stages)

    def _table(self, title: str) -> str:
        rows = []
        for row, beside in ((ONE, None), (BATCH, None), *WAYS.values()):
            rates, histories = self._rates[title, row], self._with_history.get((title, row))
            rows.append(
                [
                    row,
                    spread(rates),
                    ratio(rates, self._rates[title, beside]) if beside else "",
                    spread(histories) if histories else "",
                    number(median(self._cpu[title, row])),
                ]
            )
        return table(
            ["enqueue", "accepted per s", "of the limit", "per s until history is written", "µs of CPU per job"], rows
        )
