"""ReArq's monitoring pages in a browser: what a member of staff does there, with data that looks like HTML in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS
from tests.browser.stage import EVIL, Stage
from tests.browser.watch import Watch
from tests.servers import free_port

PAGES = ("Dashboard", "Worker", "Task", "Job", "Result")


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    """A browser at the server's door."""
    port = free_port()
    server = stage.project.server("--port", str(port), name="monitor")
    server.wait_for_log("monitoring pages are at", timeout=60)
    url = f"http://127.0.0.1:{port}"
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    watch = Watch(context, url)
    yield context.new_page()
    context.close()
    assert watch.complaints == []
    assert server.stop() == 0


def test_a_walk_through_the_pages(page: Page, stage: Stage) -> None:
    stage.reached(stage.enqueue(EVIL, EVIL, True), "failed")
    page.goto("/task")
    page.get_by_label("Username").fill("boss")
    page.get_by_label("Password").fill("pw")
    page.get_by_role("button", name="Log in").click()

    # From the task that is run, to its job, to what came of it.
    row = page.get_by_role("row").filter(has_text="send_mail")
    row.get_by_text("Run", exact=True).first.click()
    row.get_by_label("Kwargs").fill('{"to": "ada"}')
    row.get_by_label("JobID").fill("walked")
    row.get_by_role("button", name="Run").click()
    expect(page.get_by_role("status")).to_contain_text("A job of send_mail is enqueued.")
    stage.reached("walked", "success")
    page.get_by_role("status").get_by_role("link", name="walked").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody").get_by_role("link", name="walked").click()
    expect(page.locator("tbody tr")).to_contain_text("true")

    # One that is to run later is changed, and canceled.
    page.get_by_role("link", name="Task", exact=True).click()
    row = page.get_by_role("row").filter(has_text="send_mail")
    row.get_by_text("Run", exact=True).first.click()
    row.get_by_label("Args").first.fill('["bob"]')
    row.get_by_label("Countdown").fill("3600")
    row.get_by_label("JobID").fill("postponed")
    row.get_by_role("button", name="Run").click()
    stage.reached("postponed", "deferred")
    page.get_by_role("status").get_by_role("link").click()
    row = page.locator("tbody tr").filter(has_text="postponed")
    row.get_by_text("Edit", exact=True).first.click()
    row.get_by_label("Args").first.fill('["carol"]')
    row.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("status")).to_contain_text("is changed")
    page.locator("tbody").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text("is canceled")
    stage.reached("postponed", "canceled")
    page.goto("/job?job_id=postponed")
    expect(page.locator("tbody tr")).to_contain_text("carol")
    page.get_by_label("Select postponed").check()
    page.get_by_role("button", name="Remove selected").click()
    expect(page.get_by_role("status")).to_contain_text("1 job(s) deleted")

    # What looks like HTML is text on every page, and each of them can be used by everybody.
    for name in PAGES:
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
        if name in ("Task", "Job", "Result"):
            expect(page.get_by_text(EVIL).first).to_be_attached()
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
