"""What the demo prints: a line that follows the work, and a summary at its end."""

import sys
from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from django_cfg_tasks.models import TaskLog

from driver.audit import FINAL, Figures

COLUMNS = "{:<20} {:>8} {:>9} {:>6} {:>7} {:>8} {:>8}"
LINE_EVERY = 1.0  # seconds, where the output is no terminal


class Progress:
    """One line that is overwritten in a terminal, and a line each second elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._next = 0.0

    def show(self, seconds: float, now: Figures) -> None:
        waiting = sum(now.jobs.values()) - now.done - now.jobs["in_progress"]
        line = (
            f"{seconds:5.0f} s   orders {now.orders:,}   invoices {now.invoices:,}   mails {now.mails:,}   "
            f"|   jobs: {now.jobs['success']:,} done, {now.jobs['failed']:,} failed, "
            f"{now.jobs['in_progress']:,} running, {waiting:,} waiting"
        )
        if self._terminal:
            print(f"\r\033[K{line}", end="", flush=True)
        elif seconds >= self._next:
            print(line, flush=True)
            self._next = seconds + LINE_EVERY

    def end(self) -> None:
        if self._terminal:
            print()


def print_jobs(logs: Iterable[TaskLog]) -> None:
    """Print how the jobs went, by task, and the ones that failed. Times are those of the last attempt."""
    tasks: dict[str, list[TaskLog]] = defaultdict(list)
    for log in logs:
        tasks[log.task_name].append(log)
    everything = [log for group in tasks.values() for log in group]

    print()
    print(COLUMNS.format("task", "accepted", "succeeded", "failed", "retried", "median", "p95"))
    for name in sorted(tasks):
        print(row(name, tasks[name]))
    print(row("all", everything))

    for status in sorted(FINAL - {"success"}):
        losers = sorted((log for log in everything if log.status == status), key=lambda log: log.job_id)
        if losers:
            print(f"\n{status}:")
        for log in losers:
            args = ", ".join(map(str, log.args))
            print(f"  {log.task_name}({args}) after {log.job_retries} retries: {log.error_message}")


def print_verdict(faults: list[str]) -> None:
    """Print the outcome of the audit."""
    if faults:
        print("\nNot all is well:", *faults, sep="\n  - ")
    else:
        print("\nAll is well: every job that was accepted is final, and all figures agree.")


def row(name: str, logs: list[TaskLog]) -> str:
    durations = sorted(log.duration_ms for log in logs if log.duration_ms is not None)
    return COLUMNS.format(
        name,
        f"{len(logs):,}",
        f"{sum(log.status == 'success' for log in logs):,}",
        f"{sum(log.status == 'failed' for log in logs):,}",
        f"{sum(log.job_retries > 0 for log in logs):,}",
        f"{median(durations):,.0f} ms" if durations else "-",
        f"{durations[len(durations) * 95 // 100]:,} ms" if durations else "-",
    )
