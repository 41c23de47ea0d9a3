"""The site that `make docs` builds: README, CHANGELOG, CONTRIBUTING and docs/, as they are in the repository.

The pages are plain Markdown that GitHub shows just as well, so nothing of the site is written in them: what they hide
for the tests is taken out here, and the navigation is `docs/index.md` itself. A page that is not linked there, a link
or an anchor that leads nowhere: each is a warning, and `make docs` fails on warnings.

Read by Sphinx. The folder of sources is the repository's root.
"""

import re
from pathlib import PurePosixPath
from typing import ClassVar

from pygments.lexer import RegexLexer, bygroups, using
from pygments.lexers.data import JsonLexer
from pygments.token import Comment, Keyword, Name, Whitespace
from sphinx.application import Sphinx

INDEX = "docs/index"

project = "django_cfg_tasks"
author = "django_cfg_tasks contributors"
copyright = author  # noqa: A001 - Sphinx's name
language = "en"

extensions = ["myst_parser"]
root_doc = INDEX
include_patterns = ["*.md", "docs/**.md"]
# Folders that are not even looked through.
exclude_patterns = [".*", "benchmarks", "build", "chaos", "deploy", "dist", "example_project", "tests"]
myst_heading_anchors = 6
nitpicky = True

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]  # the root, which leads to docs/index.html
html_copy_source = False
html_domain_indices = False
html_use_index = False
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"

_FENCE_OR_COMMENT = re.compile(r"^(?P<fence> *```[^\n]*\n.*?^ *```) *$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_HEADING_OR_ENTRY = re.compile(
    r"^## (?P<heading>.+?) *$|^- \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+)\.md\)", re.MULTILINE
)


def without_comments(text: str) -> str:
    """Take out what pages hide in comments: how they are tested. A fence may show one."""
    return _FENCE_OR_COMMENT.sub(lambda match: match["fence"] or "", text)


def navigation(index: str) -> str:
    """Return the index as one list of pages for each of its headings, under the titles that it gives them."""
    lists: list[str] = []
    for match in _HEADING_OR_ENTRY.finditer(index):
        if match["heading"]:
            lists.append(f"```{{toctree}}\n:hidden:\n:caption: {match['heading']}\n")
        elif lists:
            title = match["title"].removeprefix("… ").removesuffix("?").replace("`", "")
            lists[-1] += f"{title[0].upper()}{title[1:]} <{PurePosixPath(match['page'])}>\n"
    return "\n".join(f"{each}```\n" for each in lists if ">" in each)


class RequestLexer(RegexLexer):
    """Lines of a method, an address and perhaps a body and a comment, as the pages show requests."""

    name = "Requests"
    tokens: ClassVar = {
        "root": [
            (r"( +)(#.*)", bygroups(Whitespace, Comment)),
            (r"( +)(\{.*?\})(?= +#|$)", bygroups(Whitespace, using(JsonLexer))),
            (r"^[A-Z]+\b", Keyword),
            (r"\S+", Name),
            (r"\s", Whitespace),
        ],
    }
    flags = re.MULTILINE


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""

    def read(app: Sphinx, docname: str, content: list[str]) -> None:
        content[0] = without_comments(content[0])
        if docname == INDEX:
            content[0] += f"\n{navigation(content[0])}"

    app.connect("source-read", read)
    app.add_lexer("http", RequestLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
