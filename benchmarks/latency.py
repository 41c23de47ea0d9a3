"""How long a lone job takes from enqueueing to its result in the hands of who waits, with a worker that was idle.

Beside it the limit: its SQL and Redis commands by plain drivers in one process, where nobody has to wake anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from benchmarks import limit
from benchmarks.figures import number, percentile, ratio, spread, table
from benchmarks.stage import Stage, say

SECONDS = 1.0
LIMIT = "limit: its commands alone"
WAYS = {"await": "`await job.result()`", "wait": "`job.wait()`"}
LATENCIES = (
    f"from shop.tasks import nothing\nfrom benchmarks import producer\nemit(producer.latencies(nothing, {SECONDS}))\n"
)


class Latency:
    """The figures of all rounds, and the table of them."""

    def __init__(self) -> None:
        self._medians: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._p95: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._legs: dict[tuple[str, str], list[list[float]]] = defaultdict(list)

    def round(self, stage: Stage) -> None:
        """Measure the limit, then both ways to wait."""
        enqueued = limit.enqueue(stage.url, stage.redis.url, 0.4)
        stage.clear()
        stage.add_waiting(2000)
        ended = limit.run_waiting(stage.url, stage.redis.url, 0.4, 1, history=False)
        stage.clear()
        self._medians[stage.title, LIMIT].append(1000 / enqueued.rate + 1000 / ended.rate)
        with stage.worker():
            found = stage.project.json(LATENCIES, timeout=300)
        for way, jobs in found.items():
            times, row = [sum(legs) for legs in jobs], (stage.title, WAYS[way])
            self._medians[row].append(percentile(times, 50))
            self._p95[row].append(percentile(times, 95))
            self._legs[row].append([percentile(leg, 50) for leg in zip(*jobs, strict=True)])
            say(f"latency  {stage.title}  {WAYS[way]}: {number(percentile(times, 50))} ms, {len(times)} jobs")
        stage.clear()

    def markdown(self, stages: Sequence[Stage]) -> str:
        """Return the table."""
        rows = []
        for title in (stage.title for stage in stages):
            beside = self._medians[title, LIMIT]
            rows.append([f"{title}, {LIMIT}", spread(beside), *[""] * 5])
            for way in WAYS.values():
                medians, legs = self._medians[title, way], zip(*self._legs[title, way], strict=True)
                rows.append(
                    [
                        f"{title}, {way}",
                        spread(medians),
                        spread(self._p95[title, way]),
                        *(number(median(leg)) for leg in legs),
                        ratio(medians, beside),
                    ]
                )
        header = ["latency", "p50, ms", "p95, ms", "until accepted", "until started", "until told", "times the limit"]
        return table(header, rows)
