"""``python -m benchmarks.rest``: how fast the REST API answers over millions of rows of TaskLog.

A database is filled with made-up history of 30 days, and every endpoint and filter is asked some times as a member of
staff. A line for each: p50 and p95 in ms, queries, and whether one of them reads the table without an index: "capped"
where a LIMIT ends that, "SCAN" where nothing does.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

DAYS = 30
LIMIT_MS = 300
MOST_QUERIES = 6
NAME = "rest_benchmark"
LOGS = "/cfg/tasks/logs/"


def main() -> None:
    """Fill a database, measure, and end with 1 if anything was slower than `LIMIT_MS` or asked too much."""
    with filled(__doc__) as rounds:
        slow = measure(requests(), rounds)
    sys.exit(1 if slow else 0)


@contextmanager
def filled(description: str | None) -> Iterator[int]:
    """Set Django up with a database of made-up history, as the command line has it; yield how often to measure."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--rows", type=int, metavar="N", help="default: 5000000 on PostgreSQL, 200000 on SQLite")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="requests of each kind (default: 20)")
    options = parser.parse_args()
    rows = options.rows or (5_000_000 if options.database == "postgres" else 200_000)
    with ExitStack() as stack:
        from tests.redis_server import RedisServer

        redis = RedisServer().start()
        stack.callback(redis.close)
        if options.database == "postgres":
            from tests.postgres_server import PostgresServer

            server = stack.enter_context(PostgresServer(options=("shared_buffers=1GB",)))
            server.create_database(NAME)
            database = server.django(NAME)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rest-"))
            database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(folder) / "db.sqlite3")}
        configure(database, redis.url)
        started = time.perf_counter()
        fill(rows)
        say(f"{options.database}, {rows:,} rows, made in {time.perf_counter() - started:.0f} s")
        yield options.rounds


def configure(database: dict[str, Any], redis_url: str) -> None:
    """Set Django up for this process, as the tests are, with this database."""
    import django
    from django.conf import settings

    from tests import settings as tests_settings

    chosen = {name: getattr(tests_settings, name) for name in dir(tests_settings) if name.isupper()}
    tasks = {"api_aggregate_rate": None, "rearq": {"redis_url": redis_url}}
    settings.configure(**chosen | {"DATABASES": {"default": database}, "DJANGO_CFG_TASKS": tasks})
    django.setup()


# ---------------------------------------------------------------- rows

_POSTGRES = {
    "series": "generate_series(1::bigint, {rows}) AS series(n)",
    "ago": "now() - make_interval(secs => {seconds})",
    "with": "",
}
_SQLITE = {
    "series": "series",
    "ago": "strftime('%Y-%m-%d %H:%M:%f', 'now', (-({seconds})) || ' seconds')",
    "with": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows}) ",
}
_FAILED = "(n * 7919) % 1000 BETWEEN 945 AND 984 AND {rows} - n >= 300"
# Moduli without a common factor: what a row has of one kind says nothing of the others.
_COLUMNS = {
    "job_id": "'job-' || n",
    "task_name": "'task_' || (((n * 31) % 1013) * ((n * 31) % 1013) / 25700)",
    "queue_name": (
        "CASE WHEN n < {rows} / 10 AND n % 7 = 0 THEN 'retired' WHEN (n * 17) % 1009 < 700 THEN 'default' "
        "WHEN (n * 17) % 1009 < 950 THEN 'mail' WHEN (n * 17) % 1009 < 1008 THEN 'reports' ELSE 'rare' END"
    ),
    "args": "'[1, \"ada@example.com\"]'",
    "kwargs": '\'{{"subject": "Hello"}}\'',
    "user_id": "CASE WHEN n % 3 = 0 THEN 1 + n % 1000 END",
    "status": (
        "CASE WHEN {rows} - n < 200 THEN 'queued' WHEN {rows} - n < 300 THEN 'in_progress' "
        "WHEN (n * 7919) % 1000 < 945 THEN 'success' WHEN (n * 7919) % 1000 < 985 THEN 'failed' "
        "WHEN (n * 7919) % 1000 < 992 THEN 'canceled' ELSE 'expired' END"
    ),
    "success": "CASE WHEN {rows} - n >= 300 THEN (n * 7919) % 1000 < 945 END",
    # Each lives for a fortieth of the time.
    "worker_id": "'host-' || (n % 7) || ':' || (n * 40 / {rows})",
    "job_retry": "3",
    "job_retries": "CASE WHEN (n * 23) % 991 < 40 THEN 1 WHEN (n * 23) % 991 < 42 THEN 3 ELSE 0 END",
    "job_retry_after": "60",
    "retry_of": "''",
    "progress_message": "''",
    "result": "'{{\"sent\": true}}'",
    "error_class": f"CASE WHEN {_FAILED} THEN 'Error' || (n % 9) ELSE '' END",
    "error_message": (
        f"CASE WHEN {_FAILED} THEN 'Connection to server-' || (n % 50) || ' refused, code ' || (n % 3000) || "
        "', order ' || n ELSE '' END"
    ),
    "traceback": f"CASE WHEN {_FAILED} THEN 'Traceback (most recent call last): in send, line ' || n ELSE '' END",
    "attempts": "'[]'",
    "enqueue_time": "{enqueued}",
    "start_time": "CASE WHEN {rows} - n >= 200 THEN {started} END",
    "finish_time": "CASE WHEN {rows} - n >= 300 THEN {finished} END",
    "duration_ms": "CASE WHEN {rows} - n >= 300 THEN {duration} END",
    "created_at": "{enqueued}",
    "updated_at": "{finished}",
    "revision": "1",
}
# Mostly short, few very long.
_DURATION = "5 + ((n * 41) % 997) * ((n * 41) % 997) / 400 + CASE WHEN (n * 41) % 997 > 994 THEN n % 600000 ELSE 0 END"
_WAIT = "((n * 53) % 983) * 0.004"


def fill(rows: int) -> None:
    """Migrate, and make ``rows`` rows by one INSERT; its indexes are made after that."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    users = get_user_model()
    users.objects.bulk_create(users(username=f"user-{n}") for n in range(1000))
    dialect = _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    columns = ", ".join(_COLUMNS)
    values = ", ".join(_filled(expression, rows, dialect) for expression in _COLUMNS.values())
    source = dialect["series"].format(rows=rows)
    with connection.cursor() as cursor:
        indexes = _drop_indexes(cursor, connection.vendor)
        cursor.execute(
            f"{dialect['with'].format(rows=rows)}INSERT INTO django_cfg_task_log ({columns}) "  # noqa: S608
            f"SELECT {values} FROM {source}"
        )
        for definition in indexes:
            cursor.execute(definition)
        cursor.execute("VACUUM ANALYZE django_cfg_task_log" if connection.vendor == "postgresql" else "ANALYZE")


def _filled(expression: str, rows: int, dialect: dict[str, str]) -> str:
    ago = f"(({rows} - n) * {DAYS * 86_400 / rows})"
    times = {
        "enqueued": ago,
        "started": f"{ago} - {_WAIT}",
        "finished": f"{ago} - {_WAIT} - ({_DURATION}) / 1000.0",
    }
    moments = {name: dialect["ago"].format(seconds=seconds) for name, seconds in times.items()}
    return expression.format(rows=rows, duration=_DURATION, **moments)


def _drop_indexes(cursor: Any, vendor: str) -> list[str]:
    """Drop what can be made again, and return how."""
    if vendor == "postgresql":
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'django_cfg_task_log' "
            "AND indexdef NOT LIKE 'CREATE UNIQUE%'"
        )
    else:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'django_cfg_task_log' "
            "AND sql IS NOT NULL"
        )
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(f'DROP INDEX "{name}"')
    return [definition for _, definition in found]


# ---------------------------------------------------------------- requests


def requests() -> Iterator[tuple[str, str]]:
    """Yield what is asked: a name and an address."""
    from django_cfg_tasks.models import TaskLog

    newest = TaskLog.objects.order_by("-enqueue_time", "-id")
    total = TaskLog.objects.count()
    middle = newest[min(500_000, total // 2)]
    failed = newest.filter(status="failed")[0]
    yield "list", LOGS
    yield "page 2,000 by number", f"{LOGS}?page={min(2_000, total // 100)}"
    yield "cursor, first", f"{LOGS}?cursor="
    yield "cursor, page 10,000", f"{LOGS}?{urlencode({'cursor': cursor_at(middle)})}"
    yield "detail by id", f"{LOGS}{middle.pk}/"
    yield "detail by job id", f"{LOGS}{middle.job_id}/"
    yield "related", f"{LOGS}{failed.pk}/related/"
    for query in queries(middle, failed):
        yield f"?{query[0]}={query[1]}", f"{LOGS}?{urlencode([query])}"
    for column in ("enqueue_time", "finish_time", "created_at", "duration_ms", "id"):
        yield f"?ordering={column}", f"{LOGS}?ordering={column}"
        yield f"?ordering=-{column}", f"{LOGS}?ordering=-{column}"
    yield (
        "five filters",
        (
            f"{LOGS}?task_name=task_3&status=success&queue_name=mail&duration_min=10"
            f"&start_time={middle.enqueue_time:%Y-%m-%dT%H:%M:%SZ}"
        ),
    )
    for path in ("stats/", "stats/?task_name=task_3", "stats/?status=failed&period_hours=168"):
        yield path, LOGS + path
    for path in ("timeline/", "timeline/?interval=minute", "timeline/?interval=daily&period_hours=48", "overview/"):
        yield path, LOGS + path
    yield "export, failed of task_3", f"{LOGS}export/?status=failed&task_name=task_3&error_class=Error1"


def queries(middle: Any, failed: Any) -> Iterator[tuple[str, str]]:
    """Yield each filter with values that find many rows, few and none."""
    moment = middle.enqueue_time
    old, new = f"{moment:%Y-%m-%dT%H:%M:%SZ}", f"{dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    yield from (("task_name", name) for name in ("task_0", "task_39", "nothing", "task_3,task_7"))
    yield from (("task_name__icontains", part) for part in ("SK_3", "nothing"))
    yield from (("queue_name", name) for name in ("default", "reports", "rare", "retired", "nothing"))
    yield from (("status", name) for name in ("success", "failed", "queued", "deferred", "in_progress,queued"))
    yield from (("job_id", name) for name in (middle.job_id, "nothing"))
    yield from (("worker_id", name) for name in (middle.worker_id, failed.worker_id, "host-3:0", "nothing"))
    yield from (("user", name) for name in ("7", "999999"))
    for name in ("is_completed", "is_successful", "is_failed", "has_error"):
        yield from ((name, value) for value in ("true", "false"))
    yield from (("error_class", name) for name in ("Error1", "nothing"))
    for name in ("start_time", "end_time", "created_after", "created_before", "finished_after", "finished_before"):
        yield from ((name, value) for value in (old, new))
    yield from (("duration_min", value) for value in ("100", "2400", "500000", "99999999"))
    yield from (("duration_max", value) for value in ("5", "2000"))
    yield from (("job_retries_min", value) for value in ("0", "1", "3", "4"))
    yield from (("job_retries_max", value) for value in ("0", "3"))
    words = ("job-4", middle.job_id, "task_3", middle.worker_id, "Error3", "refused", "order 4711", "server-7 code 42")
    yield from (("search", value) for value in (*words, "nothing"))


def cursor_at(row: Any) -> str:
    """Return the cursor that goes on after ``row``, as a page gives it out."""
    from django_cfg_tasks.api.pagination import cursor_beyond

    return cursor_beyond("after", row)


def measure(
    asked: Iterable[tuple[str, str]],
    rounds: int,
    *,
    limit_ms: float = LIMIT_MS,
    most_queries: int = MOST_QUERIES,
    before: Callable[[], None] = lambda: None,
) -> list[str]:
    """Ask everything ``rounds`` times, print a line for each, and return the names of what was too slow.

    ``before`` is called before each request, and not measured.
    """
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission
    from django.test import Client

    user, _ = get_user_model().objects.get_or_create(username="staff", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_tasklog"))
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    slow = []
    for name, path in asked:
        times = []
        for _ in range(rounds):
            before()
            times.append(timed(lambda path=path: ask(client, path)))
        times.sort()
        p50, p95 = statistics.median(times), times[math.ceil(0.95 * len(times)) - 1]
        before()
        queries, scans = looked_at(client, path)
        marks = " ".join(
            word
            for word, holds in (
                ("SLOW", p95 > limit_ms),
                ("QUERIES", queries > most_queries),
                ("SCAN", False in scans),
                ("capped", True in scans),
            )
            if holds
        )
        say(f"{name[:60]:60} p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  {queries} queries  {marks}".rstrip())
        if p95 > limit_ms or queries > most_queries or False in scans:
            slow.append(name)
    say(f"{len(slow)} too slow, with too many queries or without an index: {', '.join(slow) or 'none'}")
    return slow


def ask(client: Any, path: str) -> None:
    """Get an address and read the answer."""
    answer = client.get(path)
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code} {body[:500]!r}")


def timed(call: Callable[[], None]) -> float:
    """Return how long it took, in ms."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def looked_at(client: Any, path: str) -> tuple[int, set[bool]]:
    """Return how many queries it makes, and for those that read the table without an index whether a LIMIT ends it."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        ask(client, path)
    texts = [query["sql"] for query in captured.captured_queries if "django_cfg_task_log" in query["sql"]]
    texts = [text for text in texts if re.match(r"SELECT|WITH", text)]
    if os.environ.get("SHOW_PLANS"):
        say("\n".join(map(explained, texts)))
    scans = _postgres_scans if connection.vendor == "postgresql" else _sqlite_scans
    return len(captured), {capped for text in texts for capped in scans(text)}


def _postgres_scans(sql: str) -> Iterator[bool]:
    [plan] = json.loads(explained(f"(FORMAT json) {sql}"))
    waiting = [(plan["Plan"], False)]
    while waiting:
        node, capped = waiting.pop()
        capped = capped or node["Node Type"] == "Limit"
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "django_cfg_task_log":
            yield capped
        # What is sorted or summed up is read to its end, whatever is taken of it.
        capped = capped and node["Node Type"] not in ("Sort", "Incremental Sort", "Aggregate", "WindowAgg", "Hash")
        waiting += ((child, capped) for child in node.get("Plans", ()))


def _sqlite_scans(sql: str) -> Iterator[bool]:
    if re.search(r"SCAN django_cfg_task_log(?! USING)", explained(sql)):
        yield "LIMIT" in sql


def explained(sql: str) -> str:
    """Return the plan of a query."""
    from django.db import connection

    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}")
        lines = [line[-1] for line in cursor.fetchall()]
        return "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
