"""What the pages look like, to whom: in the light and the dark, on a phone, to a screen reader."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits, luminance, wait_on
from tests.browser.stage import DASHBOARD, LIST, Stage

PAGES = ["list", "failed", "running", "waiting", "dashboard"]
PHONE = 390

# What the admin of Django 5.2 itself brings along on these pages: rules, where, and why it is none of ours.
DJANGO_OWN = {
    "link-in-text-block": ".breadcrumbs",  # its links differ from the text by their colour alone
}


@pytest.fixture(scope="module")
def addresses(_process_stage: Stage) -> dict[str, str]:
    """The pages, each with all that it can have on it."""
    stage = _process_stage
    failed = stage.enqueue("settle_the_accounts_of_all_warehouses_at_the_end_of_the_year", "0815" * 60)
    running = stage.enqueue("write_report", "looked at")
    waiting = stage.enqueue("lose", "looked for")
    stage.reached(stage.enqueue("send_mail", "ada@example.com"), "success")
    return {
        "list": LIST,
        "failed": stage.page_of(failed, "failed"),
        "running": stage.page_of(running, "in_progress"),
        "waiting": stage.page_of(waiting, "deferred"),
        "dashboard": DASHBOARD,
    }


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_use_it(visit: Visits, addresses: dict[str, str], name: str) -> None:
    """axe finds nothing to complain about, contrast included, and the page is as dark as it should be.

    In each of the themes that there are: what the system prefers, and what is chosen against it.
    """
    page = visit(addresses[name], bypass_csp=True)  # axe styles what it measures
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(AXE_SCRIPT)
    for system, chosen in (("light", "auto"), ("dark", "auto"), ("light", "dark"), ("dark", "light")):
        page.emulate_media(color_scheme=system)
        page.evaluate("(chosen) => { document.documentElement.dataset.theme = chosen; }", chosen)
        page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")  # colours come gently
        is_dark = (system if chosen == "auto" else chosen) == "dark"
        assert (luminance(page, "body") < 0.2) == is_dark, (system, chosen)
        assert violations(page) == [], (system, chosen)


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_nothing_is_beside_the_screen(visit: Visits, addresses: dict[str, str], name: str) -> None:
    page = visit(addresses[name], width=PHONE, has_touch=True)
    beside = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((one) => !one.parentElement.closest(".dct-scroll, pre, .results"))
            .filter((one) => one.getBoundingClientRect().right > innerWidth)
            .map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE, beside
    for button in page.locator("#content button:visible, #content a.dct-button:visible").all():
        box = button.bounding_box()
        assert box, button
        scrolls = button.evaluate("(one) => Boolean(one.closest('.dct-scroll, .results'))")
        assert scrolls or 0 <= box["x"] <= box["x"] + box["width"] <= PHONE, button.inner_text()


def test_the_admins_own_switch_turns_the_light_off(visit: Visits, addresses: dict[str, str]) -> None:
    page = visit(addresses["failed"])
    places = ["body", ".dct-badge-failed", ".dct-block"]
    assert all(luminance(page, place) > 0.5 for place in places)
    switch = page.locator("button.theme-toggle:visible")

    def dark() -> bool:
        switch.click()
        return page.locator('html[data-theme="dark"]').count() > 0

    wait_on(page, dark, "the switch has come to dark")
    assert all(luminance(page, place) < 0.2 for place in places)
    page.goto(LIST)
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert luminance(page, ".dct-badge-failed") < 0.2


def violations(page: Page) -> list[str]:
    """Return what axe, which is on the page, has against it, but for what is Django's own."""
    found: list[dict[str, Any]] = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{violation['id']} ({violation['help']}): {node['target']} {node['html'][:200]} {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
        if not page.evaluate(
            "([target, place]) => Boolean(place && document.querySelector(target)?.closest(place))",
            [node["target"][0], DJANGO_OWN.get(violation["id"])],
        )
    ]
