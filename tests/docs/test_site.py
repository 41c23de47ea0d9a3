"""The site that `make docs` builds: strict, complete, and sufficient to itself."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs import pages

CONFIGURATION = pages.ROOT / "docs" / "site"
MAKEFILE = (pages.ROOT / "Makefile").read_text()
# What make runs, so that what is tested here is what is built there.
OPTIONS = re.findall(r"--[\w-]+", MAKEFILE.partition("-m sphinx ")[2].partition("-c docs/site")[0])

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not importlib.util.find_spec("sphinx") and "CI" not in os.environ,
        reason="Sphinx is not installed: it is in the extra [docs]",
    ),
]


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    assert {"--fail-on-warning", "--nitpicky"} <= set(OPTIONS)
    folders = ["-c", CONFIGURATION, "-d", target / "trees", source, target / "site"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "--no-color", *OPTIONS, *folders],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class Page(HTMLParser):
    """What a built page loads, what it links to and which anchors it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.comments: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors.add(named.get("id", ""))
        if tag == "a":
            self.links.append(named.get("href", ""))
        elif tag == "link" and named.get("rel") not in ("canonical", "search", "index", "next", "prev"):
            self.loads.append(named["href"])
        elif "src" in named:
            self.loads.append(named["src"])

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def target(page: Path, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    return (page.parent / path).resolve() if path else page


def test_it_holds_every_page_and_needs_no_other_host(tmp_path: Path) -> None:
    done = build(pages.ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    built = {file: Page(file) for file in site.rglob("*.html")}
    for page in [*pages.PAGES, pages.CONTRIBUTING, pages.CHANGELOG]:
        assert site / f"{pages.name(page)[:-3]}.html" in built
    for file, page in built.items():
        assert not [comment for comment in page.comments if re.match(r" ?(test|setup|check|file):", comment)], file
        for address in page.loads:
            assert not urlsplit(address).netloc, f"{file} loads {address}"
            assert target(file, address).is_file(), f"{file} loads {address}, which is not there"
        for address in page.links:
            parts = urlsplit(address)
            if parts.scheme or file.name in ("search.html",):
                continue
            linked = target(file, address)
            assert linked.exists(), f"{file} links to {address}"
            if parts.fragment and linked in built:
                assert unquote(parts.fragment) in built[linked].anchors, f"{file} links to {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()[^;)]*//", style.read_text()), f"{style} loads from elsewhere"
    assert built[site / "index.html"].links == ["docs/index.html"]


def test_it_is_refused_for_what_leads_nowhere_or_is_not_in_the_index(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    (source / "README.md").write_text("# Read me\n")
    (source / "docs" / "index.md").write_text("# Index\n\n## Start\n\n- [What is it?](../README.md)\n- [… a?](a.md)\n")
    (source / "docs" / "forgotten.md").write_text("# Forgotten\n")
    (source / "docs" / "a.md").write_text(
        "# A\n\n[page](b.md), [anchor](../README.md#nothing), [own](#nothing), ![picture](a.png)\n\n"
        "<!-- check:\n[hidden](c.md)\n-->\n"
    )
    done = build(source, tmp_path)
    assert done.returncode != 0
    # Some versions name the kind of a warning behind it, in brackets.
    warnings = sorted(re.findall(r"^\S+?(\w+\.md\S*): WARNING: (.+?)(?: \[[\w.]+\])?$", done.stderr, re.MULTILINE))
    assert len(warnings) == 5, done.stderr
    assert warnings[-1] == ("forgotten.md", "document isn't included in any toctree")
    assert {place for place, _ in warnings[:-1]} == {"a.md:3"}
