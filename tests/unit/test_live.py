"""What live state says in words. How it is asked for is tested with real workers."""

from __future__ import annotations

import pytest

from django_cfg_tasks.live import in_words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * * *", "Every second"),
        ("30 9 * * mon-fri", "At 09:30, Monday through Friday"),
        ("0 4 * * 7", "At 04:00, only on Sunday"),
        ("0 0 1 * mon", "At 00:00, on day 1 of the month, or on Monday"),
        ("0 0 l * *", "At 00:00, on the last day of the month"),
        ("@hourly", "Every hour"),
        ("@midnight", "At 00:00"),
        ("@weekly", "At 00:00, only on Sunday"),
    ],
)
def test_cron_in_words(expression: str, words: str) -> None:
    assert in_words(expression) == words


def test_what_there_are_no_words_for_is_shown_as_it_is() -> None:
    assert in_words("every now and then") == "every now and then"
