"""Names, arguments, results and errors that look like HTML are text on every page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visits, state
from tests.browser.stage import DASHBOARD, EVIL, EVIL_QUEUE, LIST, Stage
from tests.browser.watch import HIT

# No name of a queue, nor of a worker, comes from outside; but who knows what is in a log.
OLD_ROW = f"""
import datetime as dt
from django_cfg_tasks.jobs import Attempt, AttemptOutcome, JobRecord, JobStatus
from django_cfg_tasks.recorder import upsert

evil = {EVIL!r}
then = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
attempt = Attempt(1, evil, then, then, AttemptOutcome.failed, error_class=evil, error_message=evil, traceback=evil)
upsert([JobRecord(
    job_id=evil, task=evil, queue=evil, args=[evil], kwargs={{evil: evil}}, status=JobStatus.failed, job_retry=0,
    job_retry_after=1, enqueue_time=then, start_time=then, finish_time=then, attempt=1, owner=evil,
    error_class=evil, error_message=evil, traceback=evil, attempts=[attempt], progress=0.5, progress_message=evil,
)])
"""


@pytest.fixture(scope="module")
def jobs(_process_stage: Stage) -> dict[str, str]:
    """Jobs of the hostile task, by what became of them."""
    stage = _process_stage
    user = stage.users["evil"]
    stage.project.run(OLD_ROW)
    stage.switch_on("switched")
    return {
        "failed": stage.enqueue(EVIL, EVIL, True, user=user),
        "success": stage.enqueue(EVIL, "switched", user=user),
        "in_progress": stage.enqueue(EVIL, "never", user=user),
        "old": EVIL,
    }


def is_inert(page: Page) -> None:
    """Fail if any of it became HTML. That nothing was asked for is for `Watch` to see."""
    assert page.locator(f'img[src="{HIT}"], [onerror]').count() == 0
    assert page.evaluate("window.struck") is None


def shows(place: Page | Locator, text: str = EVIL) -> None:
    expect(place.get_by_text(text).first).to_be_visible()


@pytest.mark.parametrize("status", ["failed", "success", "in_progress", "old"])
def test_a_jobs_page(visit: Visits, stage: Stage, jobs: dict[str, str], status: str) -> None:
    page = visit(stage.page_of(jobs[status], *([status] if status != "old" else [])))
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    shows(page)
    if status == "old":
        shows(page.locator(".dct-attempts"))
    elif status == "in_progress":
        shows(page.locator('[data-dct-part="state"]'))
        page.get_by_role("button", name="Cancel").click()
        expect(state(page, "canceled")).to_be_visible()
    elif status == "failed":
        page.get_by_role("button", name="Retry").click()
        expect(page.get_by_text("This new job runs")).to_be_visible()
        expect(state(page, "failed")).to_be_visible()
    is_inert(page)
    page.get_by_role("link", name="History").click()
    is_inert(page)


def test_the_list(visit: Visits, stage: Stage, jobs: dict[str, str]) -> None:
    stage.reached(jobs["success"], "success")
    page = visit(LIST)
    shows(page.locator("#result_list"))
    shows(page.locator("#result_list"), EVIL_QUEUE)
    shows(page.locator("#changelist-filter"))
    is_inert(page)
    for name in ("task_name", "queue_name", "worker_id", "error_class", "q"):
        page.goto(f"{LIST}?{name}={EVIL.replace(' ', '+')}")
        shows(page.locator("#result_list"))
        is_inert(page)
    page.goto(f"{LIST}?q={EVIL.replace(' ', '+')}&status={EVIL.replace(' ', '+')}")
    is_inert(page)


def test_the_dashboard(visit: Visits, stage: Stage, jobs: dict[str, str]) -> None:
    stage.reached(jobs["failed"], "failed")
    page = visit(DASHBOARD)
    shows(page)
    shows(page, EVIL_QUEUE)
    is_inert(page)
