"""``python -m benchmarks.space``: what jobs take of PostgreSQL and Redis, and what processes take where no job runs.

A hundred thousand jobs at a time go through the real engine, on PostgreSQL that does not wait for the disk: bytes of
tables, indexes and write-ahead log, memory of Redis, connections, commands, the pace of retention and of the sweeper.
These depend on the machine far less than jobs per second do. A whole run writes its section of the page on scaling.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import redis

from benchmarks.draining import UNTOLD
from benchmarks.engine import servers
from benchmarks.figures import machine, number, spread, table
from benchmarks.page import SCALING, write_section
from benchmarks.stage import UNSAFE, Stage, say
from tests.postgres_server import PostgresServer
from tests.waiting import wait_until

TASKS = """\
import asyncio
from django_cfg_tasks import task

@task
async def charge(order_id: int, email: str, cents: int) -> dict:
    return {"paid": cents, "reference": f"ch_{order_id:024d}"}

@task
async def nothing(number: int) -> None:
    pass

@task(run_with_lock=True)
async def alone(number: int) -> None:
    await asyncio.sleep(600)
"""
CALLS = '[[number, f"customer-{number}@example.com", 990] for number in range(start, start + 1000)]'
TABLES = ("rearq_job", "rearq_job_results", "django_cfg_task_log")
IDLE_SECONDS = 30
LEASE_SECONDS = 30
SIZES = "SELECT pg_table_size('{0}'), pg_indexes_size('{0}')"


def main() -> None:
    """Measure, print what was found, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N", help="of one round (default: 100000)")
    parser.add_argument("--peers", type=int, default=1_000, metavar="N", help="workers to stand beside one")
    parser.add_argument("--dry", action="store_true", help="leave the page as it is")
    options = parser.parse_args()
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="space-") as folder,
        PostgresServer(options=UNSAFE) as postgres,
        Stage(Path(folder) / "space", "nofsync", postgres) as stage,
    ):
        stage.project.write("shop/tasks.py", TASKS)
        texts = [
            rows(stage, options.rounds, options.jobs),
            memory(stage, options.jobs // 10),
            sweep(stage, options.jobs),
        ]
        texts += [processes(stage), peers(stage, options.peers)]
        text = "\n\n".join((machine(servers([stage]), options.rounds), *texts))
    say(f"\n{text}\n\n{time.monotonic() - started:.0f} s")
    if not options.dry:
        write_section("space", text, SCALING)


# ---------------------------------------------------------------- what a job takes


def rows(stage: Stage, rounds: int, jobs: int) -> str:
    """Bytes of a job in each table, and what is written for it from its enqueueing to its deletion."""
    bytes_of: dict[str, list[float]] = {}
    acts: dict[str, list[list[float]]] = {"enqueue": [], "run": [], "delete": []}
    for turn in range(rounds):
        before = sizes(stage)
        with act(stage, jobs, acts["enqueue"]):
            enqueue(stage, jobs)
        with act(stage, jobs, acts["run"]), stage.worker("--with-timer", slots=20):
            stage.wait_for(lambda: not stage.waiting() and not stage.execute(UNTOLD)[0][0], "all are done and told")
        stage.settle()
        for name, grown in sizes(stage).items():
            bytes_of.setdefault(name, []).append((grown - before[name]) / jobs)
        say(f"rows  round {turn + 1} of {rounds}")
    with act(stage, jobs * rounds, acts["delete"]):
        output = stage.project.run(
            "import datetime as dt\nfrom django_cfg_tasks import get_rearq_client\n"
            "from django_cfg_tasks.retention import purge\n"
            "import time\nbegan = time.perf_counter()\n"
            "report = purge(get_rearq_client(), dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))\n"
            f"assert report.jobs == {jobs * rounds}, report\nprint(time.perf_counter() - began)\n",
            timeout=3600,
        )
    stage.settle()
    # Where rows die and others come, as in a life's middle: the first round fills new files, the others reuse space.
    later = {name: found[1:] or found for name, found in bytes_of.items()}
    shown = [[f"`{name}`", spread(later[f"{name} rows"]), spread(later[f"{name} indexes"])] for name in TABLES]
    total = [f"{number(sum(median(later[f'{name} {part}']) for name in TABLES))}" for part in ("rows", "indexes")]
    shown.append(["all", *total])
    work = [[what, *(spread([found[part] for found in acts[what]]) for part in range(3))] for what in acts]
    return "\n\n".join((
        "### What a job takes on the disk",
        table(["bytes per job that has ended", "rows", "indexes"], shown),
        "### What is written for it",
        table(
            ["of a job", "bytes of write-ahead log", "rows written", "µs of CPU of PostgreSQL"], work
        ),
        f"Retention deleted {number(jobs * rounds / float(output.split()[-1]))} jobs per second, pauses included.",
    ))  # fmt: skip


def enqueue(stage: Stage, jobs: int, using: str = "") -> None:
    """Let a process of the project enqueue, by 1,000, until the history of all is written."""
    stage.project.run(
        "from shop.tasks import charge\nfrom django_cfg_tasks.recorder import recorder\n"
        f"for start in range(0, {jobs}, 1000):\n"
        f"    charge{using}.enqueue_many({CALLS})\n    assert recorder.flush(60)\n",
        timeout=3600,
    )


@contextmanager
def act(stage: Stage, jobs: int, found: list[list[float]]) -> Iterator[None]:
    """Note what PostgreSQL did for each job meanwhile."""
    [[at]] = stage.execute("SELECT pg_current_wal_lsn()")
    writes, cpu = written(stage), stage.cpu().sql
    yield
    [[log]] = stage.execute(f"SELECT pg_current_wal_lsn() - '{at}'::pg_lsn")
    used = 1e6 * (stage.cpu().sql - cpu) / jobs
    found.append([float(log) / jobs, (written(stage) - writes) / jobs, used])


def written(stage: Stage) -> int:
    """Return how many rows of the three tables were inserted, updated or deleted so far."""
    time.sleep(1.5)  # a session tells of its rows once a second
    names = ", ".join(f"'{name}'" for name in TABLES)
    [[count]] = stage.execute(
        f"SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ({names})"  # noqa: S608
    )
    return int(count)


def sizes(stage: Stage) -> dict[str, int]:
    """Return the bytes of each table and of its indexes."""
    found = {}
    for name in TABLES:
        [[heap, indexes]] = stage.execute(SIZES.format(name))
        found |= {f"{name} rows": int(heap), f"{name} indexes": int(indexes)}
    return found


@contextmanager
def memory_of(stage: Stage, jobs: int, found: list[float]) -> Iterator[None]:
    """Note by how much Redis has grown for each job."""
    before = _info(stage, "memory")["used_memory"]
    yield
    found.append((_info(stage, "memory")["used_memory"] - before) / jobs)


def memory(stage: Stage, jobs: int) -> str:
    """Memory of Redis of a job that waits, in each of the places where it may."""
    shown = []
    for where, make in {
        "a stream: it is due": lambda: enqueue(stage, jobs),
        "a delayed set: it is due later": lambda: enqueue(stage, jobs, ".using(countdown=36_000)"),
        "a line in front of a gate": lambda: _stand_in_line(stage, jobs),
    }.items():
        stage.clear()
        found: list[float] = []
        with memory_of(stage, jobs, found):
            make()
        shown.append([where, number(found[0])])
        say(f"memory  {where}: {found[0]:.0f} B")
    stage.processes.kill_all()
    return "### What a job that waits takes of Redis\n\n" + table(["a job waits in", "bytes"], shown)


def _stand_in_line(stage: Stage, jobs: int) -> None:
    stage.project.run(
        f"from shop.tasks import alone\nalone.enqueue_many([number] for number in range({jobs}))\n", timeout=600
    )
    stage.project.worker(name="worker of the line")
    stage.wait_for(lambda: stage.waiting() <= 1, "they stand in line")


# ---------------------------------------------------------------- what runs beside the jobs


def sweep(stage: Stage, jobs: int) -> str:
    """One look of the sweeper over jobs that all wait as they should."""
    stage.clear()
    stage.add_waiting(jobs)
    output = stage.project.run(
        "import asyncio, json, resource, time\nfrom django_cfg_tasks import get_rearq_client\n"
        "from django_cfg_tasks.worker.sweeper import Sweeper\nclient = get_rearq_client()\n"
        "client.call(client.broker.create_groups(['default'], 'rearq'), '')\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000\nbefore = peak()\n"
        "began, cpu = time.perf_counter(), time.process_time()\n"
        "assert client.call(Sweeper(client).sweep(), '') == 0\n"
        "print(json.dumps([time.perf_counter() - began, time.process_time() - cpu, peak() - before]))\n",
        timeout=600,
    )
    seconds, cpu, grown = json.loads(output.strip().splitlines()[-1])
    shown = [[f"{jobs:,}", number(seconds), number(cpu), number(grown)]]
    return "### What a look of the sweeper takes\n\n" + table(
        ["jobs that wait", "s", "s of CPU of the timer", "MB of memory"], shown
    )


def processes(stage: Stage) -> str:
    """Connections of each kind of process, and what it asks for while nothing happens."""
    shown = []
    starts: dict[str, Callable[[], object]] = {
        "worker": lambda: stage.project.worker(env={"MAX_JOBS": "20"}),
        "timer": stage.project.timer,
    }
    stage.clear()
    alone, began = _cpu(stage), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    by_itself = (_cpu(stage) - alone) / (time.perf_counter() - began)
    for name, start in starts.items():
        stage.clear()
        start()
        wait_until(lambda: _clients(stage), f"the {name} is connected", timeout=60)
        time.sleep(3)
        idle = connections(stage)
        before, cpu = _commands(stage), _cpu(stage)
        time.sleep(IDLE_SECONDS)
        asked = (_commands(stage) - before) / IDLE_SECONDS
        used = 100 * ((_cpu(stage) - cpu) / IDLE_SECONDS - by_itself)
        busy = _while_draining(stage) if name == "worker" else idle
        shown.append([name, f"{idle[0]}, {busy[0]}", f"{idle[1]}, {busy[1]}", number(asked), number(used)])
        stage.processes.kill_all()
        say(f"processes  {shown[-1]}")
    stage.clear()
    many = _while_enqueueing(stage)
    shown.append(["a process that enqueues, in 50 threads", f"{many[0]}", f"{many[1]}", "", ""])
    return "### What a process takes\n\n" + table(
        [
            "process", "connections to PostgreSQL, idle and busy", "to Redis", "commands to Redis per s, idle",
            "% of a core of Redis, idle",
        ],
        shown,
    )  # fmt: skip


def connections(stage: Stage) -> tuple[int, int]:
    """Return how many are open to PostgreSQL and to Redis, but for ours."""
    [[sql]] = stage.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return int(sql), _clients(stage)


def _while_draining(stage: Stage) -> tuple[int, int]:
    stage.add_waiting(50_000)
    most = (0, 0)
    while stage.waiting():
        now = connections(stage)
        most = max(most[0], now[0]), max(most[1], now[1])
    return most


def _while_enqueueing(stage: Stage) -> tuple[int, int]:
    process = stage.project.start_code(
        "from concurrent.futures import ThreadPoolExecutor\nfrom shop.tasks import charge\n"
        "with ThreadPoolExecutor(50) as pool:\n"
        "    list(pool.map(lambda number: charge.enqueue(number, 'a@example.com', 990), range(20_000)))\n",
        name="threads",
    )
    most = (0, 0)
    while process.running:
        now = connections(stage)
        most = max(most[0], now[0]), max(most[1], now[1])
    return most


def peers(stage: Stage, many: int) -> str:
    """What an idle worker's looks for dead ones cost Redis beside few and beside many others, which live."""
    shown = []
    for others in (1, many):
        stage.clear()
        _stand_beside(stage, others)
        with stage.worker():
            # At first nobody may be called dead, so nobody is looked for.
            stage.wait_for(lambda: not _in_grace(stage), "all have had the time to give a sign of life")
            before = _info(stage, "commandstats")["cmdstat_evalsha"]
            time.sleep(LEASE_SECONDS)
            after = _info(stage, "commandstats")["cmdstat_evalsha"]
        used, scripts = after["usec"] - before["usec"], after["calls"] - before["calls"]
        shown.append([f"{others:,}", number(scripts / LEASE_SECONDS), number(used / LEASE_SECONDS)])
        say(f"peers  {shown[-1]}")
    return "### What a worker costs Redis beside others\n\n" + table(
        ["others in the group", "scripts of one idle worker per s", "µs of Redis for them, per s"], shown
    )


def _in_grace(stage: Stage) -> bool:
    with redis.Redis.from_url(stage.redis.url) as client:
        return bool(client.exists("rearq:grace"))


def _stand_beside(stage: Stage, others: int) -> None:
    with redis.Redis.from_url(stage.redis.url) as client, client.pipeline(transaction=False) as pipe:
        for queue in ("default", "default:next"):
            pipe.xgroup_create(f"rearq:queue:{queue}", "rearq", id="0", mkstream=True)
            for peer in range(others):
                pipe.xgroup_createconsumer(f"rearq:queue:{queue}", "rearq", f"host-{peer}")
        for peer in range(others):
            pipe.set(f"rearq:alive:rearq-host-{peer}", "1", ex=600)
        pipe.execute()


# ---------------------------------------------------------------- asking Redis


def _info(stage: Stage, section: str) -> dict[str, Any]:
    with redis.Redis.from_url(stage.redis.url) as client:
        found: dict[str, Any] = client.info(section)
        return found


def _cpu(stage: Stage) -> float:
    """Return the CPU seconds of Redis, as it knows them itself: finer than the system's clock ticks."""
    found = _info(stage, "cpu")
    return float(found["used_cpu_sys"]) + float(found["used_cpu_user"])


def _commands(stage: Stage) -> int:
    """Return how many commands Redis was sent, but for those that ask it so, and those inside of scripts."""
    found = _info(stage, "commandstats")
    sent = ("evalsha", "xreadgroup", "get", "set", "ping", "subscribe", "publish", "exists", "hset", "zrangebyscore")
    return sum(found[f"cmdstat_{name}"]["calls"] for name in sent if f"cmdstat_{name}" in found)


def _clients(stage: Stage) -> int:
    with redis.Redis.from_url(stage.redis.url) as client:
        listed: Sequence[dict[str, str]] = client.client_list()
        ours = {client.client_id()}
        return sum(1 for each in listed if int(each["id"]) not in ours) - _STAGE_CLIENTS


_STAGE_CLIENTS = 1
"""The stage's own connection."""


if __name__ == "__main__":
    main()
