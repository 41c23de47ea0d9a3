"""The master fails over, in an orderly way and by SIGKILL, while jobs are enqueued and run: nothing is lost."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.ledger import LEDGER, runs
from tests.conftest import start_or_skip
from tests.project import TaskProject
from tests.sentinels import Sentinels
from tests.waiting import wait_until

pytestmark = pytest.mark.long

TASKS = """\
import time
from django_cfg_tasks import cron_task, task
from shop.ledger import note

@task
async def mark(number: int):
    note(f"{number} {time.time()}")

@cron_task("* * * * * *")
async def tick():
    note(f"tick {time.time()}")
"""

# Forty jobs a second, one by one and in small heaps, some of them for later. An enqueue that fails would end it.
PRODUCER = """
import itertools, time
from pathlib import Path
from shop.tasks import mark
accepted, slowest = 0, 0.0
while not Path("enough").exists():
    started = time.perf_counter()
    if accepted % 40 < 20:
        mark.using(countdown=1 if accepted % 40 == 7 else None).enqueue(accepted)
        accepted += 1
    else:
        mark.enqueue_many([[accepted + number] for number in range(20)])
        accepted += 20
    took = time.perf_counter() - started
    slowest = max(slowest, took)
    time.sleep(max(0, 0.025 - took))
    if accepted % 40 == 0:
        time.sleep(0.5)
print(f"accepted {accepted} slowest {slowest:.2f}", flush=True)
"""

HISTORY = """
from collections import Counter
from django.db import connection
cursor = connection.cursor()
cursor.execute("SELECT task, status FROM rearq_job")
emit(Counter(":".join(row) for row in cursor.fetchall()))
"""

REPLIES = "from django_cfg_tasks.health import check_health\nemit(check_health().as_dict())"


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with start_or_skip(Sentinels) as sentinels:
        yield sentinels


class Fleet:
    """Two workers, two timers and a producer; the times at which jobs ran are in the ledger."""

    def __init__(self, project: TaskProject) -> None:
        self.project = project
        self.workers = [project.worker("--with-timer", name=f"worker-{number}") for number in range(2)]
        for worker in self.workers:
            worker.wait_for_log("consumes")
        self.producer = project.start_code(PRODUCER, name="producer")
        self.wait_for_runs(since=0.0)

    def ran_at(self) -> list[float]:
        return sorted(float(line.split()[1]) for line in runs(self.project.folder))

    def wait_for_runs(self, since: float, count: int = 100) -> None:
        wait_until(lambda: sum(at > since for at in self.ran_at()) >= count, "jobs run", timeout=60)

    def longest_pause(self, since: float) -> float:
        times = [since, *(at for at in self.ran_at() if at > since)]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def end(self) -> int:
        """Stop the producer; return how many jobs it has got accepted."""
        self.project.write("enough", "")
        return int(self.producer.wait_for_log(r"^accepted (\d+)")[1])


def test_the_master_fails_over_under_load(make_project: Callable[..., TaskProject], sentinels: Sentinels) -> None:
    files = {"shop/ledger.py": LEDGER}
    rearq = {**sentinels.rearq, "lease": 4}
    project = make_project(TASKS, database="postgres", redis_url=rearq.pop("redis_url"), rearq=rearq, files=files)
    fleet = Fleet(project)

    first = sentinels.master()
    began = time.time()
    sentinels.fail_over()
    sentinels.wait_for_other_than(first)
    second = sentinels.master()
    with sentinels.client(second) as redis:
        wait_until(lambda: redis.xinfo_consumers("rearq:queue:default", "rearq")[1:], "both workers have moved on", 20)
    fleet.wait_for_runs(time.time())
    assert fleet.longest_pause(began) < 15

    began = time.time()
    second.kill()
    sentinels.wait_for_other_than(second)
    fleet.wait_for_runs(time.time())
    assert fleet.longest_pause(began) < 30
    second.start()  # with no data, and calling itself the master until the Sentinels hear of it

    accepted = fleet.end()
    wait_until(lambda: len({line.split()[0] for line in runs(project.folder)}) > accepted, "all jobs have run", 90)
    report = project.json(REPLIES)
    assert f"the master is 127.0.0.1:{first.port}." in report["checks"][0]["detail"]
    assert report["healthy"], report
    assert [worker.stop() for worker in fleet.workers] == [0, 0]
    counts = Counter(line.split()[0] for line in runs(project.folder).elements())
    ticks = counts.pop("tick")
    assert counts == {str(number): 1 for number in range(accepted)}
    assert project.json(HISTORY) == {"mark:success": accepted, "tick:success": ticks}
    for process in (*fleet.workers, fleet.producer):
        assert "Traceback" not in process.output
