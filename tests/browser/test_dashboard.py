"""The dashboard: what an operator does on it, and what moves by itself."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visits, was_not_reloaded
from tests.browser.stage import DASHBOARD, LIST, Stage


def row(page: Page, section: str, name: str) -> Locator:
    """Return the row of this name in the table below a heading."""
    part = page.locator("section").filter(has=page.get_by_role("heading", name=section))
    return part.get_by_role("row").filter(has_text=name).first


def test_a_schedule_is_paused_and_resumed(visit: Visits, stage: Stage) -> None:
    page = visit(DASHBOARD)
    row(page, "Schedules", "clear_carts").get_by_role("button", name="Pause").click()
    expect(row(page, "Schedules", "clear_carts").get_by_role("button", name="Resume")).to_be_visible()
    expect(page.locator(".messagelist")).to_contain_text("clear_carts")
    row(page, "Schedules", "clear_carts").get_by_role("button", name="Resume").click()
    expect(row(page, "Schedules", "clear_carts").get_by_role("button", name="Pause")).to_be_visible()


def test_a_schedule_is_run_now(visit: Visits, stage: Stage) -> None:
    page = visit(DASHBOARD)
    row(page, "Schedules", "clear_carts").get_by_role("button", name="Run now").click()
    expect(page.locator(".messagelist")).to_contain_text("A job of clear_carts is enqueued")
    row(page, "Schedules", "clear_carts").get_by_role("link", name="clear_carts").click()
    expect(page.locator("#result_list tbody tr").first).to_contain_text("clear_carts")
    expect(page.locator("#result_list tbody tr").first.locator(".dct-badge-success")).to_be_visible()


def test_a_failure_leads_to_its_jobs(visit: Visits, stage: Stage) -> None:
    stage.reached(stage.enqueue("charge_card", "linked"), "failed")
    page = visit(DASHBOARD)
    failure = row(page, "Failures", "GatewayDown")
    expect(failure).to_contain_text("charge_card")
    failure.get_by_role("link").first.click()
    assert page.url.startswith(stage.url + LIST)
    expect(page.locator("#result_list tbody tr").first).to_contain_text("charge_card")
    expect(page.locator("#result_list tbody .dct-badge-success")).to_have_count(0)


def test_what_runs_is_shown_without_a_reload(visit: Visits, stage: Stage) -> None:
    page = visit(DASHBOARD)
    with was_not_reloaded(page):
        job = stage.enqueue("write_report", "shown live")
        path = stage.page_of(job, "in_progress")
        expect(page.locator(f'a[href="{path}"]').first).to_be_visible()
        stage.switch_on("shown live half")
        stage.switch_on("shown live written")
        expect(page.locator(f'a[href="{path}"]')).to_have_count(0)
