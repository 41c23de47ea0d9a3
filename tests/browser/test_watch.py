"""The other tests of this folder rely on it that what a page must not do is noted."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visits, wait_on
from tests.browser.stage import Stage


def test_what_a_page_must_not_do_is_noted(visit: Visits) -> None:
    page = visit("/shop/careless/")
    assert page.title() == "What no page should do", "an inline script has run: there is no policy"
    page.evaluate("fetch('http://127.0.0.1:9/').catch(() => {})")
    expected = [
        "policy violated: style-src-attr", "policy violated: script-src-elem", "policy violated: connect-src",
        "answer 404: GET", "dialog: careless", "script error: careless", "console error: ",
    ]  # fmt: skip

    def all_noted() -> bool:
        return all(any(note in complaint for complaint in visit.complaints) for note in expected)

    wait_on(page, all_noted, f"all of these are noted: {expected}")
    visit.allow("policy violated|Content Security Policy|careless|/nowhere.png")
    assert visit.complaints == []


def test_somebody_logs_in(visit: Visits, stage: Stage) -> None:
    """Sessions are given to all others; the door itself works under the policy, too."""
    page = visit("/admin/tasks/tasklog/", user=None)
    page.get_by_label("Username").fill("boss")
    page.get_by_label("Password").fill("pw")
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{stage.url}/admin/tasks/tasklog/")
    assert page.context.cookies()
