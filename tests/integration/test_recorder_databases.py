"""TaskLog on real databases: the upsert, and the recorder while they go down, lock and come back.

Each test runs on a fresh SQLite file, a fresh PostgreSQL database and a fresh one of MariaDB (or MySQL).
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_cfg_tasks import registry, task
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.masking import MASK
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import Recorder, statement, upsert, writer
from django_cfg_tasks.recorder.statement import MAX_ROWS
from django_cfg_tasks.turns import turn_of
from tests.mysql_server import MySQLServer
from tests.postgres_server import PostgresServer
from tests.records import NOON, failure, queued, running, succeeded
from tests.waiting import wait_until

ALIAS = "history"


class ToHistory:
    """A router that sends everything to the test's own database."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return ALIAS

    db_for_write = db_for_read


@pytest.fixture
def use_database(settings: Any, django_db_blocker: Any) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Let ``use(entry of DATABASES)`` stand for the project's database."""

    def use(entry: dict[str, Any]) -> None:
        connections.settings[ALIAS] = connections.configure_settings({"default": entry})["default"]
        settings.DATABASE_ROUTERS = [ToHistory()]

    with django_db_blocker.unblock():
        yield use
        connections[ALIAS].close()
    del connections[ALIAS]
    del connections.settings[ALIAS]


@pytest.fixture(params=["sqlite", "postgres", pytest.param("mysql", marks=pytest.mark.long)])
def empty_database(
    request: pytest.FixtureRequest, tmp_path: Path, use_database: Callable[[dict[str, Any]], None]
) -> str:
    """The alias of a database without tables."""
    if request.param == "sqlite":
        entry: dict[str, Any] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": tmp_path / "history.sqlite3",
            "OPTIONS": {"timeout": 0.2},
        }
    else:
        server: PostgresServer | MySQLServer = request.getfixturevalue(f"{request.param}_server")
        entry = server.django(request.getfixturevalue(f"{request.param}_database")) | {"CONN_MAX_AGE": None}
    use_database(entry)
    return ALIAS


@pytest.fixture
def database(request: pytest.FixtureRequest, empty_database: str) -> str:
    """The alias of a database with TaskLog and users."""
    connection = connections[empty_database]
    if connection.vendor == "mysql":  # to make its tables takes seconds
        server: MySQLServer = request.getfixturevalue("mysql_server")
        server.copy_database(request.getfixturevalue("migrated_mysql"), connection.settings_dict["NAME"])
    else:
        call_command("migrate", database=empty_database, verbosity=0)
    return empty_database


@pytest.fixture
def make_recorder() -> Iterator[Callable[[str], Recorder]]:
    made: list[Recorder] = []

    def make(alias: str) -> Recorder:
        made.append(Recorder(functools.partial(upsert, using=alias)))
        return made[-1]

    yield make
    for recorder in made:
        recorder.stop(2)


def row(database: str, job_id: str = "job-1") -> TaskLog:
    return TaskLog.objects.using(database).get(job_id=job_id)


def statuses(database: str) -> dict[str, str]:
    return dict(TaskLog.objects.using(database).values_list("job_id", "status"))


class TestUpsert:
    def test_follows_a_job_from_its_first_record_to_its_last(self, database: str) -> None:
        assert upsert([queued()], using=database) == 1
        first = row(database)
        assert (first.status, first.success, first.args, first.kwargs) == (
            "queued",
            None,
            ["a@example.com"],
            {"subject": "Hi"},
        )
        assert (first.enqueue_time, first.start_time, first.result, first.attempts) == (NOON, None, None, [])

        upsert([running(progress=0.25, progress_message="a quarter")], using=database)
        at_work = row(database)
        assert (at_work.status, at_work.worker_id, at_work.progress) == ("in_progress", "host:1", 0.25)

        upsert([succeeded()], using=database)
        last = row(database)
        assert (last.pk, last.status, last.success, last.duration_ms) == (first.pk, "success", True, 1_500)
        assert last.result == {"sent": True}
        assert [attempt["outcome"] for attempt in last.attempts] == ["success"]
        assert last.progress == 0.25
        assert last.created_at == first.created_at
        assert last.updated_at > first.updated_at

    def test_never_moves_back(self, database: str) -> None:
        stages = [
            queued(),
            running(),
            queued(attempt=1, attempts=[failure(1)]),
            running(attempt=2),
            succeeded(attempts=[failure(1), failure(2)]),
        ]
        for reached, record in enumerate(stages):
            upsert([record], using=database)
            before = row(database)
            for earlier in stages[:reached]:
                upsert([earlier], using=database)
            after = row(database)
            assert (after.status, after.revision, after.attempts) == (record.status, record.revision, before.attempts)
            assert after.updated_at == before.updated_at

    def test_attempts_and_progress_are_kept_where_a_record_does_not_know_them(self, database: str) -> None:
        upsert([running(attempt=3, progress=0.5, progress_message="half")], using=database)
        upsert([running(attempt=3, attempts=[], owner="host:2")], using=database)
        log = row(database)
        assert (log.worker_id, len(log.attempts), log.progress, log.progress_message) == ("host:2", 2, 0.5, "half")
        upsert([running(attempt=4)], using=database)
        log = row(database)
        assert (len(log.attempts), log.progress, log.progress_message) == (3, None, "")

    def test_times_are_kept_where_a_record_of_the_same_state_does_not_know_them(self, database: str) -> None:
        upsert([succeeded(status=JobStatus.canceled)], using=database)
        before = row(database)
        upsert([queued(status=JobStatus.canceled)], using=database)
        after = row(database)
        assert (after.status, after.start_time, after.finish_time) == (
            "canceled",
            before.start_time,
            before.finish_time,
        )
        assert after.duration_ms == 1500

    def test_one_batch_may_hold_a_job_twice_and_be_large(self, database: str) -> None:
        count = 2 * MAX_ROWS + 203
        records = [queued(f"job-{number}") for number in range(count)]
        assert upsert([*records, *[succeeded(f"job-{number}") for number in range(count)]], using=database) == count
        assert set(statuses(database).values()) == {"success"}
        assert len(statuses(database)) == count

    def test_many_processes_write_the_same_jobs(self, database: str) -> None:
        if connections[database].vendor == "sqlite":
            connections[database].settings_dict["OPTIONS"]["timeout"] = 20
        errors: list[BaseException] = []

        def write(seed: int) -> None:
            chance = random.Random(seed)
            records = [make(f"job-{number}") for number in range(150) for make in (queued, running, succeeded)]
            try:
                for _ in range(5):
                    chance.shuffle(records)
                    upsert(records[:300], using=database)
                upsert(records, using=database)
            except BaseException as error:
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=write, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert statuses(database) == {f"job-{number}": "success" for number in range(150)}

    def test_text_that_databases_refuse(self, database: str) -> None:
        nasty = "a\x00b\ud800c😀"
        record = succeeded(
            args=[nasty, float("nan")], kwargs={nasty: [nasty]}, result=nasty, error_message=nasty, traceback=nasty,
            progress_message=nasty, attempts=[failure(1)], owner="w" * 500,
        )  # fmt: skip
        assert upsert([record], using=database) == 1
        log = row(database)
        assert log.args == ["a\ufffdb\ufffdc😀", "nan"]
        assert log.kwargs == {"a\ufffdb\ufffdc😀": ["a\ufffdb\ufffdc😀"]}
        assert log.result == log.error_message == log.traceback == log.progress_message == "a\ufffdb\ufffdc😀"
        assert log.worker_id == "w" * 200

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}, "text", 1.5, [1, {"a": None}], 2**70])
    def test_any_json_result(self, database: str, value: Any) -> None:
        upsert([succeeded(result=value)], using=database)
        assert row(database).result == value
        assert TaskLog.objects.using(database).filter(result__isnull=True).exists() is (value is None)

    def test_a_refused_row_does_not_take_the_others_with_it(
        self, database: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        records = [queued("a"), queued("bad", kwargs={"n": 10**5_000}), queued("c")]
        assert upsert(records, using=database) == 3
        assert row(database, "bad").kwargs == {}
        assert row(database, "c").kwargs == {"subject": "Hi"}
        assert "The TaskLog row of job bad is written without arguments" in caplog.text

        endless = succeeded("worse", finish_time=NOON.replace(year=9999), start_time=NOON.replace(year=1))
        endless.enqueue_time = None  # type: ignore[assignment]
        assert upsert([queued("d"), endless, queued("e")], using=database) == 2
        assert set(statuses(database)) == {"a", "bad", "c", "d", "e"}
        assert "The TaskLog row of job worse is left out" in caplog.text

    def test_a_refused_row_leaves_the_caller_s_transaction_alone(self, database: str) -> None:
        with transaction.atomic(using=database):
            upsert([queued("a"), queued("bad", kwargs={"n": 10**5_000})], using=database)
            worse = queued("worse", enqueue_time=None)
            assert upsert([worse, queued("c")], using=database) == 1
            upsert([queued("d")], using=database)
        assert set(statuses(database)) == {"a", "bad", "c", "d"}

    def test_users(self, database: str) -> None:
        user = get_user_model()(username="ann")
        user.save(using=database)
        for key in (user.pk, str(user.pk)):
            upsert([queued(f"by-{key!r}", options={"user": key})], using=database)
            assert row(database, f"by-{key!r}").user_id == user.pk
        upsert(
            [queued("by-nobody", options={"user": 999_999}), queued("by-ann", options={"user": user.pk})],
            using=database,
        )
        assert row(database, "by-nobody").user_id is None
        assert row(database, "by-ann").user_id == user.pk
        pk = user.pk
        user.delete(using=database)
        upsert([succeeded("by-ann", options={"user": pk})], using=database)
        assert row(database, "by-ann").user_id is None

    def test_a_query_for_users_only_where_there_are_any(self, database: str, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(1, connection=connections[database]):
            upsert([queued(str(number)) for number in range(100)], using=database)
        with django_assert_num_queries(2, connection=connections[database]):
            upsert([succeeded(str(number), options={"user": number}) for number in range(100)], using=database)

    def test_without_use_tz(self, database: str, settings: Any) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        settings.USE_TZ = False
        connections[database].close()  # a connection's time zone is set when it is opened
        try:
            upsert([succeeded()], using=database)
            log = row(database)
            assert log.enqueue_time == dt.datetime(2025, 10, 30, 13, 0)
            assert abs(log.created_at - dt.datetime.now()) < dt.timedelta(hours=3)
            TaskLog(job_id="orm", task_name="t", queue_name="q", enqueue_time=dt.datetime(2025, 10, 30, 13, 0)).save(
                using=database
            )
            assert row(database, "orm").enqueue_time == log.enqueue_time
        finally:
            connections[database].close()

    def test_a_database_without_the_table_raises(self, empty_database: str) -> None:
        with pytest.raises((OperationalError, ProgrammingError)):
            upsert([queued()], using=empty_database)

    @pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
    def test_on_sqlite_it_writes_when_its_turn_comes(
        self, database: str, make_recorder: Callable[[str], Recorder]
    ) -> None:
        turn = turn_of(str(connections[database].settings_dict["NAME"]))
        recorder = make_recorder(database)
        with turn.taken():
            recorder.receive([queued()])
            wait_until(lambda: len(turn._waiting) == 1, "it waits")
        assert recorder.flush(5)
        assert statuses(database) == {"job-1": "queued"}


@pytest.fixture
def known() -> Iterator[None]:
    """Let this process know the task of the tests' jobs, which hides nothing."""

    @task(name="send_email")
    def send_email(to: str, subject: str) -> None: ...

    yield
    registry.tasks.remove("send_email")


def written(using: str, *records: JobRecord) -> dict[str, Any]:
    """Write records one after the other, and return what the row says but for its own times, and take it away."""
    for record in records:
        upsert([record], using=using)
    [values] = TaskLog.objects.using(using).values()
    TaskLog.objects.using(using).all().delete()
    return {name: value for name, value in values.items() if name not in ("id", "created_at", "updated_at")}


@pytest.mark.usefixtures("known")
class TestBeginnings:
    """A job that is new: little is known of it, and less is written, and the row is the same."""

    def test_many_take_one_short_statement_each(self, database: str) -> None:
        many = 2 * MAX_ROWS
        with CaptureQueriesContext(connections[database]) as queries:
            assert upsert([queued(f"job-{number}") for number in range(many)], using=database) == many
        assert len(queries) == 2
        if connections[database].vendor != "mysql":
            assert all("DO NOTHING" in query["sql"] for query in queries)
        assert set(statuses(database).values()) == {"queued"}

    def test_a_row_is_as_if_it_had_been_written_whole(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"status": JobStatus.deferred, "due_time": NOON},
            {"expire_time": NOON},
            {"args": [], "kwargs": {}},
            {"args": [1.5, None, True, 2**70, "é\x00\ud800", float("inf"), {"token": "t", "a": [{}]}]},
            {"kwargs": {"subject": ["ä", 'a "word"', "\\u0000", "a\nb"], "password": "p"}},
            {"job_retry": 2**40, "job_retry_after": 0},
            {"queue": "wé" * 300},
            {"options": {"job_timeout": 5}},
            {"options": {"retry_of": "job-0"}},
            {"options": {"user": 1}},
            {"job_retries": 2},
            {"attempt": 1, "attempts": [failure(1)]},
            {"progress": 0.5, "progress_message": "half"},
            {"task": "nobody_knows_it"},
        ]
        for change in changes:
            shortened = written(database, queued(**change))
            with monkeypatch.context() as patch:
                patch.setattr(statement, "_SHORT_WAYS", ())
                assert shortened == written(database, queued(**change)), change

    @pytest.mark.parametrize("known_before", [queued(), running(), succeeded()], ids=lambda record: record.status)
    def test_a_row_that_is_there_stays(self, database: str, known_before: JobRecord) -> None:
        upsert([known_before], using=database)
        before = row(database)
        assert upsert([queued(), queued("other")], using=database) == 2
        assert row(database).status == before.status
        if connections[database].vendor != "mysql":
            assert row(database).updated_at == before.updated_at
        assert row(database, "other").status == "queued"

    def test_one_that_was_edited_is_not_new(self, database: str) -> None:
        upsert([queued()], using=database)
        upsert([queued(id=1, kwargs={"subject": "Hello"}, job_retry=7)], using=database)
        assert (row(database).kwargs, row(database).job_retry) == ({"subject": "Hello"}, 7)

    def test_arguments_are_hidden_by_those_who_know_how(self, database: str) -> None:
        registry.tasks.remove("send_email")

        @task(name="send_email", mask=["subject"])
        def send_email(to: str, subject: str) -> None: ...

        upsert([queued()], using=database)
        assert row(database).kwargs == {"subject": MASK}


@pytest.mark.usefixtures("known")
class TestGoodEnds:
    """A job that has succeeded at once and whose row is there: less is written, and the row is the same."""

    def test_rows_that_are_there_are_updated(self, database: str) -> None:
        many = 2 * MAX_ROWS
        upsert([queued(f"job-{number}") for number in range(many)], using=database)
        with CaptureQueriesContext(connections[database]) as queries:
            assert upsert([succeeded(f"job-{number}") for number in range(many)], using=database) == many
        # MySQL has no UPDATE that tells of its rows, and is told all of each.
        wanted = {"postgresql": {"WITH"}, "sqlite": {"UPDATE"}, "mysql": {"INSERT"}}
        kinds = {query["sql"].removeprefix(f"{MAX_ROWS} times: ").split()[0] for query in queries}
        assert kinds == wanted[connections[database].vendor]
        assert set(statuses(database).values()) == {"success"}

    def test_the_rest_is_written_whole(self, database: str) -> None:
        upsert([queued("there"), queued("again", attempt=1, attempts=[failure(1)])], using=database)
        again = succeeded("again", attempt=2, attempts=[failure(1), *succeeded().attempts])
        records = [succeeded("there"), succeeded("new"), again, succeeded("bad", status=JobStatus.failed)]
        assert upsert(records, using=database) == 4
        assert statuses(database) == {"there": "success", "new": "success", "again": "success", "bad": "failed"}
        assert row(database, "new").args == ["a@example.com"]
        assert len(row(database, "again").attempts) == 2

    def test_a_row_is_as_if_it_had_been_written_whole(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        befores = [queued(), running(), running(progress=0.5, progress_message="half"), None]
        changes: list[dict[str, Any]] = [
            {},
            {"result": None},
            {"result": {"token": "t", "n": [1.5]}},
            *({"result": value} for value in (0, False, "", "text", 'a "word"', [], {}, ["a\x00b\ud800", "ä"])),
            {"owner": None},
            {"owner": "wé" * 300},
        ]

        for before, change in itertools.product(befores, changes):
            records = [*([before] if before else []), succeeded(**change)]
            shortened = written(database, *records)
            with monkeypatch.context() as patch:
                patch.setattr(statement, "_SHORT_WAYS", ())
                assert shortened == written(database, *records)

    def test_it_never_moves_back(self, database: str) -> None:
        upsert([succeeded(status=JobStatus.canceled)], using=database)
        before = row(database)
        upsert([running(), queued()], using=database)
        assert row(database).updated_at == before.updated_at
        upsert([running("later", attempt=3)], using=database)
        upsert([succeeded("later")], using=database)
        assert len(row(database, "later").attempts) == 2, "what a record does not know is kept"

    def test_arguments_that_only_some_know_to_hide_are_written_again(self, database: str) -> None:
        registry.tasks.remove("send_email")
        upsert([queued()], using=database)
        assert row(database).kwargs == {"subject": "Hi"}, "by a process that does not know the task"

        @task(name="send_email", mask=["subject"])
        def send_email(to: str, subject: str) -> None: ...

        upsert([succeeded()], using=database)
        assert row(database).kwargs == {"subject": MASK}

    def test_a_database_without_the_table_raises(self, empty_database: str) -> None:
        with pytest.raises((OperationalError, ProgrammingError)):
            upsert([succeeded()], using=empty_database)


class TestRecorder:
    def test_writes(self, database: str, make_recorder: Callable[[str], Recorder]) -> None:
        recorder = make_recorder(database)
        for number in range(1_200):
            recorder.receive([queued(f"job-{number}")])
            recorder.receive([succeeded(f"job-{number}")])
        assert recorder.flush(30)
        assert len(statuses(database)) == 1_200
        assert set(statuses(database).values()) == {"success"}

    def test_waits_for_the_migrations(
        self, empty_database: str, make_recorder: Callable[[str], Recorder], caplog: pytest.LogCaptureFixture
    ) -> None:
        recorder = make_recorder(empty_database)
        recorder.receive([queued()])
        wait_until(lambda: recorder._failures, "the first write fails")
        recorder.stop(0.1)
        call_command("migrate", database=empty_database, verbosity=0)
        assert recorder.flush(10)
        assert statuses(empty_database) == {"job-1": "queued"}
        assert "django_cfg_task_log" in caplog.text

    def test_its_connection_keeps_no_queries(
        self, database: str, make_recorder: Callable[[str], Recorder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[int] = []

        def write(records: list[JobRecord]) -> None:
            connections[database].force_debug_cursor = True
            held.append(len(connections[database].queries_log))
            upsert(records, using=database)

        recorder = Recorder(write)
        for number in range(5):
            recorder.receive([queued(f"job-{number}")])
            assert recorder.flush(5)
            wait_until(lambda: not recorder._writing, "the write is settled")
        assert recorder.stop(5)
        assert held == [0] * 5


class TestConnection:
    @pytest.fixture
    def backends(
        self,
        postgres_server: PostgresServer,
        postgres_database: str,
        use_database: Callable[[dict[str, Any]], None],
    ) -> Iterator[Callable[[], set[int]]]:
        use_database(postgres_server.django(postgres_database) | {"CONN_MAX_AGE": 0})
        call_command("migrate", database=ALIAS, verbosity=0)
        connections[ALIAS].close()
        with postgres_server.connect("postgres") as other:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
            yield lambda: {row[0] for row in other.execute(query, [postgres_database]).fetchall()}

    def test_it_is_closed_at_once(
        self, backends: Callable[[], set[int]], make_recorder: Callable[[str], Recorder]
    ) -> None:
        recorder = make_recorder(ALIAS)
        recorder.receive([queued("first")])
        assert recorder.flush(5)
        wait_until(lambda: not backends(), "it is closed")

    def test_a_worker_keeps_it_for_a_while(
        self, backends: Callable[[], set[int]], make_recorder: Callable[[str], Recorder]
    ) -> None:
        recorder = make_recorder(ALIAS)
        recorder.keep_seconds = 3.0
        recorder.receive([queued("first")])
        assert recorder.flush(5)
        (first,) = backends()
        recorder.receive([queued("second")])
        assert recorder.flush(5)
        assert backends() == {first}
        wait_until(lambda: not backends(), "it is closed as nobody needs it", 20)
        recorder.receive([queued("third")])
        assert recorder.flush(5)


class TestServerFailures:
    def test_a_restart_of_postgresql_costs_no_row(
        self,
        postgres_server: PostgresServer,
        postgres_database: str,
        make_recorder: Callable[[str], Recorder],
        monkeypatch: pytest.MonkeyPatch,
        use_database: Callable[[dict[str, Any]], None],
    ) -> None:
        monkeypatch.setattr(writer, "LONGEST_PAUSE", 0.5)
        use_database(postgres_server.django(postgres_database) | {"CONN_MAX_AGE": None})
        call_command("migrate", database=ALIAS, verbosity=0)
        recorder = make_recorder(ALIAS)
        recorder.receive([queued("before")])
        assert recorder.flush(5)

        postgres_server.restart()
        recorder.receive([queued("after-restart")])
        assert recorder.flush(10)

        postgres_server.kill()
        recorder.receive([queued(f"while-down-{number}") for number in range(20)])
        assert not recorder.flush(0.5)
        postgres_server.start()
        assert recorder.flush(20)

        postgres_server.terminate_backends(postgres_database)
        recorder.receive([queued("after-cut")])
        assert recorder.flush(10)
        assert recorder.stop(5)

        connections[ALIAS].close()
        assert len(statuses(ALIAS)) == 23

    @pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
    def test_a_locked_sqlite_is_waited_for(
        self, database: str, make_recorder: Callable[[str], Recorder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "LONGEST_PAUSE", 0.2)
        other = sqlite3.connect(connections[database].settings_dict["NAME"], isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            recorder = make_recorder(database)
            recorder.receive([queued(f"job-{number}") for number in range(10)])
            wait_until(
                lambda: recorder._failures >= writer.TRIES_TOGETHER + 2, "several tries, one by one in the end", 20
            )
            other.execute("COMMIT")
        finally:
            other.close()
        assert recorder.flush(10)
        assert len(statuses(database)) == 10


@pytest.mark.django_db(transaction=True)
def test_an_open_transaction_elsewhere_does_not_disturb_it() -> None:
    """As in a project's own TestCase: the recorder is another connection, and must neither crash nor break in."""
    recorder = Recorder(upsert)
    with transaction.atomic():
        TaskLog(job_id="mine", task_name="t", queue_name="q", enqueue_time=NOON).save()
        recorder.receive([queued("other"), queued("mine")])
        recorder.flush(0.3)
        assert TaskLog.objects.filter(job_id="mine").exists()
        transaction.set_rollback(True)
    assert recorder.flush(40)
    assert recorder.stop(5)
    assert set(TaskLog.objects.values_list("job_id", "task_name")) == {("other", "send_email"), ("mine", "send_email")}
