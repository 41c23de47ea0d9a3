"""How a job's attempts become bars: what is drawn, how wide, and what is said."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from django_cfg_tasks.admin.job.attempts import LEAST_WIDTH, MOST, Timeline, timeline, widths
from django_cfg_tasks.models import TaskLog
from tests.records import NOON


def at(seconds: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=seconds)


def attempt(number: int, start: float | None, finish: float | None, outcome: str = "retried") -> dict[str, Any]:
    return {
        "attempt": number,
        "worker": "host:1",
        "start_time": at(start).isoformat() if start is not None else None,
        "finish_time": at(finish).isoformat() if finish is not None else None,
        "outcome": outcome,
    }


def log(status: str, *attempts: Any, start: float | None = None, finish: float | None = None, **fields: Any) -> TaskLog:
    return TaskLog(
        job_id="job-1",
        task_name="send",
        status=status,
        enqueue_time=NOON,
        attempts=list(attempts),
        start_time=at(start) if start is not None else None,
        finish_time=at(finish) if finish is not None else None,
        **fields,
    )


def bars(shown: Timeline) -> list[tuple[str, float]]:
    return [(span.look, round(span.length.total_seconds(), 3)) for span in shown.spans]


class TestWidths:
    def test_in_proportion(self) -> None:
        assert widths([1, 3]) == [25, 75]

    def test_the_shortest_can_be_seen_and_all_of_them_fill_the_line(self) -> None:
        short, long, none = widths([0.001, 3_600, 0])
        assert short == none == LEAST_WIDTH
        assert long == pytest.approx(100 - 2 * LEAST_WIDTH)

    @pytest.mark.parametrize("lengths", [[0.0] * 7, [5.0], [0.0], [1e-9, 1e9], [*range(1_000)], [0.0] * 500 + [1.0]])
    def test_any_lengths_fill_the_line(self, lengths: list[float]) -> None:
        shares = widths(lengths)
        assert sum(shares) == pytest.approx(100)
        assert min(shares) > 0

    def test_raising_some_does_not_sink_others(self) -> None:
        """What is just above the least width may come below it once others were raised to it."""
        assert min(widths([LEAST_WIDTH + 0.001, *[0.0] * 60, 100 - LEAST_WIDTH])) >= LEAST_WIDTH

    def test_no_bars(self) -> None:
        assert widths([]) == []


class TestTimeline:
    def test_a_job_that_ended_well(self) -> None:
        shown = timeline(log("success", attempt(1, 1, 2.5, "success"), start=1, finish=2.5))
        assert bars(shown) == [("waited", 1), ("success", 1.5)]
        assert (shown.begin, shown.end, shown.goes_on, shown.total) == (NOON, at(2.5), False, "2.5 s")

    def test_pauses_between_attempts(self) -> None:
        shown = timeline(
            log("failed", attempt(1, 1, 2), attempt(2, 62, 63), attempt(3, 123, 125, "failed"), finish=125)
        )
        assert bars(shown) == [
            ("waited", 1), ("retried", 1), ("paused", 60), ("retried", 1), ("paused", 60), ("failed", 2),
        ]  # fmt: skip
        assert ("paused", "Paused before a retry", "2 min in all, 2 times") in shown.legend()

    def test_after_its_worker_died_it_waits_for_another(self) -> None:
        shown = timeline(log("success", attempt(1, 0, 30, "orphaned"), attempt(2, 31, 32, "success"), finish=32))
        assert bars(shown) == [("orphaned", 30), ("waited", 1), ("success", 1)]

    def test_one_that_runs_is_drawn_until_now(self) -> None:
        shown = timeline(log("in_progress", attempt(1, 1, 2), start=62, worker_id="host:2"), now=at(70))
        assert bars(shown)[-1] == ("in_progress", 8)
        assert (shown.attempts[-1].number, shown.attempts[-1].worker, shown.goes_on) == (2, "host:2", True)

    @pytest.mark.parametrize(
        ("due", "drawn"),
        [
            (None, [("waited", 10)]), (60, [("deferred", 10)]), (6, [("deferred", 6), ("waited", 4)]),
            (-5, [("waited", 10)]),
        ],
    )  # fmt: skip
    def test_one_that_has_not_started(self, due: float | None, drawn: list[Any]) -> None:
        shown = timeline(log("deferred"), None if due is None else at(due), now=at(10))
        assert bars(shown) == drawn

    def test_one_that_was_deferred_and_started_late(self) -> None:
        shown = timeline(log("success", attempt(1, 15, 16, "success"), finish=16), due=at(10))
        assert bars(shown) == [("deferred", 10), ("waited", 5), ("success", 1)]

    def test_when_the_next_attempt_is_due_says_nothing_of_the_first(self) -> None:
        shown = timeline(log("deferred", attempt(1, 5, 6)), due=at(66), now=at(20))
        assert bars(shown) == [("waited", 5), ("retried", 1), ("paused", 14)]
        shown = timeline(log("queued", attempt(1, 5, 6)), due=at(66), now=at(70))
        assert bars(shown) == [("waited", 5), ("retried", 1), ("paused", 60), ("waited", 4)]

    def test_one_that_expired(self) -> None:
        assert bars(timeline(log("expired", finish=30))) == [("waited", 30)]

    def test_one_that_was_canceled_and_does_not_say_when(self) -> None:
        assert bars(timeline(log("canceled"))) == []
        shown = timeline(log("canceled", start=3))
        assert bars(shown) == [("waited", 3)]
        assert shown.attempts[0].ran is None

    def test_only_what_came_of_it_is_known(self) -> None:
        shown = timeline(log("failed", start=1, finish=3, error_class="ValueError", error_message="no"))
        assert bars(shown) == [("waited", 1), ("failed", 2)]
        assert shown.attempts[0].error == "ValueError: no"

    def test_clocks_that_differ(self) -> None:
        """A worker's clock is an hour behind: its runs keep their lengths, and nothing is negative."""
        shown = timeline(log("success", attempt(1, -3600, -3598), attempt(2, -3590, -3589, "success"), finish=-3589))
        assert bars(shown) == [("retried", 2), ("success", 1)]
        assert shown.end == NOON
        shown = timeline(log("success", attempt(1, 9, 3, "success"), finish=3))
        assert bars(shown) == [("waited", 9), ("success", 0)]

    def test_an_end_that_is_not_known_is_at_the_next_start(self) -> None:
        shown = timeline(log("success", attempt(1, 1, None, "orphaned"), attempt(2, 9, 10, "success"), finish=10))
        assert bars(shown) == [("waited", 1), ("orphaned", 8), ("success", 1)]

    def test_naive_times_of_attempts_are_utc(self) -> None:
        stored = {"attempt": 1, "start_time": "2025-10-30T12:00:05", "finish_time": "2025-10-30T12:00:06"}
        assert bars(timeline(log("success", stored, finish=6))) == [("waited", 5), ("unknown", 1)]

    def test_rows_with_naive_times(self, settings: Any) -> None:
        settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
        row = log("success", attempt(1, 1, 2, "success"))
        row.enqueue_time, row.finish_time = (dt.datetime(2025, 10, 30, 13, 0, second) for second in (0, 2))
        assert bars(timeline(row)) == [("waited", 1), ("success", 1)]

    @pytest.mark.parametrize(
        "stored",
        [
            {"no": "list"}, [{}, "text", None, {"start_time": "2025-99-99", "finish_time": 7, "outcome": 3}],
            [{"start_time": "2025-10-30T12:00:01+00:00", "attempt": [1], "worker": {}, "error_message": 5}],
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("status", ["success", "in_progress", "queued"])
    def test_odd_data(self, stored: Any, status: str) -> None:
        row = log(status, finish=1)
        row.attempts = stored
        assert timeline(row, now=at(5)).svg()

    def test_of_very_many_the_newest_are_shown(self) -> None:
        many = [attempt(number, number * 10, number * 10 + 1) for number in range(1, 1_001)]
        shown = timeline(log("failed", *many, finish=10_001))
        assert (len(shown.attempts), shown.left_out, shown.attempts[0].number) == (MOST, 800, 801)
        assert bars(shown)[:3] == [("earlier", 8_001), ("paused", 9), ("retried", 1)]
        assert shown.total == "2 h 46 min"


class TestSvg:
    def test_bars_follow_each_other_to_the_end(self) -> None:
        svg = timeline(log("failed", attempt(1, 1, 2), attempt(2, 62, 63, "failed"), finish=63)).svg()
        assert svg.count("<rect") == 4
        assert '<title>Paused before a retry: 1 min</title><rect class="dct-span dct-span-paused"' in svg
        assert "<title>Ran (Failed) 2: 1.0 s</title>" in svg
        assert 'aria-labelledby="dct-timeline-words"' in svg
        assert "style=" not in svg

    def test_short_bars_have_no_label_and_long_ones_have(self) -> None:
        svg = timeline(log("success", attempt(1, 100, 100.2, "success"), finish=100.2)).svg()
        assert ">1 min 40 s</text>" in svg
        assert "200 ms</text>" not in svg

    def test_numbers_are_those_of_svg_in_every_language(self, settings: Any) -> None:
        settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
        assert 'x="0.000%"' in timeline(log("success", attempt(1, 1, 2, "success"), finish=2)).svg()

    def test_data_is_inert(self) -> None:
        evil = "<img src=x onerror=alert(1)>"
        row = log("failed", {**attempt(1, 1, 2, evil), "worker": evil, "error_class": evil}, finish=2)
        shown = timeline(row)
        assert "<img" not in shown.svg()
        assert shown.spans[-1].look == shown.attempts[0].look == "unknown"
