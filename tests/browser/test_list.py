"""The list: filtered, searched, exported, acted on, and moving."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits, state, was_not_reloaded
from tests.browser.stage import LIST, Stage

ROWS = "#result_list tbody tr"


def choose(page: Page, action: str) -> None:
    """Do what the list offers, to the rows that are ticked."""
    page.get_by_label("Action:").select_option(label=action)
    page.get_by_role("button", name="Go").click()


def test_a_failed_job_is_found_read_run_again_and_seen_to_succeed(visit: Visits, stage: Stage) -> None:
    stage.reached(stage.enqueue("charge_card", "repaired"), "failed")
    stage.reached(stage.enqueue("send_mail", "repaired@example.com"), "success")
    page = visit("/admin/")
    page.locator("#content").get_by_role("link", name="Task logs", exact=True).click()
    page.get_by_role("link", name="Failed only").click()
    page.locator("#searchbar").fill("for repaired")
    page.locator("#searchbar").press("Enter")
    expect(page.locator(ROWS)).to_have_count(1)
    page.locator(ROWS).get_by_role("link", name="charge_card").click()

    expect(state(page, "failed")).to_be_visible()
    expect(page.get_by_text("GatewayDown: no answer for repaired").first).to_be_visible()
    expect(page.get_by_text('raise GatewayDown(f"no answer for {order}")').first).to_be_visible()

    stage.switch_on("repaired answers")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("This new job runs")).to_be_visible()
    with was_not_reloaded(page):
        expect(state(page, "in_progress")).to_be_visible()
        stage.switch_on("repaired paid")
        expect(state(page, "success")).to_be_visible()
        expect(page.get_by_text('"paid": true')).to_be_visible()


def test_running_rows_move(visit: Visits, stage: Stage) -> None:
    job = stage.enqueue("write_report", "rows")
    stage.reached(job, "in_progress")
    page = visit(f"{LIST}?job_id={job}")
    row = page.locator(ROWS).filter(has_text="400 of 1,000")
    expect(row).to_have_count(1)
    with was_not_reloaded(page):
        stage.switch_on("rows half")
        moved = page.locator(ROWS).filter(has_text="700 of 1,000")
        expect(moved.get_by_role("progressbar")).to_have_js_property("value", 0.7)
        stage.switch_on("rows written")
        expect(page.locator(ROWS).locator(".dct-badge-success")).to_be_visible()


@pytest.mark.parametrize("wanted", ["CSV", "JSON"])
def test_rows_are_exported(visit: Visits, stage: Stage, tmp_path: Path, wanted: str) -> None:
    names = [f"{wanted}-{number}" for number in range(3)]
    jobs = [stage.enqueue("charge_card", name) for name in names]
    for job in jobs:
        stage.reached(job, "failed")
    page = visit(f"{LIST}?q={wanted}-")
    expect(page.locator(ROWS)).to_have_count(3)
    for row in page.locator(ROWS).all()[:2]:  # the newest first
        row.get_by_role("checkbox").check()
    with page.expect_download() as download:
        choose(page, f"Export as {wanted}")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.suffix == f".{wanted.lower()}"
    text = file.read_text()
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text))) if wanted == "CSV" else json.loads(text)
    assert [row["job_id"] for row in rows] == [jobs[2], jobs[1]]
    assert {row["error_message"] for row in rows} == {f"no answer for {name}" for name in names[1:]}


def test_all_that_match_are_run_again_by_a_job(visit: Visits, stage: Stage) -> None:
    jobs = [stage.enqueue("charge_card", f"bulk {number}") for number in range(3)]
    for number, job in enumerate(jobs):
        stage.reached(job, "failed")
        stage.switch_on(f"bulk {number} answers")
        stage.switch_on(f"bulk {number} paid")
    page = visit(f"{LIST}?status=failed&q=for+bulk")
    expect(page.locator(ROWS)).to_have_count(3)
    page.locator("#action-toggle").check()
    page.get_by_role("button", name="Select all that match").click()
    choose(page, "Run again")
    page.locator(".messagelist a").click()
    expect(state(page, "success")).to_be_visible()
    expect(page.get_by_text('"acted_on": 3')).to_be_visible()


def test_what_can_not_be_done_is_said(visit: Visits, stage: Stage) -> None:
    stage.reached(stage.enqueue("send_mail", "said@example.com"), "success")
    stage.reached(stage.enqueue("lose", "said"), "deferred")
    page = visit(f"{LIST}?queue_name=mail")
    page.locator("#action-toggle").check()
    choose(page, "Cancel")
    expect(page.locator(".messagelist .success")).to_contain_text("canceled")
    expect(page.locator(".messagelist .warning", has_text="has ended already: success")).to_be_visible()
