"""Writes what was measured as Markdown: the table, the ratios, and how and where it was measured."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.peers.catalogue import Row
from benchmarks.peers.measure import Figures

Rounds = Sequence[Figures | None]
"""A row's figures by round; None where it was not measured."""

HEAD = """\
| | enqueue one by one, jobs/s | by 100 at once | in bulk | drain, 10 at a time, jobs/s | 100 at a time \
| result after, p50 / p95 ms | worker, MB | keeps after the job |
|---|--:|--:|--:|--:|--:|--:|--:|---|"""

HOW = """\
Jobs are calls of a function that does nothing: a coroutine where the library runs coroutines itself, else a plain one.
Medians of the rounds; ± is half the distance from the least to the most. All rows are measured in turn, in each round
anew: an emptied Redis, a new database, a new worker.

- *Enqueue*: until the call has returned, by one process: one call after another; 100 callers at once (coroutines, else
  threads), each with one call after another; in calls that take 1,000 jobs, where the library has one (— if not).
- *Drain*: one worker with all of these jobs waiting. The clock runs from the begin of its first job, so its start does
  not count, to when the library has noted the last one: acknowledged or removed, its outcome stored. One figure for
  both where the worker's width is not a number of jobs.
- *Result after*: an idle worker, one job at a time, a random pause in between: from before the call that enqueues until
  the producer knows of the end, in the library's own way; up to 200 jobs, or as many as fit in 6 s.
- *Worker*: memory (RSS) of its processes after the first drain; pages that they share count in each.
- Lines in the log for each job are switched off for all. Servers and processes share the machine's cores."""


def show(rows: Sequence[Row], rounds: Mapping[str, Rounds], failures: Mapping[str, str]) -> str:
    """Return the table: a line for each row, that of a failed one says so."""
    return "\n".join([HEAD, *(_line(row, rounds[row.key], failures.get(row.key, "")) for row in rows)])


def _line(row: Row, rounds: Rounds, failure: str) -> str:
    found = [figures for figures in rounds if figures is not None]
    failure = " ".join(failure.replace("|", "/").split())[:160]
    if not found:
        return f"| {row.title} | failed: {failure} |" + " |" * 6 + f" {row.keeps} |"
    drain_100 = row.fixed and f"({row.fixed})"
    cells = [
        row.title + (f" (failed in a round: {failure})" if failure else ""),
        _rate(figures.one for figures in found),
        _rate(figures.at_once for figures in found),
        _rate(figures.bulk for figures in found),
        _rate(figures.drain_10 for figures in found),
        drain_100 or _rate(figures.drain_100 for figures in found),
        f"{_ms(figures.p50 for figures in found)} / {_ms(figures.p95 for figures in found)}",
        f"{statistics.median(figures.megabytes for figures in found):.0f}",
        row.keeps,
    ]
    return f"| {' | '.join(cells)} |"


def _rate(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "—"
    middle = statistics.median(known)
    spread = f" ±{(max(known) - min(known)) / 2 / middle:.0%}" if len(known) > 1 else ""
    return f"{middle:,.0f}{spread}"


def _ms(values: Iterable[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:.1f}" if middle < 100 else f"{middle:,.0f}"


RATIOS: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("enqueue one by one", lambda figures: figures.one),
    ("enqueue by 100 at once", lambda figures: figures.at_once),
    ("enqueue in bulk", lambda figures: figures.bulk),
    ("drain, 10 at a time", lambda figures: figures.drain_10),
    ("drain, 100 at a time", lambda figures: figures.drain_100),
)
PAIRS = (
    ("ours-postgres", "dramatiq"),
    ("ours-postgres", "rearq-postgres"),
    ("ours-sqlite", "dramatiq"),
    ("ours-sqlite", "rearq-sqlite"),
)


def ratios(rows: Sequence[Row], rounds: Mapping[str, Rounds]) -> str:
    """Return how many times a peer's rates ours are: by round, where both were measured, and of these the median.

    What disturbs a machine for minutes disturbs both of a pair, so these hold where the table's rates don't.
    """
    titles = {row.key: row.title.replace("*", "") for row in rows}
    lines = []
    for ours, peer in PAIRS:
        if ours not in rounds or peer not in rounds:
            continue
        cells = [_ratio(rounds[ours], rounds[peer], figure) for _, figure in RATIOS]
        if any(cell != "—" for cell in cells):
            lines.append(f"| {titles[ours]}, to {titles[peer]} | {' | '.join(cells)} |")
    best = _best_bulk(rows, rounds)
    if best and "ours-postgres" in rounds:
        bulk = _ratio(rounds["ours-postgres"], rounds[best], lambda figures: figures.bulk)
        lines.append(f"| {titles['ours-postgres']}, to the best in bulk, {titles[best]} | — | — | {bulk} | — | — |")
    if not lines:
        return ""
    head = f"| as a multiple | {' | '.join(name for name, _ in RATIOS)} |"
    return "\n".join([head, "|---|" + "--:|" * len(RATIOS), *lines])


def _ratio(ours: Rounds, peer: Rounds, figure: Callable[[Figures], float | None]) -> str:
    found = []
    for one, other in zip(ours, peer, strict=True):
        above, below = (figure(one), figure(other)) if one and other else (None, None)
        if above and below:
            found.append(above / below)
    if not found:
        return "—"
    spread = f" ({min(found):.2f}–{max(found):.2f})" if len(found) > 1 else ""  # noqa: RUF001
    return f"{statistics.median(found):.2f}{spread}"


def _best_bulk(rows: Sequence[Row], rounds: Mapping[str, Rounds]) -> str | None:
    medians = {}
    for row in rows:
        known = [figures.bulk for figures in rounds[row.key] if figures and figures.bulk]
        if known and not row.ours:
            medians[row.key] = statistics.median(known)
    return max(medians, key=lambda key: medians[key]) if medians else None


def settings(rows: Sequence[Row], rounds: Mapping[str, Rounds], versions: Mapping[str, Mapping[str, str]]) -> str:
    """Return a line for each row: how many jobs, which versions, what is set."""
    lines = []
    for row in rows:
        found = [figures for figures in rounds[row.key] if figures is not None]
        jobs = f"{found[-1].jobs:,} jobs; " if found else ""
        known = ", ".join(f"{name} {version}" for name, version in versions.get(row.key, {}).items())
        lines.append(f"- {row.title.replace('*', '')}: {jobs}{known or 'not installed'}. {row.settings}.")
    return "\n".join(lines)


def machine(servers: str, rounds: int) -> str:
    """Return one paragraph: when, on what, with which servers."""
    memory = psutil.virtual_memory().total / 1e9
    load = os.getloadavg()[0]
    return (
        f"Measured on {dt.datetime.now(dt.UTC):%Y-%m-%d}: {rounds} round{'s' if rounds > 1 else ''}, {_processor()},"
        f" {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}, {servers};"
        f" load at the start {load:.1f}."
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
