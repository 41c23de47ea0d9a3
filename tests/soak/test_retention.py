"""Retention on a million rows in each table, beside a process that goes on writing. By hand: minutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.project import TaskProject

FILL = """
import sys
from django.db import connection
rows, spread = int(sys.argv[1]), int(sys.argv[2])
if connection.vendor == "postgresql":
    series, json, true = f"generate_series(1, {rows}) AS s(n)", "::jsonb", "true"
    enqueued = f"TIMESTAMPTZ '2024-01-01' + n * INTERVAL '{spread} seconds'"
    finished = f"{enqueued} + INTERVAL '5 seconds'"
    zone = ""
else:
    series = f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n FROM s)"
    json, true, zone = "", "1", " || '+00:00'"
    enqueued = f"datetime('2024-01-01', (n * {spread}) || ' seconds') || '.123456'"
    finished = f"datetime('2024-01-01', (n * {spread} + 5) || ' seconds') || '.123456'"
job_id = "'00000000-0000-0000-0000-' || n"
arguments = f'\\'["ada@example.com", "a subject of some length", 12345]\\'{json}, \\'{{"urgent": false}}\\'{json}'
attempt = '{"attempt": 1, "worker": "host-123-abcdef", "outcome": "success", "error_class": null, "traceback": null}'
with connection.cursor() as cursor:
    cursor.execute(
        "INSERT INTO rearq_job (id, task, args, kwargs, job_retry, job_retries, job_retry_after, job_id, "
        "enqueue_time, start_time, status, queue, attempt, deliveries) "
        f"SELECT n, 'send_email', {arguments}, 3, 0, 60, {job_id}, {enqueued}{zone}, {enqueued}{zone}, "
        f"'success', 'default', 1, 0 FROM {series}"
    )
    cursor.execute(
        "INSERT INTO rearq_job_results (worker, success, msg_id, result, start_time, finish_time, job_id, attempt, "
        f"outcome) SELECT 'host-123-abcdef', {true}, '1-0#' || n, '{{}}', {enqueued}{zone}, {finished}{zone}, n, 1, "
        f"'success' FROM {series}"
    )
    cursor.execute(
        "INSERT INTO django_cfg_task_log (task_name, queue_name, args, kwargs, status, success, worker_id, job_retry, "
        "job_retries, job_retry_after, progress_message, error_class, error_message, traceback, attempts, job_id, "
        "enqueue_time, start_time, finish_time, duration_ms, created_at, updated_at, revision) "
        f"SELECT 'send_email', 'default', {arguments}, 'success', {true}, 'host-123-abcdef', 3, 0, 60, '', '', '', '', "
        f"'[{attempt}]'{json}, {job_id}, {enqueued}, {enqueued}, {finished}, 5000, {enqueued}, {finished}, 2147483647 "
        f"FROM {series}"
    )
    if connection.vendor == "postgresql":
        cursor.execute("SELECT setval('rearq_job_id_seq', %s)", [rows])
"""

# A producer, a worker's outcome and its history in one: how long does each write wait?
WRITER = """
import pathlib, time
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
from shop.tasks import nothing
waits = []
print("writes", flush=True)
while not pathlib.Path("purged").exists():
    started = time.monotonic()
    nothing.enqueue()
    waits.append(time.monotonic() - started)
    time.sleep(0.01)
waits.sort()
print(f"{len(waits)} enqueues: median {waits[len(waits) // 2]:.4f} s, slowest {waits[-1]:.3f} s", flush=True)
print("kept", recorder.flush(30) and TaskLog.objects.count(), "of", len(waits), flush=True)
"""

PURGE = """
import collections, datetime as dt, resource, time
from django.db import connection
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.retention import purge
from django_cfg_tasks.store import connection as store
took = collections.defaultdict(list)

def note(text, started):
    took[text.partition(" WHERE ")[0][-60:]].append(time.monotonic() - started)

execute = store.Connection.execute
async def watched(self, text, params=None):
    started = time.monotonic()
    try:
        return await execute(self, text, params)
    finally:
        note(text, started)
store.Connection.execute = watched

def watch(run, text, params, many, context):
    started = time.monotonic()
    try:
        return run(text, params, many, context)
    finally:
        note(text, started)

started = time.monotonic()
with connection.execute_wrapper(watch):
    report = purge(get_rearq_client(), dt.datetime.now(dt.UTC) - dt.timedelta(days=7))
total = time.monotonic() - started
emit({
    "report": [report.jobs, report.attempts, report.logs],
    "slowest": max(max(times) for times in took.values()),
    "total": total,
    "statements": {text: [len(times), max(times)] for text, times in took.items()},
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
})
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("spread", [1, 0], ids=["one a second", "all at once"])
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_million_rows_go_without_a_statement_longer_than_a_second(
    make_project: Callable[..., TaskProject], database: str, spread: int
) -> None:
    rows = 1_000_000
    project = make_project("from django_cfg_tasks import task\n@task\ndef nothing(): ...\n", database=database)
    project.run(f"import sys\nsys.argv[1:] = ['{rows}', '{spread}']\n" + FILL, timeout=900)
    writer = project.start_code(WRITER, name="writer")
    writer.wait_for_log("writes")
    outcome = project.json(PURGE, timeout=900)
    project.write("purged", "")
    assert writer.wait(60) == 0
    print(outcome, writer.output)
    assert outcome["report"] == [rows, rows, rows]
    assert outcome["slowest"] < 1
    written, kept = writer.wait_for_log(r"kept (\d+) of (\d+)").groups()
    assert written == kept
