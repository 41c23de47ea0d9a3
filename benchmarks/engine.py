"""``python -m benchmarks.engine``: the engine against itself, and against the limit of its servers.

Rounds in turn: each round measures everything once on each store, what is compared side by side. A whole run writes
the page's section; what ``--only`` or ``--stores`` narrows down is printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from benchmarks import weight
from benchmarks.draining import Draining
from benchmarks.enqueueing import Enqueueing
from benchmarks.figures import machine
from benchmarks.latency import Latency
from benchmarks.page import write_section
from benchmarks.stage import DEFAULTS, STORES, UNSAFE, Stage, say
from tests.postgres_server import PostgresServer

TOPICS = ("enqueue", "drain", "latency", "weight")
USUAL = ("nofsync", "postgres", "sqlite")


def main() -> None:
    """Measure, print what was found, and write it into the page if it is the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TOPICS, help="measure these, and leave the page as it is")
    parser.add_argument("--stores", nargs="+", choices=STORES, help=f"default: {' '.join(USUAL)}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N", help="jobs of one drain (default: 10000)")
    options = parser.parse_args()
    started = time.monotonic()
    with stages(options.stores or USUAL) as stood:
        text = measure(stood, options.only or TOPICS, options.rounds, options.jobs)
        text = f"{machine(servers(stood), options.rounds)}\n\n{text}"
    say(f"\n{text}\n\n{time.monotonic() - started:.0f} s")
    if options.only is None and options.stores is None:
        write_section("bench", text)


def measure(stages: Sequence[Stage], topics: Sequence[str], rounds: int, jobs: int) -> str:
    """Measure the topics in turn, round by round; return their tables."""
    measured = {"enqueue": Enqueueing(), "drain": Draining(jobs), "latency": Latency()}
    chosen = {topic: measured[topic] for topic in topics if topic in measured}
    for _ in range(rounds):
        for stage in stages:
            for figures in chosen.values():
                figures.round(stage)
    texts = {topic: figures.markdown(stages) for topic, figures in chosen.items()}
    if "weight" in topics:
        texts["weight"] = weight.measure(next((s for s in stages if s.store == "nofsync"), stages[0]), rounds)
    return "\n\n".join(f"### {topic.capitalize()}\n\n{text}" for topic, text in texts.items())


@contextmanager
def stages(stores: Sequence[str]) -> Iterator[list[Stage]]:
    """Start what the stores need: a stage each, with a Redis and a database of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        stood = []
        for store in stores:
            server = None
            if store in ("postgres", "nofsync"):
                server = stack.enter_context(PostgresServer(options=DEFAULTS if store == "postgres" else UNSAFE))
            stood.append(stack.enter_context(Stage(folder / store, store, server)))
        yield stood


def servers(stages: Sequence[Stage]) -> list[str]:
    """Return the servers' names and versions."""
    import sqlite3

    found = []
    for stage in stages:
        if stage.postgres is not None:
            [[version]] = stage.execute("SHOW server_version")
            found.append(f"PostgreSQL {version.split()[0]}")
        else:
            found.append(f"SQLite {sqlite3.sqlite_version}")
    with redis.Redis.from_url(stages[0].redis.url, decode_responses=True) as client:
        found.append(f"Redis {client.info('server')['redis_version']} without persistence")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    main()
