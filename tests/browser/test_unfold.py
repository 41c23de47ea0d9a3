"""Where django-unfold is installed the pages are its pages, and do the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import UNFOLD, Visits, luminance, state, was_not_reloaded
from tests.browser.stage import DASHBOARD, LIST, Stage
from tests.conftest import PROCESSES


@pytest.fixture(scope="module")
def _module_stage(chromium_program: object, make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(UNFOLD)


@pytest.fixture
def stage(request: pytest.FixtureRequest, _module_stage: Stage) -> Stage:
    """The project with django-unfold, without the policy that its own pages break."""
    request.node.stash[PROCESSES] = _module_stage.processes
    return _module_stage


def is_unfolds(page: Page) -> None:
    """Fail unless it is a page of unfold's, with our look and our script."""
    assert page.locator('link[href*="unfold/css"]').count()
    assert page.locator('link[href*="django_cfg_tasks/admin.css"]').count()
    assert page.locator('script[src*="django_cfg_tasks/admin.js"]').count()


def test_one_job(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("charge_card", "unfolded")
    page = visit(stage.page_of(job, "failed"))
    is_unfolds(page)
    expect(page.get_by_text('raise GatewayDown(f"no answer for {order}")').first).to_be_visible()
    height, line = page.locator(".dct-job-state .dct-badge").evaluate(
        "badge => [badge.clientHeight, parseFloat(getComputedStyle(badge).lineHeight)]"
    )
    assert height < 2 * line, "the icon and the word stand on one line"
    stage.switch_on("unfolded answers")
    page.get_by_role("button", name="Retry").click()
    with was_not_reloaded(page):
        expect(state(page, "in_progress")).to_be_visible()
        stage.switch_on("unfolded paid")
        expect(state(page, "success")).to_be_visible()


def test_the_list(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("write_report", "unfolded")
    stage.reached(job, "in_progress")
    page = visit(f"{LIST}?job_id={job}")
    is_unfolds(page)
    with was_not_reloaded(page):
        stage.switch_on("unfolded half")
        stage.switch_on("unfolded written")
        expect(page.locator("#result_list .dct-badge-success")).to_be_visible()
    page.locator("#result_list tbody").get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(label="Run again")
    page.get_by_role("button", name="Run", exact=False).first.click()
    expect(page.get_by_text("1 job is run again.")).to_be_visible()


def test_the_dashboard(visit: Visits, stage: Stage) -> None:
    stage.reached(stage.enqueue("charge_card", "counted"), "failed")
    page = visit(DASHBOARD)
    is_unfolds(page)
    for part in ("Queues", "Workers", "Schedules", "Tasks", "Failures"):
        expect(page.locator("section").get_by_role("heading", name=part)).to_be_visible()
    expect(page.get_by_text("GatewayDown").first).to_be_visible()
    page.get_by_role("button", name="Pause clear_carts").click()
    page.get_by_role("button", name="Resume clear_carts").click()
    expect(page.get_by_role("button", name="Pause clear_carts")).to_be_visible()


def test_in_the_dark(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("charge_card", "in the dark")
    page = visit(stage.page_of(job, "failed"), dark=True)
    for place in ("body", ".dct-badge-failed", ".dct-block", ".dct-panel"):
        assert luminance(page, place) < 0.25, place
    page.goto(DASHBOARD)
    for place in ("body", ".dct-card", ".dct-button"):
        assert luminance(page, place) < 0.25, place
