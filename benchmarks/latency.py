"""How long a lone job takes from enqueueing to its result in the hands of who waits, with a worker that was idle.

Beside it the limit: its SQL and Redis commands by plain drivers in one process, where nobody has to wake anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

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
        for way, times in found.items():
            self._medians[stage.title, WAYS[way]].append(percentile(times, 50))
            self._p95[stage.title, WAYS[way]].append(percentile(times, 95))
            say(f"latency  {stage.title}  {WAYS[way]}: {number(percentile(times, 50))} ms, {len(times)} jobs")
        stage.clear()

    def markdown(self, stages: Sequence[Stage]) -> str:
        """Return the table."""
        rows = []
        for title in (stage.title for stage in stages):
            beside = self._medians[title, LIMIT]
            rows.append([f"{title}, {LIMIT}", spread(beside), "", ""])
            for way in WAYS.values():
                medians = self._medians[title, way]
                rows.append([f"{title}, {way}", spread(medians), spread(self._p95[title, way]), ratio(medians, beside)])
        return table(["latency", "p50, ms", "p95, ms", "p50, times the limit"], rows)
