"""A page that nobody sees asks for nothing. Tabs of a real window: Playwright's own pages are always "visible"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Playwright, expect

from tests.browser.chromium import ARGUMENTS
from tests.browser.conftest import requests, wait_on
from tests.browser.stage import Stage
from tests.browser.watch import Watch
from tests.processes import Processes
from tests.waiting import wait_until


@pytest.fixture
def window(
    playwright: Playwright, chromium_program: Path, stage: Stage, processes: Processes, tmp_path: Path
) -> Iterator[BrowserContext]:
    """A browser's own window, without what Playwright changes about it: one of its tabs is seen at a time."""
    profile = tmp_path / "profile"
    processes.start(
        chromium_program, "--headless", "--no-sandbox", *ARGUMENTS, "--remote-debugging-port=0",
        f"--user-data-dir={profile}", "about:blank",
    )  # fmt: skip
    port = profile / "DevToolsActivePort"
    wait_until(lambda: port.exists() and "\n" in port.read_text(), "Chromium says where it listens", timeout=30)
    browser = playwright.chromium.connect_over_cdp(
        f"http://127.0.0.1:{port.read_text().splitlines()[0]}", no_defaults=True
    )
    [window] = browser.contexts
    watch = Watch(window, stage.url)
    window.add_cookies([{"name": "sessionid", "value": stage.sessions["boss"], "url": stage.url}])
    yield window
    browser.close()
    assert watch.complaints == []


def test_polling_pauses_while_the_tab_is_hidden(window: BrowserContext, stage: Stage) -> None:
    job = stage.enqueue("write_report", "hidden")
    [page] = window.pages
    page.goto(stage.url + stage.page_of(job, "in_progress"))
    asked = requests(page)
    wait_on(page, lambda: asked, "it is asked how the job is")

    other = window.new_page()
    assert page.evaluate("document.visibilityState") == "hidden"
    before = len(asked)
    stage.switch_on("hidden half")
    stage.switch_on("hidden written")
    stage.reached(job, "success")
    # Long enough for several questions, one of which may have been on its way.
    other.evaluate("new Promise((resolve) => setTimeout(resolve, 6000))")
    assert len(asked) <= before + 1
    assert page.locator(".dct-badge-in_progress").count()

    page.bring_to_front()
    assert page.evaluate("document.visibilityState") == "visible"
    expect(page.locator(".dct-badge-success").first).to_be_visible()
