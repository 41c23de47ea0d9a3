"""What ended long ago is deleted from all three tables, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.postgres_server import PostgresServer
from tests.project import CommandFailed, TaskProject

# Jobs of any age and state, as the engine would have left them.
HISTORY = """
import datetime as dt
from django.db import router
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.history.lifetime import lifetime
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import upsert
from django_cfg_tasks.retention import apurge, purge, purge_old

client = get_rearq_client()
NOW = dt.datetime.now(dt.UTC)
CUTOFF = NOW - dt.timedelta(days=7)

def ago(days):
    return None if days is None else NOW - dt.timedelta(days=days)

def written(days):
    text = str(ago(days))
    return text.removesuffix("+00:00") if client.store.target.vendor == "mysql" else text

def sql(text):
    return client.call(client.store.connection.execute(text), instead="")

def job(job_id, status, enqueued, finished=None, *, due=None, started=None, attempts=1, row=True, log=True):
    record = JobRecord(
        job_id, "t", "default", [], {}, JobStatus(status), 0, 0, ago(enqueued), due_time=ago(due),
        start_time=ago(started), finish_time=ago(finished),
    )
    if row:
        client.call(client.store.insert([record]), instead="")
    if row and started is not None:
        sql(f"UPDATE rearq_job SET start_time = '{written(started)}' WHERE job_id = '{job_id}'")
    if row and finished is not None:
        for number in range(attempts):
            sql(
                "INSERT INTO rearq_job_results (worker, success, msg_id, finish_time, job_id) "
                f"SELECT 'w', status = 'success', '{job_id}#{number}', '{written(finished)}', id "
                f"FROM rearq_job WHERE job_id = '{job_id}'"
            )
    if log:
        upsert([record])

def ever():
    return lifetime(router.db_for_read(TaskLog))

def left():
    return [
        sorted(r["job_id"] for r in sql("SELECT job_id FROM rearq_job")),
        sorted(r["msg_id"] for r in sql("SELECT msg_id FROM rearq_job_results")),
        sorted(TaskLog.objects.values_list("job_id", flat=True)),
    ]
"""

LIFE = """
from shop.history import *
job("succeeded", "success", 30, 30)
job("failed", "failed", 30, 20, attempts=3)
job("expired", "expired", 8)
job("canceled", "canceled", 8, due=7.5)
job("history-only", "success", 30, 30, row=False)
job("lost", "in_progress", 30, row=False)

job("keep-queued", "queued", 30)
job("keep-deferred", "deferred", 3000, due=-3000)
job("keep-running", "in_progress", 30, started=29)
job("keep-retried", "queued", 30, 29)
job("keep-finished-today", "success", 30, 0.01)
job("keep-canceled-before-due", "canceled", 30, due=1)
job("keep-poisoned-today", "failed", 30, started=1)
job("keep-recent", "success", 6, 6)
job("keep-lost-lately", "queued", 6, row=False)
"""

ALL_KEPT = [
    "keep-canceled-before-due", "keep-deferred", "keep-finished-today", "keep-poisoned-today", "keep-queued",
    "keep-recent", "keep-retried", "keep-running",
]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres", "mysql", "jobs apart", "history apart"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., TaskProject]) -> TaskProject:
    """All in one database, or the jobs in one and the history in the other."""
    files = {"shop/history.py": HISTORY}
    if request.param == "jobs apart":
        url = request.getfixturevalue("postgres_server").url(request.getfixturevalue("postgres_database"))
        return make_project(files=files, rearq={"db_url": url})
    if request.param != "history apart":
        return make_project(files=files, database=request.param)
    files["shop/routers.py"] = (
        "class History:\n    def db_for_read(self, model, **hints):\n"
        "        return 'history' if model.__name__ == 'TaskLog' else None\n    db_for_write = db_for_read\n"
    )
    settings = (
        "DATABASES['history'] = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': str(BASE_DIR / 'history.sqlite3')}\n"
        "DATABASE_ROUTERS = ['shop.routers.History']\n"
    )
    project = make_project(files=files, database="postgres", settings=settings)
    project.manage("migrate", "--database=history", "--verbosity=0")
    return project


def test_what_ended_long_ago_goes_and_all_else_stays(project: TaskProject) -> None:
    before, dry, after, real, (jobs, attempts, logs), again = project.json(
        LIFE + "before = left()\ndry = purge(client, CUTOFF, dry_run=True)\nafter = left()\ncounted = ever()\n"
        "real = purge(client, CUTOFF)\nassert ever() == counted and counted.total() == 15, (counted, ever())\n"
        "emit([before, str(dry), after, str(real), left(), bool(purge(client, CUTOFF))])"
    )
    assert jobs == ALL_KEPT
    assert attempts == ["keep-finished-today#0", "keep-recent#0", "keep-retried#0"]
    assert logs == sorted([*ALL_KEPT, "keep-lost-lately"])
    assert dry == real == "PurgeReport(jobs=4, attempts=4, logs=6)"
    assert before == after, "a dry run deletes nothing"
    assert not again


MANY = """
from shop.history import *
from django.db import connection
from django_cfg_tasks.store import connection as store
job("thousandfold", "failed", 30, 30, attempts=1, log=False)
sql(
    "INSERT INTO rearq_job_results (worker, success, msg_id, finish_time, job_id) WITH RECURSIVE n(n) AS "
    "(SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000) SELECT 'w', success, n, finish_time, job_id "
    "FROM rearq_job_results, n"
)
records = [JobRecord(str(n), "t", "default", [], {}, JobStatus.canceled, 0, 0, ago(30)) for n in range(4500)]
client.call(client.store.insert(records), instead="")
upsert(records)

# Who deletes how much at once: the store's statements give a row for each, Django's name each.
sizes = []
execute = store.Connection.execute
async def watched(self, text, params=None):
    rows = await execute(self, text, params)
    if text.startswith("DELETE"):
        sizes.append(len(rows))
    return rows
store.Connection.execute = watched
def watch(run, text, params, many, context):
    if text.startswith("DELETE"):
        sizes.append(len(params))
    return run(text, params, many, context)
with connection.execute_wrapper(watch):
    report = purge(client, CUTOFF)
emit([str(report), max(sizes), sum(sizes), left()])
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.long
def test_no_statement_deletes_more_than_5000_rows(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(database=database, files={"shop/history.py": HISTORY})
    report, most, deleted, rest = project.json(MANY)
    assert report == "PurgeReport(jobs=4501, attempts=12001, logs=4500)"
    assert most == 5_000
    assert deleted == 4_501 + 12_001 + 4_500
    assert rest == [[], [], []]


# Three hours before and after the moment: a mistaken time zone would show.
WITHOUT_USE_TZ = """
from shop.history import *
job("older", "success", 7.125, 7.125)
job("younger", "success", 6.875, 6.875)
purge(client, CUTOFF)
emit(left())
"""


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
@pytest.mark.long
def test_a_project_without_use_tz(make_project: Callable[..., TaskProject], database: str, zone: str) -> None:
    settings = f"USE_TZ = False\nTIME_ZONE = {zone!r}\n"
    project = make_project(database=database, files={"shop/history.py": HISTORY}, settings=settings)
    assert project.json(WITHOUT_USE_TZ) == [["younger"], ["younger#0"], ["younger"]]


BY_THE_TIMER = """
from shop.history import *
job("old", "success", 30, 30)
job("of yesterday", "success", 1, 1)
report = client.call(purge_old(client), instead="")
emit([str(report), left()])
"""


@pytest.mark.parametrize(
    ("days", "report", "kept"),
    [
        (7, "PurgeReport(jobs=1, attempts=1, logs=1)", ["of yesterday"]),
        (None, "None", ["of yesterday", "old"]),
    ],
)
def test_the_setting_says_what_goes(
    make_project: Callable[..., TaskProject], days: int | None, report: str, kept: list[str]
) -> None:
    project = make_project(files={"shop/history.py": HISTORY}, rearq={"keep_job_days": days})
    said, (jobs, _, logs) = project.json(BY_THE_TIMER)
    assert said == report
    assert jobs == logs == kept


@pytest.mark.long
def test_the_timer_does_it(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(files={"shop/history.py": HISTORY})
    project.run(LIFE)
    project.timer().wait_for_log(
        r"ended more than 7 day\(s\) ago: deleted 4, with 4 attempt\(s\) and 6 row\(s\) of TaskLog"
    )
    assert project.json("from shop.history import *\nemit(left()[0])") == ALL_KEPT


WAITING = """
import asyncio, sqlite3, threading
from shop.history import *
from django_cfg_tasks.models import TaskLog
job("old", "success", 30, 30)

async def cancelled_while_sqlite_is_locked():
    task = asyncio.create_task(purge_old(client))
    await asyncio.sleep(0.2)
    waits, answers = not task.done(), asyncio.get_running_loop().time()
    task.cancel()
    await asyncio.wait([task])
    return waits, task.cancelled(), asyncio.get_running_loop().time() - answers < 1

other = sqlite3.connect("db.sqlite3", isolation_level=None)
other.execute("BEGIN IMMEDIATE")
locked = client.call(cancelled_while_sqlite_is_locked(), instead="")
other.execute("ROLLBACK")
for thread in threading.enumerate():
    if thread.name == "django_cfg_tasks-retention":
        thread.join()
emit([locked, left()[2]])
"""


@pytest.mark.long
def test_it_can_be_cancelled_and_leaves_the_event_loop_free(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(files={"shop/history.py": HISTORY})
    locked, logs = project.json(WAITING)
    assert locked == [True, True, True]
    assert logs == ["old"], "it went on after its batch"


@pytest.mark.parametrize("statement", ["stop", "DROP TABLE django_cfg_task_log"])
def test_a_database_that_is_away_is_a_warning_and_the_next_call_goes_on(
    make_project: Callable[..., TaskProject], postgres_server: PostgresServer, postgres_database: str, statement: str
) -> None:
    project = make_project(database="postgres", files={"shop/history.py": HISTORY})
    project.run("from shop.history import *\njob('old', 'success', 30, 30)")
    if statement == "stop":
        postgres_server.stop()
    else:
        with postgres_server.connect(postgres_database) as connection:
            connection.execute(statement)
    report = project.run(
        "import logging, sys\nlogging.basicConfig(stream=sys.stdout)\nfrom shop.history import *\n"
        "print(client.call(purge_old(client), instead=''))"
    )
    assert "WARNING:django_cfg_tasks.retention:Old jobs can't be deleted now; they go the next time." in report
    assert report.splitlines()[-1] == "None"


class TestCommand:
    @pytest.mark.long
    def test_counts_then_deletes(self, make_project: Callable[..., TaskProject]) -> None:
        project = make_project(files={"shop/history.py": HISTORY})
        project.run(LIFE)
        dry = project.manage("tasks_purge", "--dry-run")
        assert "4 jobs, 4 attempts and 6 rows of the task log would be deleted (ended before 20" in dry
        real = project.manage("tasks_purge", "--days", "7", "--verbosity", "2")
        assert "… 4 jobs, 4 attempts and 0 rows of the task log\n" in real
        assert "\n4 jobs, 4 attempts and 6 rows of the task log deleted (ended before 20" in real
        assert "\n0 jobs, 0 attempts" in "\n" + project.manage("tasks_purge")

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ([], "RearqConfig.keep_job_days is None, which keeps all jobs. Say how old they must be: --days 30."),
            (["--days", "0"], "--days 0: give a number of days from 1 to 36500."),
            (["--days", "99999999"], "--days 99999999: give a number of days from 1 to 36500."),
            (["--days", "week"], "invalid int value: 'week'"),
            (["--days", "7"], "manage.py migrate"),
        ],
    )
    def test_what_can_go_wrong_is_said_in_a_line(
        self, make_project: Callable[..., TaskProject], arguments: list[str], text: str
    ) -> None:
        project = make_project(migrate=False, rearq={"keep_job_days": None})
        with pytest.raises(CommandFailed) as failed:
            project.manage("tasks_purge", *arguments)
        assert text in str(failed.value)
        assert "Traceback" not in str(failed.value)
