"""One who may only look sees no buttons, and finds none of the addresses open."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import APIResponse, Page, expect

from tests.browser.conftest import Visits
from tests.browser.stage import DASHBOARD, LIST, Stage


def post(page: Page, path: str, **fields: str) -> APIResponse:
    """Post a form as this page's user would: with the session and the token, and from the same site."""
    token = next(str(cookie.get("value")) for cookie in page.context.cookies() if cookie.get("name") == "csrftoken")
    return page.request.post(
        path, form={"csrfmiddlewaretoken": token, **fields}, headers={"Referer": page.url}, max_redirects=0
    )


def test_one_job(visit: Visits, stage: Stage) -> None:
    failed, running = stage.enqueue("charge_card", "not theirs"), stage.enqueue("write_report", "not theirs")
    for job, status, act, button in (
        (failed, "failed", "retry", "Retry"),
        (running, "in_progress", "cancel", "Cancel"),
    ):
        path = stage.page_of(job, status)
        page = visit(path, user="viewer")
        expect(page.locator("h1")).to_be_visible()
        expect(page.get_by_role("button", name=button)).to_have_count(0)
        url = path.replace("/change/", f"/{act}/")
        assert post(page, url).status == 403
        assert page.request.get(url).status in (403, 405)

        boss = visit(path)
        expect(boss.get_by_role("button", name=button)).to_be_visible()
        assert boss.request.get(url).status == 405, "a link must not act"
        assert boss.request.post(url).status == 403, "without the token nothing is done"
    assert stage.reached(failed)["status"] == "failed"
    assert stage.reached(running)["status"] == "in_progress"


def test_the_list(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("lose", "not theirs either")
    row = stage.reached(job, "deferred")
    page = visit(f"{LIST}?job_id={job}", user="viewer")
    offered = page.get_by_label("Action:").locator("option").all_inner_texts()
    assert {"Export as CSV", "Export as JSON"} <= set(offered)
    assert not {"Run again", "Cancel"} & set(offered)
    for action in ("cancel", "retry"):
        post(page, LIST, action=action, _selected_action=str(row["id"]), index="0")
        post(page, LIST, action=action, _selected_action=str(row["id"]), select_across="1", confirmed="yes")
    assert stage.reached(job)["status"] == "deferred"


def test_the_dashboard(visit: Visits, stage: Stage) -> None:
    boss = visit(DASHBOARD)
    forms = boss.locator("#content form[method=post]")
    acts = {(form.get_attribute("action") or "") for form in forms.all()}
    buttons = boss.locator("#content button[formaction]").all()
    acts |= {button.get_attribute("formaction") or "" for button in buttons}
    acts.discard("")
    assert len(acts) >= 3, "pause, run now, disable"

    page = visit(DASHBOARD, user="viewer")
    expect(page.get_by_text("clear_carts").first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Pause|Resume|Run now|Enable|Disable"))).to_have_count(0)
    for act in acts:
        assert post(page, act).status == 403, act
        assert boss.request.get(act).status == 405, act


@pytest.mark.parametrize("path", [LIST, DASHBOARD])
def test_somebody_who_is_not_logged_in(visit: Visits, path: str) -> None:
    page = visit(path, user=None)
    expect(page.get_by_label("Password")).to_be_visible()
