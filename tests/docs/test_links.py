"""Links lead somewhere, and every page can be found from the first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import pages

MOST_BYTES = 200_000
EXTERNAL = ("https://", "mailto:")


def target(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


@pytest.mark.parametrize("page", [*pages.PAGES, pages.CONTRIBUTING, pages.CHANGELOG], ids=pages.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in pages.links(page):
        if link.startswith(EXTERNAL):
            continue
        file, anchor = target(page, link)
        assert file.exists(), f"{pages.name(page)} links to {link}, which is not there"
        if anchor:
            assert anchor in pages.anchors(file), f"{pages.name(page)}: {link}: {pages.anchors(file)}"


def test_every_page_is_in_the_index() -> None:
    index = pages.ROOT / "docs" / "index.md"
    linked = {target(index, link)[0] for link in pages.links(index) if not link.startswith(EXTERNAL)}
    missing = [pages.name(page) for page in pages.PAGES[1:] if page not in linked | {index}]
    assert not missing


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_a_page_has_one_title_and_keeps_its_lines_short(page: Path) -> None:
    text = pages.prose(page)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long


def test_pictures_are_there_small_and_told_in_words() -> None:
    shown = set()
    for page in pages.PAGES:
        for text, link in pages.images(page):
            file, _ = target(page, link)
            shown.add(file)
            assert file.is_file(), f"{pages.name(page)} shows {link}, which is not there"
            assert file.stat().st_size < MOST_BYTES, f"{link} is too large"
            assert len(text.split()) > 3, f"{pages.name(page)}: say what is to be seen on {link}"
    kept = set((pages.ROOT / "docs" / "images").iterdir())
    assert kept == shown, "pictures that no page shows"
