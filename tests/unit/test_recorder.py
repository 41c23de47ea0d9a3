"""The recorder's buffer and thread, its merge rule, and how a record becomes a row. No database here."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from django_cfg_tasks import registry, task
from django_cfg_tasks.jobs import AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.masking import MASK
from django_cfg_tasks.recorder import Dropped, Recorder, rows, writer
from django_cfg_tasks.recorder.merge import latest, merge
from tests.records import NOON, failure, queued, running, succeeded
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Store:
    """What a recorder wrote. Its gate can be shut, and it can refuse jobs or everything."""

    def __init__(self) -> None:
        self.batches: list[list[JobRecord]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.down = False
        self.refused: set[str] = set()
        self.calls = 0

    def write(self, records: Sequence[JobRecord]) -> None:
        assert self.gate.wait(10)
        self.calls += 1
        if self.down or self.refused.intersection(record.job_id for record in records):
            raise ConnectionError("no database today")
        self.batches.append(list(records))

    @property
    def written(self) -> list[tuple[str, str]]:
        return [(record.job_id, record.status.value) for batch in self.batches for record in batch]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make_recorder(store: Store) -> Iterator[Callable[..., Recorder]]:
    made: list[Recorder] = []

    def make(**options: Any) -> Recorder:
        made.append(Recorder(store.write, **options))
        return made[-1]

    yield make
    store.gate.set()
    for recorder in made:
        recorder.stop(1)


@pytest.fixture
def recorder(make_recorder: Callable[..., Recorder]) -> Recorder:
    return make_recorder()


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(writer, "LONGEST_PAUSE", 0.02)


class TestWriting:
    def test_a_lone_record_is_written_at_once(self, recorder: Recorder, store: Store) -> None:
        recorder.receive([queued()])
        assert recorder.flush(5)
        time.sleep(0.1)
        began = time.monotonic()
        recorder.receive([succeeded()])
        wait_until(lambda: len(store.batches) == 2, "the second record is written", 5)
        assert time.monotonic() - began < 0.05
        assert store.written == [("job-1", "queued"), ("job-1", "success")]

    def test_what_gathers_during_a_write_is_one_batch_and_one_row_a_job(self, recorder: Recorder, store: Store) -> None:
        store.gate.clear()
        recorder.receive([queued("first")])
        wait_until(lambda: not recorder._pending, "the first write is under way")
        for number in range(20):
            recorder.receive([queued(f"job-{number}")])
            recorder.receive([running(f"job-{number}"), succeeded(f"job-{number}")])
        store.gate.set()
        assert recorder.flush(5)
        assert [len(batch) for batch in store.batches] == [1, 20]
        assert {status for _, status in store.written[1:]} == {"success"}

    def test_batches_are_bounded_and_in_order(self, make_recorder: Callable[..., Recorder], store: Store) -> None:
        recorder = make_recorder(batch=10)
        recorder.receive([queued(f"job-{number:03}") for number in range(35)])
        assert recorder.flush(5)
        assert [len(batch) for batch in store.batches] == [10, 10, 10, 5]
        assert [job_id for job_id, _ in store.written] == [f"job-{number:03}" for number in range(35)]

    def test_later_changes_to_a_record_are_not_seen(self, recorder: Recorder, store: Store) -> None:
        store.gate.clear()
        record = queued()
        recorder.receive([record])
        record.status = JobStatus.canceled
        store.gate.set()
        assert recorder.flush(5)
        assert store.written == [("job-1", "queued")]

    def test_receives_from_many_threads_and_loops(self, recorder: Recorder, store: Store) -> None:
        def send(thread: int) -> None:
            async def in_a_loop() -> None:
                for number in range(50):
                    recorder.receive([queued(f"{thread}-{number}")])

            asyncio.run(in_a_loop())

        threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.flush(10)
        assert len({job_id for job_id, _ in store.written}) == 1_000

    def test_receiving_never_waits_for_a_write(self, recorder: Recorder, store: Store) -> None:
        store.gate.clear()
        began = time.monotonic()
        for number in range(1_000):
            recorder.receive([queued(f"job-{number}")])
        assert time.monotonic() - began < 1
        assert not recorder.flush(0.01)


class TestFailure:
    @pytest.mark.usefixtures("fast_retries")
    def test_nothing_is_lost_while_the_database_is_down(
        self, recorder: Recorder, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.down = True
        with caplog.at_level(logging.INFO, "django_cfg_tasks"):
            recorder.receive([queued(f"job-{number}") for number in range(5)])
            wait_until(lambda: store.calls > 8, "several tries")
            recorder.receive([succeeded("job-3"), queued("job-9")])
            store.down = False
            assert recorder.flush(5)
        assert sorted(store.written) == [
            ("job-0", "queued"), ("job-1", "queued"), ("job-2", "queued"), ("job-3", "success"), ("job-4", "queued"),
            ("job-9", "queued"),
        ]  # fmt: skip
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1, "one line, however many tries"
        assert "no database today" in warnings[0].getMessage()
        assert warnings[0].exc_info is None
        assert caplog.records[-1].getMessage() == "TaskLog is written again"

    @pytest.mark.usefixtures("fast_retries")
    def test_one_row_that_always_fails_does_not_hold_up_the_others(
        self, recorder: Recorder, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.refused = {"bad"}
        recorder.receive([queued("bad"), queued("good-1"), queued("good-2")])
        wait_until(lambda: len(store.batches) >= 2, "the good rows are written")
        recorder.receive([queued("good-3")])
        for number in range(20):  # a bad row is told from a bad database by others that succeed
            recorder.receive([queued(f"more-{number}")])
            wait_until(lambda n=number: (f"more-{n}", "queued") in store.written, "the next row is written")
            if not recorder.pending:
                break
        assert recorder.flush(5)
        assert {"good-1", "good-2", "good-3"} <= {job_id for job_id, _ in store.written}
        assert "The TaskLog row of job bad is left out" in caplog.text

    def test_a_retry_waits_longer_each_time_and_flush_does_not_wait_for_it(
        self, recorder: Recorder, store: Store
    ) -> None:
        assert [round(pause, 1) for pause in pauses(recorder, 10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
        store.down = True
        recorder._failures = 7  # the next pause is 25 s
        recorder.receive([queued()])
        wait_until(lambda: store.calls and not recorder._writing, "the write failed")
        store.down = False
        began = time.monotonic()
        assert recorder.flush(5)
        assert time.monotonic() - began < 2

    def test_the_buffer_is_bounded(
        self, make_recorder: Callable[..., Recorder], store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        recorder = make_recorder(capacity=100)
        store.gate.clear()
        recorder.receive([queued("first")])
        wait_until(lambda: not recorder._pending, "the first write is under way")
        for number in range(250):
            recorder.receive([queued(f"job-{number}")])
        store.gate.set()
        assert recorder.flush(5)
        assert [job_id for job_id, _ in store.written] == ["first", *(f"job-{number}" for number in range(150, 250))]
        assert caplog.text.count("the oldest are dropped") == 1

    def test_what_was_dropped_is_told_once_it_can_be_brought_back(
        self, make_recorder: Callable[..., Recorder], store: Store
    ) -> None:
        recorder = make_recorder(capacity=100)
        assert recorder.take_dropped() is None
        store.gate.clear()
        recorder.receive([queued("first")])
        wait_until(lambda: not recorder._pending, "the first write is under way")
        oldest = NOON - dt.timedelta(hours=1)
        recorder.receive([queued(f"job-{number}") for number in range(150)])
        recorder.receive([queued(f"late-{number}", enqueue_time=oldest) for number in range(100)])
        recorder.receive([queued("one-more")])
        assert recorder.has_dropped
        assert recorder.take_dropped() is None, "the buffer is full"
        store.gate.set()
        assert recorder.flush(5)
        assert recorder.take_dropped() == Dropped(151, oldest)
        assert recorder.take_dropped() is None
        assert not recorder.has_dropped

    @pytest.mark.usefixtures("fast_retries")
    def test_what_was_dropped_is_not_told_while_writing_fails(
        self, make_recorder: Callable[..., Recorder], store: Store
    ) -> None:
        recorder = make_recorder(capacity=4)
        store.refused = {"bad"}
        recorder.receive([queued(job_id) for job_id in ("dropped", "bad", "a", "b", "c")])
        wait_until(lambda: len(store.written) == 3, "all but one are written")
        assert recorder.pending == 1
        assert recorder.take_dropped() is None
        store.refused = set()
        assert recorder.flush(5)
        assert recorder.take_dropped() == Dropped(1, NOON)

    def test_flush_tells_when_it_gave_up(self, recorder: Recorder, store: Store) -> None:
        assert recorder.flush(0)
        store.gate.clear()
        recorder.receive([queued()])
        assert not recorder.flush(0.05)
        store.gate.set()
        assert recorder.flush(5)


def pauses(recorder: Recorder, count: int) -> Iterator[float]:
    for failures in range(1, count + 1):
        recorder._failures = failures
        yield recorder._pause()
    recorder._failures = 0


class TestThread:
    def test_stop_writes_what_is_left_and_a_later_record_starts_anew(self, recorder: Recorder, store: Store) -> None:
        recorder.receive([queued("a")])
        assert recorder.stop(5)
        assert recorder._thread is None
        recorder.receive([queued("b")])
        assert recorder.flush(5)
        assert store.written == [("a", "queued"), ("b", "queued")]

    def test_records_that_come_while_it_stops_are_written(self, recorder: Recorder, store: Store) -> None:
        for number in range(200):
            recorder.receive([queued(f"a{number}")])
            stopping = threading.Thread(target=recorder.stop, args=(5,))
            stopping.start()
            recorder.receive([queued(f"b{number}")])
            stopping.join()
            assert recorder.flush(5)
        assert len(store.written) == 400

    def test_stop_without_a_start(self, recorder: Recorder) -> None:
        assert recorder.stop(0)

    def test_stop_keeps_what_it_could_not_write(self, recorder: Recorder, store: Store) -> None:
        store.down = True
        recorder.receive([queued()])
        wait_until(lambda: store.calls, "a try")
        assert not recorder.stop(0.1)
        store.down = False
        assert recorder.flush(5)
        assert store.written == [("job-1", "queued")]

    def test_importing_starts_nothing_and_the_rest_is_written_at_exit(self) -> None:
        output = script("""
            import threading
            import django
            django.setup()
            from django_cfg_tasks.recorder import Recorder, recorder
            assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
            import time
            from tests.records import queued
            def write(records):
                time.sleep(0.2)
                print([record.job_id for record in records], flush=True)
            slow = Recorder(write)
            slow.receive([queued("a")])
        """)
        assert output == "['a']\n"

    def test_an_exit_does_not_wait_long_for_a_database_that_is_down(self) -> None:
        began = time.monotonic()
        script("""
            import django
            django.setup()
            from django_cfg_tasks.recorder import Recorder
            from tests.records import queued
            def write(records):
                raise ConnectionError("down")
            Recorder(write).receive([queued("a")])
        """)
        assert time.monotonic() - began < 15

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_forked_child_starts_its_own_with_an_empty_buffer(self) -> None:
        output = script("""
            import os, threading, time
            import django
            django.setup()
            from django_cfg_tasks.recorder import Recorder
            from tests.records import queued
            gate = threading.Event()
            def write(records):
                gate.wait(5)
                os.write(1, f"{os.getpid() == parent} {sorted(r.job_id for r in records)}\\n".encode())
            parent = os.getpid()
            recorder = Recorder(write)
            recorder.receive([queued("a")])
            while recorder._pending:
                time.sleep(0.001)
            recorder.receive([queued("b")])
            with recorder._condition:  # as another thread might hold it at this moment
                child = os.fork()
            if not child:
                assert recorder.pending == 0
                recorder.receive([queued("child")])
                gate.set()
                os._exit(0 if recorder.flush(5) else 1)
            assert os.waitpid(child, 0)[1] == 0
            gate.set()
            assert recorder.flush(5)
        """)
        assert output.splitlines() == ["False ['child']", "True ['a']", "True ['b']"]


def script(code: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestMerge:
    def test_a_later_state_replaces_and_an_earlier_one_does_not(self) -> None:
        first, again = running(attempt=1), running(attempt=2)
        back = queued(attempt=1, attempts=[failure(1)])
        for old, new in [
            (queued(), first),
            (first, back),
            (back, again),
            (again, succeeded()),
            (queued(), succeeded()),
        ]:
            assert merge(old, new).status is new.status
            assert merge(new, old) is new

    def test_at_a_tie_the_later_one_stands(self) -> None:
        old, new = running(owner="a:1"), running(owner="b:1")
        assert merge(old, new).owner == "b:1"

    def test_times_of_one_state_are_never_unlearned(self) -> None:
        told = succeeded(status=JobStatus.canceled)
        merged = merge(told, running(status=JobStatus.canceled))
        assert (merged.finish_time, merged.duration_ms) == (told.finish_time, 1500)
        assert merge(running(), queued(attempt=1)).start_time is None

    def test_attempts_are_never_unlearned(self) -> None:
        known = [failure(1), failure(2)]
        merged = merge(queued(attempt=2, attempts=known), running(attempt=3, attempts=[]))
        assert merged.status is JobStatus.in_progress
        assert merged.attempts == known

    def test_progress_lasts_until_another_attempt_starts(self) -> None:
        old = running(progress=0.5, progress_message="half")
        assert merge(old, running(progress=0.7, progress_message="more")).progress == 0.7
        assert merge(old, running()).progress_message == "half"
        assert merge(old, succeeded()).progress == 0.5
        assert merge(old, queued(attempt=1)).progress is None
        assert merge(old, running(attempt=2)).progress is None

    def test_one_record_for_each_job_in_one_order(self) -> None:
        assert [r.status for r in latest([queued("b"), succeeded("a"), queued("a"), running("b")])] == [
            JobStatus.success,
            JobStatus.in_progress,
        ]


class TestRow:
    def test_a_job_that_ended(self) -> None:
        row = rows.values(succeeded(options={"user": "7"}, expire_time=NOON + dt.timedelta(hours=1)))
        assert row["success"] is True
        assert row["status"] == "success"
        assert row["duration_ms"] == 1_500
        assert row["user_id"] == 7
        assert row["worker_id"] == "host:1"
        assert row["attempts"][0]["outcome"] == "success"
        assert row["created_at"] == row["updated_at"]

    def test_the_worker_is_known_after_it_let_go(self) -> None:
        assert rows.values(succeeded(owner=None))["worker_id"] == "host:1"
        assert rows.values(queued(attempt=1, attempts=[failure(1)]))["worker_id"] == ""

    def test_a_user_that_can_not_be_one(self, caplog: pytest.LogCaptureFixture) -> None:
        assert rows.values(queued(options={"user": "nobody"}))["user_id"] is None
        assert "'nobody'" in caplog.text

    def test_text_that_no_database_takes(self) -> None:
        row = rows.values(
            succeeded(
                "job\x00",
                task="t" * 300,
                args=["a\x00b", "\ud800", "😀", {"k\x00": "v\x00"}],
                kwargs={"n": float("nan"), "i": [float("inf"), 1.5], "ok": "é"},
                error_class="E" * 300,
                error_message="bad \x00 \udfff text",
                traceback="x" * 300_000,
                progress=float("nan"),
                job_retry_after=10**12,
            )
        )
        assert row["job_id"] == "job\ufffd"
        assert row["task_name"] == "t" * 200
        assert row["args"] == ["a\ufffdb", "\ufffd", "😀", {"k\ufffd": "v\ufffd"}]
        assert row["kwargs"] == {"n": "nan", "i": ["inf", 1.5], "ok": "é"}
        assert len(row["error_class"]) == 255
        assert row["error_message"] == "bad \ufffd \ufffd text"
        assert len(row["traceback"]) < rows.MAX_TEXT + 100
        assert row["progress"] is None
        assert row["job_retry_after"] == 2**31 - 1

    def test_only_the_newest_attempts_keep_their_traceback(self) -> None:
        attempts = [failure(number) for number in range(1, 51)]
        shown = rows.values(queued(attempt=50, attempts=attempts))["attempts"]
        assert [entry["attempt"] for entry in shown] == list(range(1, 51))
        assert [entry["traceback"] is not None for entry in shown] == [False] * 30 + [True] * 20
        assert attempts[0].traceback is not None

    def test_secrets_are_masked_by_key_parameter_and_the_task_s_own_list(self) -> None:
        @task(name="test_recorder_mask", mask=["iban"])
        def pay(amount: int, password: str, iban: str, token: str = "") -> None: ...

        try:
            row = rows.values(
                succeeded(
                    task="test_recorder_mask",
                    args=[5, "hunter2", "DE89"],
                    kwargs={"token": "t"},
                    result={"iban": "DE89", "ok": [{"secret": 1}]},
                )
            )
        finally:
            registry.tasks.remove("test_recorder_mask")
        assert row["args"] == [5, MASK, MASK]
        assert row["kwargs"] == {"token": MASK}
        assert row["result"] == {"iban": MASK, "ok": [{"secret": MASK}]}

    def test_a_bound_task_s_context_is_not_counted(self) -> None:
        @task(name="test_recorder_bind", bind=True)
        def login(ctx: Any, user: str, password: str) -> None: ...

        try:
            assert rows.values(queued(task="test_recorder_bind", args=["ann", "x"]))["args"] == ["ann", MASK]
        finally:
            registry.tasks.remove("test_recorder_bind")

    def test_a_task_can_keep_its_data_out(self) -> None:
        @task(name="test_recorder_private", log_args=False)
        def private(text: str) -> str:
            return text

        try:
            row = rows.values(succeeded(task="test_recorder_private", args=["x"], kwargs={"y": 1}, result="z"))
        finally:
            registry.tasks.remove("test_recorder_private")
        assert (row["args"], row["kwargs"], row["result"]) == ([], {}, None)

    def test_a_task_that_this_process_does_not_know(self) -> None:
        row = rows.values(queued(task="elsewhere", args=[{"password": "p"}], kwargs={"api_key": "k", "n": 1}))
        assert row["args"] == [{"password": MASK}]
        assert row["kwargs"] == {"api_key": MASK, "n": 1}

    def test_times_are_naive_and_local_without_use_tz(self, settings: Any) -> None:
        settings.USE_TZ = False
        settings.TIME_ZONE = "Europe/Berlin"
        row = rows.values(queued())
        assert row["enqueue_time"] == dt.datetime(2025, 10, 30, 13, 0)
        assert row["created_at"].tzinfo is None

    def test_an_orphaned_attempt_shows(self) -> None:
        orphaned = failure(1, AttemptOutcome.orphaned)
        assert rows.values(queued(attempt=1, attempts=[orphaned]))["attempts"][0]["outcome"] == "orphaned"
