"""With JavaScript off everything is there but what moves by itself."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visits, state
from tests.browser.stage import DASHBOARD, LIST, Stage
from tests.waiting import wait_until


def test_a_failed_job_is_found_and_run_again(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("charge_card", "scriptless")
    stage.reached(job, "failed")
    page = visit(LIST, script=False)
    page.get_by_role("link", name="Failed only").click()
    page.locator("#searchbar").fill("no answer for scriptless")
    page.locator("#searchbar").press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.locator("#result_list tbody").get_by_role("link", name="charge_card").click()
    expect(page.get_by_text("in charge_card").first).to_be_visible()
    expect(page.locator("[data-dct-needs-script]:visible")).to_have_count(0)

    stage.switch_on("scriptless answers")
    stage.switch_on("scriptless paid")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("This new job runs")).to_be_visible()
    wait_until(lambda: page.reload() and state(page, "success").count(), "the new job has ended well", timeout=30)
    expect(page.get_by_text('"paid": true')).to_be_visible()


def test_rows_that_are_ticked_are_canceled(visit: Visits, stage: Stage) -> None:
    jobs = [stage.enqueue("lose", f"ticked {number}") for number in range(3)]
    for job in jobs:
        stage.reached(job, "deferred")
    page = visit(f"{LIST}?q=ticked+&status=deferred", script=False)
    for box in page.locator("#result_list tbody input[type=checkbox]").all()[:2]:
        box.check()
    page.get_by_label("Action:").select_option(label="Cancel")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("2 jobs are canceled.")).to_be_visible()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)


def test_the_dashboard_says_how_things_stand(visit: Visits) -> None:
    page = visit(DASHBOARD, script=False)
    for part in ("Queues", "Workers", "Schedules", "Tasks", "Failures"):
        expect(page.locator("section").get_by_role("heading", name=part)).to_be_visible()
    expect(page.locator("[data-dct-needs-script]:visible")).to_have_count(0)
