"""``python -m benchmarks.peers``: this project beside other task queues, as a section of the page on performance.

One Redis and one PostgreSQL are started for the run; SQLite is a file in a temporary folder. PostgreSQL does not wait
for the disk (``fsync=off``), which favours those who commit each job by itself. In each round every row is measured in
turn, with an emptied Redis and a new database, so what disturbs the machine for a while disturbs all.

A row's round: (1) tables are made; (2) jobs are enqueued by one process, timed: a fifth of them one by one, two fifths
by 100 callers at once, two fifths in calls of 1,000; (3) a worker is started, and timed by the task itself from the
begin of the first job, and by the producer's side to when all runs are counted and the library has noted the last
one; (4) its memory is read; (5) jobs are enqueued one at a time, each timed until its result is known; (6) the worker
is killed, jobs are enqueued anew, and (3) again with 100 at a time. ``table.HOW`` says it for readers of the table.

A peer that can't be installed or fails is told as such in the table, and does not stop the others. After the table
come ratios by round. With ``--only``, or with sizes other than the default's, the page is not written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.page import write_section
from benchmarks.peers import environments, table
from benchmarks.peers.catalogue import Row, chosen
from benchmarks.peers.measure import Figures, MeasureError, measure
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer

JOBS = 16_000
ROUNDS = 3
LEAST = 500


def main() -> None:
    """Measure all rows in turn, round by round; print the tables, and write them to the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help="some rows, as in dramatiq,ours (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument(
        "--jobs",
        type=int,
        default=JOBS,
        metavar="N",
        help=f"jobs of the fastest; slower ones get their share, but {LEAST} at least (default: {JOBS})",
    )
    parser.add_argument("--write", action="store_true", help="write the page though not all was measured as usual")
    options = parser.parse_args()
    try:
        rows = chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    os.environ["PYTHONPATH"] = str(environments.ROOT)
    rounds, failures, versions, text = run(rows, options.rounds, options.jobs)
    multiples = table.ratios(rows, rounds)
    report = "\n\n".join(
        part
        for part in (
            table.show(rows, rounds, failures),
            multiples,
            table.HOW,
            text,
            table.settings(rows, rounds, versions),
        )
        if part
    )
    sys.stdout.write(f"{report}\n")
    as_usual = not options.only and options.rounds == ROUNDS and options.jobs == JOBS
    if as_usual or options.write:
        write_section("peers", report)


def run(
    rows: Sequence[Row], rounds: int, jobs: int
) -> tuple[dict[str, list[Figures | None]], dict[str, str], dict[str, dict[str, str]], str]:
    """Return the figures of each row by round, why rows failed, the versions measured, and where it was done."""
    figures: dict[str, list[Figures | None]] = {row.key: [None] * rounds for row in rows}
    failures: dict[str, str] = {}
    versions: dict[str, dict[str, str]] = {}
    server = environments.redis_server()
    for row in rows:
        try:
            versions[row.key] = environments.versions(environments.prepare(row), row.shown)
        except environments.InstallError as error:
            failures[row.key] = str(error)
    tries = {
        row.key: 2 * (row.key in versions) for row in rows
    }  # what failed twice will fail again, and takes its time
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as folder,
        RedisServer(executable=server) as redis,
        PostgresServer() as postgres,
    ):
        text = table.machine(_servers(redis, postgres), rounds)
        for number in range(rounds):
            for row in rows:
                if tries[row.key] == 0:
                    continue
                place = Path(folder) / f"{number}-{row.key}"
                place.mkdir()
                begin = time.monotonic()
                try:
                    figures[row.key][number] = measure(row, place, redis, postgres, max(LEAST, int(jobs * row.scale)))
                except MeasureError as error:
                    failures[row.key] = str(error)
                    tries[row.key] -= 1
                _tell(row, number, figures[row.key][number], failures.get(row.key, ""), time.monotonic() - begin)
    return figures, failures, versions, text


def _tell(row: Row, number: int, found: Figures | None, failure: str, seconds: float) -> None:
    sys.stderr.write(f"round {number + 1}, {row.key} ({seconds:.0f} s): {found or f'failed: {failure}'}\n")


def _servers(redis: RedisServer, postgres: PostgresServer) -> str:
    with redis.client() as client, postgres.connect() as connection:
        row = connection.execute("SHOW server_version").fetchone()
        postgres_version = str(row[0]).split()[0] if row else "?"
        return f"Redis {client.info('server')['redis_version']}, PostgreSQL {postgres_version} (fsync off)"


if __name__ == "__main__":
    main()
