"""``python -m benchmarks.scale``: what becomes of the cost of a job where there is much of something.

Workers on one queue, jobs that wait, history, queues, jobs that a worker has done. On PostgreSQL that does not wait for
the disk. What is compared is measured in turn, and judged by CPU seconds, which neighbours on the machine disturb less
than the clock. A whole run writes the page's section.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.draining import ENDS, UNTOLD, Costs, moment
from benchmarks.engine import servers
from benchmarks.figures import machine, number, ratio, spread, table
from benchmarks.page import write_section
from benchmarks.stage import UNSAFE, Stage, cpu_seconds, queue_name, say
from tests.postgres_server import PostgresServer
from tests.waiting import POLL_SECONDS

TOPICS = ("workers", "backlog", "history", "queues", "memory")
WARM = 2000
"""Jobs that a worker does before its cost is measured."""
DONE_JOBS = """
INSERT INTO rearq_job (task, args, kwargs, job_retry, job_retries, job_retry_after, job_id, enqueue_time, status, queue,
    start_time, options, attempt, deliveries)
SELECT 'nothing', '[0]', '{{}}', 3, 0, 60, 'done-' || n, now() - interval '1 day', 'success', 'default',
    now() - interval '1 day', '{{}}', 1, 0 FROM generate_series(1, {rows}) AS series(n)
"""
DONE_ATTEMPTS = """
INSERT INTO rearq_job_results (worker, success, msg_id, result, start_time, finish_time, job_id, attempt, outcome)
SELECT 'worker', true, '0-0#' || id, 'null', start_time, start_time, id, 1, 'success' FROM rearq_job
"""


COSTS = ["µs of CPU of the worker, per job", "of PostgreSQL", "of Redis", "all, times the first", "jobs per s"]


def costs_table(title: str, found: dict[str, Costs]) -> str:
    """Return a table with a row for each case, compared with the first."""
    first = next(iter(found.values()))
    rows = [
        [row, spread(costs.program), spread(costs.sql), spread(costs.redis), ratio(costs.all, first.all),
         spread(costs.rates)]
        for row, costs in found.items()
    ]  # fmt: skip
    return table([title, *COSTS], rows)


def main() -> None:
    """Measure, print what was found, and write it into the page if it is the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TOPICS, help="measure these, and leave the page as it is")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N", help="whose cost is taken (default: 10000)")
    parser.add_argument("--waiting", nargs="+", type=int, default=[100_000, 1_000_000], metavar="N")
    parser.add_argument("--history", nargs="+", type=int, default=[0, 1_000_000, 5_000_000], metavar="N")
    parser.add_argument("--queues", nargs="+", type=int, default=[1, 8, 64], metavar="N")
    parser.add_argument("--done", nargs="+", type=int, default=[1_000, 10_000, 100_000], metavar="N")
    options = parser.parse_args()
    started = time.monotonic()
    topics = {"workers": workers, "backlog": backlog, "history": history, "queues": queues, "memory": memory}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        postgres = stack.enter_context(PostgresServer(options=UNSAFE))
        texts = [topics[topic](folder, postgres, options) for topic in options.only or TOPICS]
        with Stage(folder / "last", "nofsync", postgres) as stage:
            text = "\n\n".join((machine(servers([stage]), options.rounds), *texts))
    say(f"\n{text}\n\n{time.monotonic() - started:.0f} s")
    if options.only is None:
        write_section("scale", text)


# ---------------------------------------------------------------- one worker's cost


def cost(stage: Stage, found: Costs, jobs: int, queues: int = 1) -> None:
    """Let a worker do some of the jobs that wait, and keep what they cost once it is warm."""
    at_first = stage.waiting(queues)
    arguments = [word for number in range(queues) for word in ("-q", queue_name(number, queues))]
    with stage.worker(*arguments, slots=100) as worker:
        stage.wait_for(lambda: stage.waiting(queues) <= at_first - WARM, "the worker is warm")
        before, began, left = stage.cpu(worker.pid), time.perf_counter(), stage.waiting(queues)
        stage.wait_for(lambda: stage.waiting(queues) <= max(0, at_first - WARM - jobs), "they are done")
        used, seconds, done = stage.cpu(worker.pid) - before, time.perf_counter() - began, left - stage.waiting(queues)
    if done < jobs / 10:  # a worker on a busy machine may be far on when this process looks again
        raise RuntimeError(f"Only {done} jobs were left to measure; take more of them (--jobs).")
    found.add(done, seconds, used)
    say(f"cost  {found.program[-1]:.0f} + {found.sql[-1]:.0f} + {found.redis[-1]:.0f} µs, {found.rates[-1]:.0f}/s")


def backlog(folder: Path, postgres: PostgresServer, options: argparse.Namespace) -> str:
    """Cost of a job while few and very many wait."""
    found: dict[str, Costs] = defaultdict(Costs)
    few = WARM + options.jobs
    with ExitStack() as stack:
        stood = {}
        for waiting in (few, *options.waiting):
            stood[waiting] = stack.enter_context(Stage(folder / f"backlog-{waiting}", "nofsync", postgres))
            if waiting != few:
                began = time.perf_counter()
                # What the measurement takes comes on top, so that so many wait at its end as well.
                stood[waiting].add_waiting(waiting + options.rounds * (few + 2000))
                say(f"backlog  {waiting:,} made in {time.perf_counter() - began:.0f} s")
        for _ in range(options.rounds):
            for waiting, stage in stood.items():
                if waiting == few:
                    stage.clear()
                    stage.add_waiting(few)
                cost(stage, found[f"{waiting:,}" if waiting != few else f"{options.jobs:,} to none"], options.jobs)
    return "### Jobs that wait\n\n" + costs_table("jobs that wait", found)


def history(folder: Path, postgres: PostgresServer, options: argparse.Namespace) -> str:
    """Cost of a job beside rows of jobs that have ended, in all three tables."""
    found: dict[str, Costs] = defaultdict(Costs)
    with ExitStack() as stack:
        stood = {}
        for rows in options.history:
            stage = stood[rows] = stack.enter_context(Stage(folder / f"history-{rows}", "nofsync", postgres))
            if rows:
                began = time.perf_counter()
                stage.project.run(f"from benchmarks.rest import fill\nfill({rows})", timeout=3600)
                stage.execute(DONE_JOBS.format(rows=rows), DONE_ATTEMPTS)
                stage.settle()
                say(f"history  {rows:,} made in {time.perf_counter() - began:.0f} s")
        for _ in range(options.rounds):
            for rows, stage in stood.items():
                stage.add_waiting(WARM + options.jobs)
                cost(stage, found[f"{rows:,}"], options.jobs)
    return "### History\n\n" + costs_table("jobs that have ended", found)


def queues(folder: Path, postgres: PostgresServer, options: argparse.Namespace) -> str:
    """Cost of a job where the worker consumes several queues and jobs wait in all of them."""
    found: dict[str, Costs] = defaultdict(Costs)
    with Stage(folder / "queues", "nofsync", postgres) as stage:
        for _ in range(options.rounds):
            for many in options.queues:
                stage.clear()
                stage.add_waiting(WARM + options.jobs, queues=many)
                cost(stage, found[f"{many}"], options.jobs, many)
    return "### Queues\n\n" + costs_table("queues of one worker", found)


def memory(folder: Path, postgres: PostgresServer, options: argparse.Namespace) -> str:
    """Memory of a worker after it has done ever more jobs, at rest."""
    rows, first, done = [], 0.0, 0
    with Stage(folder / "memory", "nofsync", postgres) as stage, stage.worker(slots=100) as worker:
        process = psutil.Process(worker.pid)
        for jobs in options.done:
            stage.add_waiting(jobs - done)
            done, peak = jobs, 0.0
            while stage.waiting():
                peak = max(peak, process.memory_info().rss / 1e6)
                time.sleep(POLL_SECONDS)
            stage.wait_for(lambda: not stage.execute(UNTOLD)[0][0], "history is complete")
            size = process.memory_info().rss / 1e6
            first = first or size
            rows.append([f"{jobs:,}", f"{size:.1f}", f"{size - first:+.1f}", f"{max(peak, size):.1f}"])
            say(f"memory  {jobs:,} jobs: {size:.1f} MB")
    return "### Memory\n\n" + table(["jobs that a worker has done", "MB", "more than the first", "MB at most"], rows)


# ---------------------------------------------------------------- several workers


def workers(folder: Path, postgres: PostgresServer, options: argparse.Namespace) -> str:
    """Workers on one queue: what each gets, and what they do together."""
    rows = []
    with Stage(folder / "workers", "nofsync", postgres) as stage:
        for task, jobs, title in (
            ("nothing", 2 * options.jobs, "nothing"),
            ("waits_50_ms", options.jobs // 5, "50 ms of waiting"),
        ):
            rows += [_shared(stage, task, jobs, title, many) for many in (1, 2, 4)]
    header = ["workers, 10 jobs at once each", "jobs per s", "share of each, % of an even one"]
    return "### Workers on one queue\n\n" + table(
        [*header, "not acknowledged by one, at most", "µs of CPU of the workers, per job"], rows
    )


def _shared(stage: Stage, task: str, jobs: int, title: str, many: int) -> list[str]:
    stage.clear()
    held: dict[str, int] = {}
    with ExitStack() as stack:
        started = [stack.enter_context(stage.worker(name=f"worker-{number}")) for number in range(many)]
        before = sum(cpu_seconds(worker.pid) for worker in started)
        stage.add_waiting(jobs, task)
        while stage.waiting():
            for consumer, entries in stage.held().items():
                held[consumer] = max(held.get(consumer, 0), entries)
            time.sleep(POLL_SECONDS)
        used = sum(cpu_seconds(worker.pid) for worker in started) - before
    [[first, last, done]] = stage.execute(ENDS)
    by_worker = stage.execute("SELECT count(*) FROM rearq_job_results GROUP BY worker ORDER BY 1")
    shares = [100 * many * share / done for (share,) in by_worker] + [0.0] * (many - len(by_worker))
    rate = done / (moment(last) - moment(first))
    shown = _between(shares)
    say(f"workers  {many}, {title}: {rate:.0f}/s, shares {shown}, held {sorted(held.values())}")
    return [f"{many}, {title}", number(rate), shown, str(max(held.values())), number(1e6 * used / done)]


def _between(values: Sequence[float]) -> str:
    least, most = f"{min(values):.0f}", f"{max(values):.0f}"
    return least if least == most else f"{least} to {most}"


if __name__ == "__main__":
    main()
