"""``python -m benchmarks.lateness``: how long after their due times jobs start.

Cron: firings of a task that runs each second. Delays: jobs that become due one after another, while many more wait for
tomorrow, in one delayed set and in eight. One worker, one timer, PostgreSQL; the function's own clock is read.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

from tests.postgres_server import PostgresServer
from tests.processes import Processes
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
SPACING = 0.1
TASKS = """\
import time
from django_cfg_tasks import cron_task, task

@cron_task("* * * * * *")
async def each_second():
    return time.time()

@task
async def late():
    return time.time()
"""
FIRINGS = """\
from django_cfg_tasks import get_rearq_client
emit([(job.job_id, job.result) for job in get_rearq_client().read_records(0, 10_000) if job.result is not None])
"""
WAITING = """\
from shop.tasks import late
for start in range(0, {waiting}, 5000):
    late.using(countdown=86_400).enqueue_many([()] * min(5000, {waiting} - start))
"""
DELAYED = """\
from shop.tasks import late
jobs = [late.using(countdown=2 + number * {spacing}).enqueue() for number in range({jobs})]
emit([job.wait(timeout=60 + {jobs} * {spacing}).result - job.due_time.timestamp() for job in jobs])
"""


def main() -> None:
    """Measure, and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--firings", type=int, default=60, metavar="N", help="firings of the cron task (default: 60)")
    parser.add_argument("--jobs", type=int, default=300, metavar="N", help="delayed jobs to measure (default: 300)")
    parser.add_argument("--waiting", type=int, default=50_000, metavar="N", help="jobs that wait (default: 50000)")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory(prefix="lateness-") as folder:
        postgres = PostgresServer().start()
        try:
            cron(Path(folder), postgres, options.firings)
            for shards in (1, 8):
                delays(Path(folder), postgres, shards, options.waiting, options.jobs)
        finally:
            postgres.close()


def cron(folder: Path, postgres: PostgresServer, firings: int) -> None:
    """Let a cron task run each second, and measure all but its first two firings."""
    with Scene(folder / "cron", postgres, "cron", 1) as scene:
        scene.timer.wait_for_log("Cron: each_second, due", timeout=firings + 60, count=firings + 2)
        wait_until(lambda: len(scene.project.json(FIRINGS)) >= firings + 2, "all are run", 30)
        found = sorted(scene.project.json(FIRINGS))[2 : firings + 2]
        late = [at - dt.datetime.fromisoformat(job_id.split(":", 2)[2]).timestamp() for job_id, at in found]
        show(f"cron, {firings} firings", late, scene.timer_load())


def delays(folder: Path, postgres: PostgresServer, shards: int, waiting: int, jobs: int) -> None:
    """Let jobs become due one after another while others wait."""
    with Scene(folder / f"delays-{shards}", postgres, f"delays_{shards}", shards, cron=False) as scene:
        scene.project.run(WAITING.format(waiting=waiting), timeout=600)
        scene.reset_load()
        late = scene.project.json(DELAYED.format(jobs=jobs, spacing=SPACING), timeout=120 + jobs * SPACING)
        show(f"delays, {jobs} jobs, {waiting} waiting in {shards} set(s)", late, scene.timer_load())


def show(what: str, seconds: Sequence[float], load: float) -> None:
    """Print the lateness in ms, and the timer's share of one core."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    median, p95, most = (f"{1000 * value:.0f} ms" for value in (cuts[49], cuts[94], max(seconds)))
    sys.stdout.write(f"{what}: median {median}, p95 {p95}, max {most}; the timer used {load:.1%} of a core\n")
    sys.stdout.flush()


class Scene:
    """A Redis, a database, a migrated project, and a worker and a timer that run."""

    def __init__(
        self, folder: Path, postgres: PostgresServer, database: str, shards: int, *, cron: bool = True
    ) -> None:
        folder.mkdir()
        self.redis = RedisServer().start()
        self.processes = Processes(folder)
        postgres.create_database(database)
        self.project = TaskProject(
            folder,
            self.processes,
            tasks=TASKS if cron else TASKS.replace('"* * * * * *"', '"0 0 1 1 *"'),
            databases={"default": postgres.django(database)},
            tasks_config={"rearq": {"redis_url": self.redis.url, "delay_queue_num": shards}},
        )

    def __enter__(self) -> Self:
        self.project.manage("migrate", "--verbosity=0")
        self.worker, self.timer = self.project.worker(), self.project.timer()
        self.worker.wait_for_log("consumes ")
        self.timer.wait_for_log("leads")
        self.reset_load()
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.kill_all()
        self.redis.close()

    def reset_load(self) -> None:
        """Begin to measure what the timer costs."""
        self._timer = psutil.Process(self.timer.pid)
        self._timer.cpu_percent()

    def timer_load(self) -> float:
        """Return the timer's share of one core since `reset_load`."""
        return self._timer.cpu_percent() / 100


if __name__ == "__main__":
    main()
