"""From measured values to what a page shows: medians and spread, ratios of what was measured in turn, tables."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import statistics
import tempfile
import textwrap
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

PACKAGES = ("django", "rearq", "tortoise-orm", "asyncpg", "redis", "hiredis", "uvloop")


def number(value: float) -> str:
    """Write a value so that it can be read: three digits that count, thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """Write the median, and the least and the most where there are more."""
    middle = f"{number(statistics.median(values))}{unit}"
    if len(values) < 2:
        return middle
    return f"{middle} ({number(min(values))} to {number(max(values))})"


def ratio(values: Sequence[float], others: Sequence[float]) -> str:
    """Write how many times the others a value is: the median over rounds, as each round has neighbours of its own."""
    return f"{statistics.median(mine / other for mine, other in zip(values, others, strict=True)):.2f}"


def percentile(values: Sequence[float], percent: int) -> float:
    """Return what ``percent`` of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, figures to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(servers: Sequence[str], rounds: int) -> str:
    """Say in short lines what was measured on, and how often: machine, interpreter, servers, drivers, the disk."""
    versions = [f"{name} {version}" for name in PACKAGES if (version := _version(name))]
    return textwrap.fill(
        f"{dt.datetime.now(dt.UTC):%d %B %Y}. {_cpu()}, {os.cpu_count()} cores, {platform.system()}; Python "
        f"{platform.python_version()}; {', '.join(servers)}; {', '.join(versions)}. A write that waits for this disk "
        f"(fsync of 8 kB) takes {number(fsync_ms())} ms. Load of the machine at the end: {os.getloadavg()[0]:.1f}. "
        f"Median of {rounds} rounds, in brackets the least and the most.",
        width=110,
        break_long_words=False,
    )


def fsync_ms(times: int = 30) -> float:
    """Return how long the disk under the temporary folder takes for a small durable write; the median."""
    found = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(b"x" * 8192)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            found.append(1000 * (time.perf_counter() - started))
    return statistics.median(found)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
