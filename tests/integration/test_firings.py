"""Firings at given moments, with a real database: clocks that are set, crashes, timers at odds, long gaps."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.client import ReArqClient
from django_cfg_tasks.cron import Cron
from django_cfg_tasks.options import TaskOptions
from django_cfg_tasks.schedule import Schedule
from django_cfg_tasks.task import AsyncTask
from django_cfg_tasks.worker import firings
from django_cfg_tasks.worker.firings import Firings

NOON = dt.datetime(2026, 6, 1, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, tasks_config: Callable[..., dict[str, Any]]
) -> Iterator[ReArqClient]:
    url = f"sqlite://{tmp_path / 'jobs.db'}"
    if request.param != "sqlite":
        server = request.getfixturevalue(f"{request.param}_server")
        url = server.url(request.getfixturevalue(f"{request.param}_database"))
    tasks_config(rearq={"db_url": url})
    client = get_rearq_client()
    yield client
    client.close()


def each_second(**options: Any) -> AsyncTask[[], None]:
    async def tick() -> None: ...

    return AsyncTask(tick, "tick", cron=Cron(Schedule.parse("* * * * * *"), **options))


def fire(client: ReArqClient, timer: Firings, *seconds: float) -> None:
    """Let a timer look at so many seconds after noon."""
    for moment in seconds:
        client.call(timer.fire(NOON + dt.timedelta(seconds=moment)), instead="")


def fired(client: ReArqClient) -> list[int]:
    """The due times that have jobs, in seconds after noon, in the order in which they were enqueued."""
    ids = [record.job_id.removeprefix("cron:tick:") for record in client.read_records(0, 10_000)]
    return [round((dt.datetime.fromisoformat(due) - NOON).total_seconds()) for due in ids]


def seen_until(client: ReArqClient) -> float:
    until = client.call(client.store.task_states(), instead="")["tick"].fired_until
    assert until is not None
    return (until - NOON).total_seconds()


def test_a_new_task_starts_now_and_goes_on_where_timers_have_stopped(client: ReArqClient) -> None:
    task = each_second(catch_up="all")
    fire(client, Firings(client, [task]), 0.5, 1.1, 2.1)
    assert fired(client) == [1, 2]
    fire(client, Firings(client, [task]), 5.1)
    assert fired(client) == [1, 2, 3, 4, 5]


def test_a_crash_before_the_last_firings_were_noted(client: ReArqClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each due time has one job nevertheless, and SQL is not written to for each firing."""
    monkeypatch.setattr(firings, "NOTE_SECONDS", 3600)
    task = each_second(catch_up="all")
    timer = Firings(client, [task])
    fire(client, timer, 0.5, 1.1, 2.1, 3.1)
    assert seen_until(client) == 0.5
    fire(client, Firings(client, [task]), 4.1)
    assert fired(client) == [1, 2, 3, 4]
    client.call(timer.note(), instead="")
    assert seen_until(client) == 4.1  # never backwards


def test_two_timers_that_both_think_they_lead(client: ReArqClient) -> None:
    task = each_second(catch_up="all")
    timers = [Firings(client, [task]) for _ in range(2)]

    async def race(moment: dt.datetime) -> None:
        await asyncio.gather(*(timer.fire(moment) for timer in timers))

    for second in range(1, 6):
        client.call(race(NOON + dt.timedelta(seconds=second + 0.1)), instead="")
    assert fired(client) == [2, 3, 4, 5]


def test_a_clock_that_is_set_back(client: ReArqClient) -> None:
    timer = Firings(client, [each_second()])
    fire(client, timer, 0.5, 1.1, 2.1)
    fire(client, timer, -3.5, -3, -2, -1, 0, 1, 2, 3)
    assert fired(client) == [1, 2, -3, -2, -1, 0, 3]


def test_a_timer_whose_clock_was_years_ahead(client: ReArqClient, caplog: pytest.LogCaptureFixture) -> None:
    task, years = each_second(), 100_000_000
    fire(client, Firings(client, [task]), years + 0.5, years + 1.1)
    fire(client, Firings(client, [task]), 0.5, 1.1)
    assert fired(client) == [years + 1, 1]
    assert "a timer's clock was ahead, for tick was seen to until 2029" in caplog.text


def test_many_missed_due_times_come_in_several_rounds(client: ReArqClient) -> None:
    task = each_second(catch_up="all", misfire_grace=1000)
    fire(client, Firings(client, [task]), 0.5)
    timer, end = Firings(client, [task]), NOON + dt.timedelta(seconds=1500.5)
    rounds = 0
    while (timer.seconds_to_next(end) or 0) <= 0:
        client.call(timer.fire(end), instead="")
        rounds += 1
    assert rounds == 4
    assert fired(client) == list(range(501, 1501))
    assert seen_until(client) < 1500.5  # noted in between, and not for each round


def test_skip_holds_for_those_that_are_caught_up_with_as_well(client: ReArqClient) -> None:
    task = each_second(catch_up="all", overlap="skip")
    fire(client, Firings(client, [task]), 0.5)
    fire(client, Firings(client, [task]), 5.1)
    assert fired(client) == [1]
    fire(client, Firings(client, [task]), 6.1)
    assert fired(client) == [1]
    client.cancel("cron:tick:2026-06-01T12:00:01Z")
    fire(client, Firings(client, [task]), 7.1)
    assert fired(client) == [1, 7]


def test_a_leader_that_dies_before_its_note_leaves_no_job_that_the_next_one_overlaps(
    client: ReArqClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the task is unique in a way of its own, which has ended when the job has started."""
    cron = Cron(Schedule.parse("* * * * * *"), overlap="skip")
    task = AsyncTask(each_second().function, "tick", TaskOptions(unique=True, unique_for="until_start"), cron)
    timer = Firings(client, [task])
    fire(client, timer, 0.5)

    async def killed() -> None: ...

    monkeypatch.setattr(timer, "note", killed)
    fire(client, timer, 1.1)
    assert fired(client) == [1]
    [job_id] = [record.job_id for record in client.read_records(0, 10)]
    assert client.call(client.store.claim([job_id], "worker"), instead="")
    fire(client, Firings(client, [task]), 3.1, 4.1)
    assert fired(client) == [1]


class TestPaused:
    def pause(self, client: ReArqClient) -> None:
        client.call(client.store.pause("tick"), instead="")

    def resume(self, client: ReArqClient) -> None:
        client.call(client.store.resume("tick"), instead="")

    def test_what_is_due_meanwhile_is_left_out_and_not_made_up_for(
        self, client: ReArqClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "django_cfg_tasks.timer")
        timer = Firings(client, [each_second(catch_up="all")])
        fire(client, timer, 0.5, 1.1)
        self.pause(client)
        fire(client, timer, 2.1, 3.1, 4.1)
        self.resume(client)
        fire(client, timer, 5.1)
        assert fired(client) == [1, 5]
        assert caplog.text.count("tick is paused; its due times are left out until it is resumed") == 1

    def test_the_next_timer_leaves_out_what_the_last_one_has_not_seen(self, client: ReArqClient) -> None:
        task = each_second(catch_up="all")
        fire(client, Firings(client, [task]), 0.5)
        self.pause(client)
        timer = Firings(client, [task])
        fire(client, timer, 5.1)
        self.resume(client)
        fire(client, timer, 6.1)
        assert fired(client) == [6]

    def test_a_paused_task_does_not_run_at_a_timer_s_start(self, client: ReArqClient) -> None:
        self.pause(client)
        task = each_second(run_at_start=True)
        client.call(Firings(client, [task]).start("one"), instead="")
        assert fired(client) == []
        self.resume(client)
        client.call(Firings(client, [task]).start("two"), instead="")
        assert [record.job_id for record in client.read_records(0, 10)] == ["start:tick:two"]

    def test_pausing_and_disabling_are_two_things(self, client: ReArqClient) -> None:
        self.pause(client)
        client.call(client.store.disable("tick"), instead="")
        self.resume(client)
        state = client.call(client.store.task_states(), instead="")["tick"]
        assert (state.paused, state.disabled) == (False, True)
