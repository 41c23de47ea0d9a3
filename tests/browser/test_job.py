"""One job's page: read, acted on, and seen to change while it is open."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Visits, requests, state, was_not_reloaded
from tests.browser.stage import Stage
from tests.waiting import wait_until


def test_its_progress_moves_and_it_is_canceled(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("write_report", "moving")
    page = visit(stage.page_of(job, "in_progress"))
    with was_not_reloaded(page):
        expect(page.get_by_text("400 of 1,000 lines")).to_be_visible()
        stage.switch_on("moving half")
        expect(page.get_by_text("700 of 1,000 lines")).to_be_visible()
        expect(page.get_by_role("progressbar", name="Progress")).to_have_js_property("value", 0.7)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The job is canceled")).to_be_visible()
    expect(state(page, "canceled")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    stage.reached(job, "canceled")


def test_it_ends_while_it_is_looked_at_and_is_not_asked_about_any_more(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("write_report", "ending")
    page = visit(stage.page_of(job, "in_progress"))
    asked = requests(page)
    with was_not_reloaded(page):
        stage.switch_on("ending half")
        stage.switch_on("ending written")
        expect(state(page, "success")).to_be_visible()
    before = len(asked)
    assert before
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 5000))")  # twice as long as it waits between two
    assert len(asked) == before


def test_what_is_open_stays_open(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("lose", "folded")
    page = visit(stage.page_of(stage.reached(job, "deferred")["job_id"]))
    traceback = page.locator("table details").first  # on a slow machine it is retried, and fails again, meanwhile
    traceback.locator("summary").click()
    with was_not_reloaded(page):
        stage.switch_on("folded found")
        expect(state(page, "success")).to_be_visible()
        expect(page.locator('[data-dct-part="attempts"] .dct-badge-success')).to_be_visible()
    expect(traceback.get_by_text("in lose")).to_be_visible()


def test_its_call_is_copied(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("charge_card", "copied", 7.25, "tok_secret")
    page = visit(stage.page_of(job, "failed"), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as delay() call").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "from shop.tasks import charge_card" in copied
    assert re.search(r"await charge_card\.delay\(.*copied.*7\.25", copied)
    assert "tok_secret" not in copied + page.content()


def test_with_the_keyboard_alone(visit: Visits, stage: Stage) -> None:
    """Tab leads to the act, which shows that it has the focus, and Enter does it."""
    job = stage.enqueue("write_report", "keys")
    page = visit(stage.page_of(job, "in_progress"))
    cancel = page.get_by_role("button", name="Cancel")

    def reached() -> bool:
        page.keyboard.press("Tab")
        return bool(cancel.evaluate("(button) => button === document.activeElement"))

    wait_until(reached, "Tab leads to the button")
    assert cancel.evaluate("(button) => getComputedStyle(button).outlineStyle") != "none"
    page.keyboard.press("Enter")
    expect(state(page, "canceled")).to_be_visible()


def test_a_time_is_the_readers_own(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("send_mail", "ada@example.com")
    path = stage.page_of(job, "success")
    texts = []
    for zone in ("UTC", "Asia/Kolkata"):
        moment = visit(path, timezone_id=zone).locator("time.dct-time").first
        exact = moment.get_attribute("datetime")
        texts.append((moment.inner_text(), exact))
    (utc, at), (kolkata, same) = texts
    assert at == same
    assert _minutes(kolkata) == (_minutes(utc) + 330) % 1440


def _minutes(text: str) -> int:
    found = re.search(r"(\d\d):(\d\d)", text)
    assert found, text
    return int(found[1]) * 60 + int(found[2])
