"""Fixtures: the stage, the browser, and visits to the one with the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Locator,
    Page,
    Playwright,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.stage import Stage
from tests.browser.watch import Watch
from tests.conftest import PROCESSES, start_or_skip
from tests.redis_server import RedisServer
from tests.waiting import wait_until

PATIENCE_MS = 20_000
VISITS = pytest.StashKey["Visits"]()
UNFOLD = """
INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("project.")]  # its pages have scripts inside
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of this folder together in one process: they share what takes seconds to start."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a failed test had on its pages."""
    report = yield
    visits = item.stash.get(VISITS, None)
    if report.failed and report.when == "call" and visits is not None:
        report.sections.extend(visits.report())
    return report


@pytest.fixture(scope="package")
def chromium_program() -> Path:
    return start_or_skip(find_chromium)


@pytest.fixture(scope="package")
def playwright(chromium_program: Path) -> Iterator[Playwright]:
    """Stopped with this folder's last test: while it lives, no other test of this process may run an event loop."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright, chromium_program: Path) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium_program, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def make_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stage]]:
    made: list[tuple[Stage, RedisServer]] = []

    def make(settings: str = "") -> Stage:
        redis = start_or_skip(lambda: RedisServer().start())
        stage = Stage(tmp_path_factory.mktemp("stage"), redis, settings)
        made.append((stage, redis))
        return stage.start()

    yield make
    for stage, redis in made:
        stage.processes.kill_all()
        redis.close()


@pytest.fixture(scope="package")
def _process_stage(chromium_program: Path, make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def stage(request: pytest.FixtureRequest, _process_stage: Stage) -> Stage:
    """The project under a strict Content-Security-Policy. Jobs of other tests are in it as well."""
    request.node.stash[PROCESSES] = _process_stage.processes
    return _process_stage


class Visits:
    """People with browsers of their own; all that they see is watched until the test ends."""

    def __init__(self, browser: Browser, stage: Stage) -> None:
        self._browser, self._stage = browser, stage
        self._contexts: list[tuple[BrowserContext, Watch]] = []

    def __call__(
        self,
        path: str = "",
        user: str | None = "boss",
        *,
        script: bool = True,
        dark: bool = False,
        width: int = 1280,
        **options: Any,
    ) -> Page:
        """Open ``path`` as a user who is logged in, in a new window, and return its page.

        ``script=False`` turns JavaScript off, ``dark`` is what the system prefers, ``width`` is the window's.
        """
        stage = self._stage
        context = self._browser.new_context(
            base_url=stage.url,
            java_script_enabled=script,
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 800},
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append((context, Watch(context, stage.url)))
        if user:
            context.add_cookies([{"name": "sessionid", "value": stage.sessions[user], "url": stage.url}])
        page = context.new_page()
        if path:
            page.goto(path)
        return page

    def allow(self, pattern: str) -> None:
        """Expect what this regular expression is found in, on the windows opened so far: see `Watch`."""
        for _, watch in self._contexts:
            watch.allow(pattern)

    @property
    def complaints(self) -> list[str]:
        return [complaint for _, watch in self._contexts for complaint in watch.complaints]

    def close(self) -> None:
        for context, _ in self._contexts:
            context.close()

    def report(self) -> list[tuple[str, str]]:
        """Return a title and the text of each open page, for the report of a failed test."""
        return [(f"page {page.url}", _text(page)) for context, _ in self._contexts for page in context.pages]


def _text(page: Page) -> str:
    try:
        return page.locator("body").inner_text(timeout=1000)[:4000]
    except Error as error:
        return str(error)


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser: Browser, stage: Stage) -> Iterator[Visits]:
    """``visit("/admin/", user="viewer", dark=True)`` opens a page; the test fails if a page does what `Watch` notes."""
    expect.set_options(timeout=PATIENCE_MS)
    visits = request.node.stash[VISITS] = Visits(browser, stage)
    yield visits
    visits.close()
    assert visits.complaints == []


@contextmanager
def was_not_reloaded(page: Page) -> Iterator[None]:
    """Fail if the page was loaded anew meanwhile: what changed on it has changed by itself."""
    page.evaluate("window.untouched = true")
    yield
    assert page.evaluate("window.untouched === true"), "the page was loaded anew"


def state(page: Page, status: str) -> Locator:
    """Return the badge of this status at the head of a job's page."""
    return page.locator(f'[data-dct-part="state"] .dct-badge-{status}')


def wait_on(page: Page, condition: Callable[[], object], description: str) -> None:
    """`wait_until` for what a page's events tell: they come in meanwhile."""

    def holds() -> bool:
        page.evaluate("1")
        return bool(condition())

    wait_until(holds, description, timeout=PATIENCE_MS / 1000)


def requests(page: Page) -> list[str]:
    """Return a list that the address of each request of the page is added to."""
    noted: list[str] = []

    def note(request: Request) -> None:
        noted.append(request.url)

    page.on("request", note)
    return noted


def luminance(page: Page, selector: str) -> float:
    """Return how light the ground of the first such element is, from 0 to 1; one that has none shows its parent's."""
    ground: str = page.locator(selector).first.evaluate(
        """(one) => {
            for (; one; one = one.parentElement) {
                const ground = getComputedStyle(one).backgroundColor;
                if (ground !== "rgba(0, 0, 0, 0)") return ground;
            }
            return "rgb(255, 255, 255)";
        }"""
    )
    # The canvas knows every way in which CSS writes a colour.
    red, green, blue = page.evaluate(
        """(ground) => {
            const pen = document.createElement("canvas").getContext("2d");
            pen.fillStyle = ground;
            pen.fillRect(0, 0, 1, 1);
            return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        ground,
    )
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
