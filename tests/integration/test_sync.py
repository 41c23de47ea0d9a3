"""The task log is brought up to the jobs' own tables: rebuilt by ``manage.py tasks_sync``, mended by `catch_up`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from django_cfg_tasks.management.commands.tasks_sync import parse_since
from tests.project import CommandFailed, TaskProject
from tests.servers import free_port

TASKS = """
from django_cfg_tasks import task

@task(queue="low", mask=["iban"])
async def pay(amount: int, iban: str, password: str = ""): ...

@task(log_args=False)
async def private(text: str): ...
"""

# The jobs are enqueued here, and nothing listens: their rows of the log are as if they had been lost.
ENQUEUE = """
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
from shop.tasks import pay, private
pay.enqueue_many([[number, "DE89", "hunter2"] for number in range(1203)])
private.enqueue("x")
recorder.flush(30)
emit(TaskLog.objects.count())
TaskLog.objects.all().delete()
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.long
def test_a_lost_history_is_rebuilt(make_project: Callable[..., TaskProject], database: str) -> None:
    project = make_project(TASKS, database=database)
    assert project.json(ENQUEUE) == 1_204

    assert "1,204 jobs read (in all), 1,204 rows up to date." in project.manage("tasks_sync")
    rows = project.json(
        """
        from django_cfg_tasks.models import TaskLog
        private = TaskLog.objects.get(task_name="private")
        masked = TaskLog.objects.filter(task_name="pay", status="queued", queue_name="low", args__2="********")
        emit([masked.filter(args__1="********").count(), private.args, TaskLog.objects.count()])
        """.replace("\n        ", "\n")
    )
    assert rows == [1_203, [], 1_204]

    assert "1,204 rows up to date" in project.manage("tasks_sync", "--since", "2h", "--verbosity", "2")
    assert "0 jobs read (enqueued since 2100-01-01 00:00:00 UTC)" in project.manage(
        "tasks_sync", "--since", "2100-01-01"
    )


def test_what_can_go_wrong_is_said_in_a_line(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, migrate=False)
    for arguments, text in [(["--since", "yesterday"], "neither an age such as 2h"), ([], "")]:
        with pytest.raises(CommandFailed) as failed:
            project.manage("tasks_sync", *arguments)
        assert text in str(failed.value)
        assert "Traceback" not in str(failed.value)


# The truth moves on and nobody hears of it, as when the recorder that did was killed: of 5,000 queued jobs, two
# on the first page ended, one far behind them runs, and one was purged.
MOVE_ON = """
import datetime as dt
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder
from django_cfg_tasks.store import Outcome
from django_cfg_tasks.sync import catch_up
from shop.tasks import pay

NOW = dt.timedelta(0)
jobs = [job.job_id for job in pay.enqueue_many([[number, "DE89", "hunter2"] for number in range(5000)])]
assert recorder.flush(60)
success, canceled, running, purged = jobs[-1], jobs[-2], jobs[70], jobs[71]
client = get_rearq_client()

def on_home(coroutine):
    return client.call(coroutine, "")

record = on_home(client.store.claim([success], "worker-1"))[success]
record.status, record.result = JobStatus.success, {"paid": True}
end = dt.datetime.now(dt.UTC)
attempt = Attempt(1, "worker-1", record.start_time, end, AttemptOutcome.success)
assert on_home(client.store.record([Outcome(record, attempt, "1-0")]))
on_home(client.store.claim([running], "worker-2"))
on_home(client.store.cancel([canceled]))
with connection.cursor() as cursor:
    cursor.execute("DELETE FROM rearq_job WHERE job_id = %s", [purged])
"""


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., TaskProject]) -> TaskProject:
    return make_project(TASKS, database=request.param)


class TestCatchUp:
    def test_rows_that_lag_are_mended_and_no_others_are_touched(self, project: TaskProject) -> None:
        seen = project.json(
            MOVE_ON
            + """
updated = dict(TaskLog.objects.values_list("job_id", "updated_at"))
first = catch_up(lag=NOW)
touched = {id for id, at in TaskLog.objects.values_list("job_id", "updated_at") if at != updated[id]}
assert touched == {success, canceled, running}, touched
again = catch_up(lag=NOW)
row = TaskLog.objects.get(job_id=success)
emit([
    [first.looked_at, first.mended, again.looked_at, again.mended],
    [row.status, row.success, row.result, row.worker_id, [a["outcome"] for a in row.attempts], row.args],
    [TaskLog.objects.get(job_id=id).status for id in (canceled, running, purged)],
])
"""
        )
        assert seen == [
            [5_000, 3, 4_998, 0],
            ["success", True, {"paid": True}, "worker-1", ["success"], [5_000 - 1, "********", "********"]],
            ["canceled", "in_progress", "queued"],
        ]

    def test_5_000_open_rows_are_walked_in_pages(self, project: TaskProject) -> None:
        queries = project.json(
            MOVE_ON
            + """
TaskLog.objects.filter(job_id__in=jobs[1000:3000]).update(enqueue_time=end)  # more at one moment than a page holds
with CaptureQueriesContext(connection) as queries:
    report = catch_up(lag=NOW)
assert (report.looked_at, report.mended) == (5_000, 3), report
emit([query["sql"] for query in queries])
"""
        )
        reads = [sql for sql in queries if sql.startswith("SELECT") and "django_cfg_task_log" in sql]
        # Ten full pages of those that wait, the end of them, and one look for each of the other two statuses.
        assert len(reads) == 13
        assert all("LIMIT 500" in sql for sql in reads)
        assert sum(sql.startswith("INSERT") for sql in queries) == 2, "one for each page with rows that lagged"

    def test_a_change_of_a_moment_ago_is_left_to_its_recorder(self, project: TaskProject) -> None:
        seen = project.json(
            MOVE_ON
            + """
hour = dt.timedelta(hours=1)
none_is_old = catch_up(lag=hour)
TaskLog.objects.update(updated_at=end - 2 * hour)
report = catch_up(lag=hour)
mended = TaskLog.objects.exclude(status="queued").get().job_id
emit([none_is_old.looked_at, report.looked_at, report.mended, mended == canceled])
"""
        )
        # When a job was canceled is not known.
        assert seen == [0, 5_000, 1, True]

    def test_rows_that_were_never_written_are_added(self, project: TaskProject) -> None:
        seen = project.json(
            MOVE_ON
            + """
from django_cfg_tasks import sync
TaskLog.objects.filter(job_id__in=[success, *jobs[100:800]]).delete()
blind = catch_up(lag=NOW)
since = end - dt.timedelta(hours=1)
first = catch_up(lag=NOW, since=since)
sync.LATE_COMMITS = NOW  # from here on, no job is expected to appear late
second = catch_up(lag=NOW, since=since, after_id=first.after_id)
third = catch_up(lag=NOW, since=since, after_id=second.after_id)
emit([
    [blind.mended, first.mended, second.mended, first.after_id],
    [second.looked_at - blind.looked_at, third.looked_at - blind.looked_at],
    [TaskLog.objects.count(), TaskLog.objects.get(job_id=success).result],
])
"""
        )
        # Looked at the second time: 700 open rows that are there now, less the two that ended, and 4,999 jobs.
        assert seen == [[2, 701, 0, 0], [700 - 1 + 4_999, 700 - 1], [5_000, {"paid": True}]]


class TestMendHistory:
    CODE = """
import datetime as dt, logging, sys
from django.db import connections
from django_cfg_tasks.sync import mend_history
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s", level="INFO")
report = mend_history(lag=dt.timedelta(0), since=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
print(report, connections["default"].connection)
"""

    @pytest.mark.long
    def test_says_a_line_if_there_was_something_to_mend(self, project: TaskProject) -> None:
        project.json(MOVE_ON + "emit(0)")
        assert "INFO TaskLog has caught up: 3 row(s) were missing or behind their jobs." in project.run(self.CODE)
        quiet = project.run(self.CODE)
        assert "caught up" not in quiet
        assert quiet.endswith("CatchUpReport(looked_at=9997, mended=0, after_id=0) None\n"), "no connection is left"

    @pytest.mark.parametrize("away", ["history", "jobs"])
    def test_a_database_that_is_away_is_a_line_and_no_error(
        self, make_project: Callable[..., TaskProject], away: str
    ) -> None:
        port = free_port()
        nobody = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": str(port), "NAME": "x"}
        project = (
            make_project(TASKS, database=nobody, migrate=False, rearq={"db_url": "sqlite:///./jobs.db"})
            if away == "history"
            else make_project(TASKS, rearq={"db_url": f"postgres://user:pw@127.0.0.1:{port}/x"})
        )
        output = project.run(self.CODE)
        assert output.count("WARNING TaskLog could not be compared with the jobs") == 1
        assert "Traceback" not in output
        assert output.endswith("None None\n")


class TestSince:
    @pytest.mark.parametrize(
        ("text", "age"),
        [
            ("30s", dt.timedelta(seconds=30)),
            ("15m", dt.timedelta(minutes=15)),
            ("2h", dt.timedelta(hours=2)),
            (" 3D ", dt.timedelta(days=3)),
            ("1w", dt.timedelta(weeks=1)),
        ],
    )
    def test_an_age(self, text: str, age: dt.timedelta) -> None:
        assert abs(dt.datetime.now(dt.UTC) - age - parse_since(text)) < dt.timedelta(seconds=5)

    def test_a_moment(self) -> None:
        noon = dt.datetime(2025, 10, 30, 12, tzinfo=dt.UTC)
        assert parse_since("2025-10-30T12:00:00Z") == noon
        assert parse_since("2025-10-30 14:00+02:00") == noon
        with timezone.override("America/New_York"):  # a request's; the project's own is what counts
            assert parse_since("2025-10-30T12:00") == noon
        assert parse_since("2025-10-30").time() == dt.time(0)

    @pytest.mark.parametrize("text", ["", "2", "h", "-1h", "999999999w", "2025-13-01", "yesterday", "2 hours"])
    def test_what_is_neither(self, text: str) -> None:
        with pytest.raises(CommandError, match="neither an age"):
            parse_since(text)
