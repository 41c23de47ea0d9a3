"""The commands that look at jobs and act on them, with the real engine; no worker runs: jobs stay as they are."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from django_cfg_tasks import cron_task, get_rearq_client, task
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.recorder import recorder, upsert
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import schema
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def engine(tasks_config: Callable[..., Any], transactional_db: None) -> Iterator[ReArqClient]:
    """The engine of this process, and tasks that are known as long as the test lasts."""
    tasks_config()
    with connection.cursor() as cursor:
        for table in (schema.RESULTS, schema.JOBS, schema.TASKS):
            cursor.execute(f"DELETE FROM {table}")

    @task(name="send", job_retry=0)
    def send(to: str) -> None: ...

    @task(name="report", queue="reports", max_concurrent=2)
    def report() -> None: ...

    @cron_task("0 4 * * *", name="nightly")
    def nightly() -> None: ...

    yield get_rearq_client()
    for name in ("send", "report", "nightly"):
        tasks.remove(name)
    get_rearq_client().close()


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as error:
        run(*words)
    return str(error.value)


def enqueued(name: str, *args: Any, **using: Any) -> str:
    job = tasks[name].using(**using).enqueue(*args)
    assert recorder.flush(10)
    wait_until(TaskLog.objects.filter(job_id=job.job_id).exists, "the job is in the log")
    return job.job_id


def failed(client: ReArqClient, to: str) -> str:
    """Return a job that has failed, as a worker would leave it."""
    job_id = enqueued("send", to)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {schema.JOBS} SET status = 'failed' WHERE job_id = %s", [job_id])
    record = client.load([job_id])[job_id]
    record.finish_time = record.enqueue_time
    upsert([record])
    return job_id


def statuses(client: ReArqClient, *job_ids: str) -> list[str]:
    records = client.load(job_ids)
    return [records[job_id].status.value for job_id in job_ids]


def answers(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_list(engine: ReArqClient) -> None:
    enqueued("send", "ada")
    engine.disable("report")
    engine.pause("nightly")
    lines = [line.split() for line in run("tasks_list").splitlines()]
    others = [["add"], ["add_in_thread"]]  # of the tests' own project
    assert [line for line in lines if line[:1] not in others] == [
        ["TASK", "QUEUE", "SCHEDULE", "WAITING", "RUNNING", "OPTIONS"],
        ["nightly", "default", "0", "4", "*", "*", "*", "(paused)", "0", "0", "-"],
        ["report", "reports", "-", "0", "0", "disabled,", "max_concurrent=2"],
        ["send", "default", "-", "1", "0", "job_retry=0"],
    ]
    (only,) = json.loads(run("tasks_list", "--queue", "reports", "--json"))
    assert (only["name"], only["enabled"], only["options"]["max_concurrent"]) == ("report", False, 2)
    listed = {each["name"]: each for each in json.loads(run("tasks_list", "--json"))}
    assert listed["nightly"]["schedule"]["expression"] == "0 4 * * *"
    assert listed["send"]["schedule"] is None


def test_inspect(engine: ReArqClient) -> None:
    for _ in range(3):
        enqueued("send", "ada")
    enqueued("report", countdown=600)
    text = run("tasks_inspect")
    assert "queue:default: No worker is alive." in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("default", "reports"))}
    assert rows["default"][0] == "3"
    assert rows["default"][2:] == ["s", "0", "0", "0", "0"]
    assert rows["reports"] == ["0", "-", "0", "1", "0", "0"]
    shown = json.loads(run("tasks_inspect", "--json"))
    assert shown["healthy"] is False
    assert [(queue["name"], queue["ready"]) for queue in shown["queues"]] == [("default", 3), ("reports", 0)]
    assert shown["open"] == {"queued": 3, "deferred": 1}


def test_run_only_enqueues(engine: ReArqClient, django_user_model: Any) -> None:
    ada = django_user_model.objects.create_user("ada")
    job_id = run(
        "tasks_run", "send", "--kwargs", '{"to": "ada"}', "--queue", "slow", "--countdown", "60", "--no-wait",
        "--user", "ada",
    ).strip()  # fmt: skip
    record = engine.load([job_id])[job_id]
    assert (record.queue, record.status, record.kwargs) == ("slow", JobStatus.deferred, {"to": "ada"})
    assert record.options["user"] == ada.pk
    assert LogEntry.objects.get().user == ada
    shown = json.loads(run("tasks_run", "send", "--args", '["bob"]', "--no-wait", "--json"))
    assert (shown["status"], shown["queue"]) == ("queued", "default")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sned"], "No task is called 'sned'. Did you mean 'send'?"),
        (["port"], "No task is called 'port'. Did you mean 'report'?"),
        (["xyz"], "No task is called 'xyz'. There are: add, add_in_thread, nightly, report, send."),
        (["send", "--kwargs", "{"], "--kwargs '{' is not JSON"),
        (["send", "--args", "{}"], "--args '{}': it takes a JSON array"),
        (["send", "--args", "[]"], "missing a required argument: 'to'"),
        (["send", "--args", '["a"]', "--queue", "two words"], "a queue's name holds no spaces"),
        (["send", "--args", '["a"]', "--user", "nobody"], "--user 'nobody': there is no such user."),
    ],
)
def test_run_refuses(words: list[str], said: str) -> None:
    assert said in refused("tasks_run", *words)
    assert not TaskLog.objects.exists()


def test_run_says_that_it_waits_in_vain(engine: ReArqClient) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"The job has not ended in 0\.2 s, and goes on") as error:
        call_command("tasks_run", "send", "--args", '["ada"]', "--timeout", "0.2", stdout=out)
    assert error.value.returncode == 3
    assert "waits" in out.getvalue()


def test_cancel_by_id(engine: ReArqClient) -> None:
    one, two = enqueued("send", "ada"), enqueued("send", "bob")
    assert run("tasks_cancel", one) == f"{one}: canceled\n"
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"2 of 3 job\(s\) could not be canceled\.") as error:
        call_command("tasks_cancel", one, two, "no-such-job", stdout=out, no_color=True)
    assert error.value.returncode == 1
    assert out.getvalue().splitlines() == [
        f"{one}: The job has ended already: canceled.",
        f"{two}: canceled",
        "no-such-job: No job has this id.",
    ]
    assert statuses(engine, one, two) == ["canceled", "canceled"]


def test_cancel_all_of_a_kind(engine: ReArqClient, django_user_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    django_user_model.objects.create_user("ada")
    jobs = [enqueued("send", "ada"), enqueued("send", "bob", countdown=60), enqueued("report")]
    assert run("tasks_cancel", "--task", "send", "--dry-run") == "2 job(s) would be canceled (send 2).\n"
    answers(monkeypatch, "no\n")
    assert refused("tasks_cancel", "--task", "send") == "Nothing was done."
    answers(monkeypatch, "")
    assert "Nobody answers here." in refused("tasks_cancel", "--task", "send")
    assert statuses(engine, *jobs) == ["queued", "deferred", "queued"]
    answers(monkeypatch, "yes\n")
    assert "1 job(s) canceled." in run("tasks_cancel", "--task", "send", "--status", "deferred", "--user", "ada")
    assert LogEntry.objects.get().change_message == "cancel: 1 of 1"
    assert json.loads(run("tasks_cancel", "--queue", "default", "--no-input", "--json"))["acted_on"] == 1
    assert statuses(engine, *jobs) == ["canceled", "canceled", "queued"]
    assert refused("tasks_cancel", "--task", "sned") == "No task is called 'sned'. Did you mean 'send'?"
    assert "Say which jobs" in refused("tasks_cancel")
    assert "Say which jobs" in refused("tasks_cancel", jobs[2], "--task", "report")


def test_retry(engine: ReArqClient) -> None:
    one, two = failed(engine, "ada"), failed(engine, "bob")
    waits = enqueued("report")
    assert run("tasks_retry", one).startswith(f"{one}: run again as ")
    assert recorder.flush(10)
    assert "The job is queued" in run_and_fail("tasks_retry", waits)
    # The one that was run again is not failed any more, for whoever looks for failed ones.
    for words in (["--since", "2h"], ["--task", "send"], ["--queue", "default", "--since", "2020-01-01"]):
        assert run("tasks_retry", "--failed", *words, "--dry-run") == "1 job(s) would be run again (send 1).\n"
    report = json.loads(run("tasks_retry", "--failed", "--since", "2h", "--no-input", "--json"))
    assert (report["met"], report["acted_on"], report["by_task"]) == (1, 1, {"send": 1})
    assert recorder.flush(10)
    assert TaskLog.objects.get(retry_of=two).args == ["bob"]
    assert run("tasks_retry", "--failed", "--no-input") == "0 job(s) would be run again.\n"
    assert "--failed is missing" in refused("tasks_retry", "--task", "send")
    assert "neither an age" in refused("tasks_retry", "--failed", "--since", "soon")


def run_and_fail(*words: str) -> str:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command(*words, stdout=out, no_color=True)
    return out.getvalue()


def test_sync_and_purge_in_json() -> None:
    enqueued("send", "ada")
    assert json.loads(run("tasks_sync", "--json")) == {"read": 1, "written": 1}
    report = json.loads(run("tasks_purge", "--days", "1", "--json"))
    assert (report["jobs"], report["logs"], report["dry_run"]) == (0, 0, False)


def test_purge_asks_who_sits_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    assert refused("tasks_purge", "--days", "1") == "Nothing was done."
    assert "0 jobs, 0 attempts and 0 rows of the task log deleted" in run("tasks_purge", "--days", "1", "--no-input")
