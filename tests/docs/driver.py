"""Runs a page's Python, block by block, as a reader would in a shell; started in the page's project.

``python driver.py steps.json``: each step has ``kind`` (http, or a kind of Python), ``text``, ``place`` and ``line``.
Top-level ``await`` works, each time on a new event loop. What ``print(...)  # text`` prints must be that text. Ends
with an error at the first step that fails; the traceback shows the page's own lines.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import linecache
import re
import sys
from pathlib import Path

import django

PRINTED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)


def main() -> None:
    django.setup()
    namespace: dict[str, object] = {"__name__": "docs"}
    for step in json.loads(Path(sys.argv[1]).read_text()):
        (run_http if step["kind"] == "http" else run_python)(step, namespace)


def run_python(step: dict[str, str], namespace: dict[str, object]) -> None:
    source = "\n" * (int(step["line"]) - 1) + step["text"]
    linecache.cache[step["place"]] = (len(source), None, source.splitlines(True), step["place"])
    code = compile(source, step["place"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        answer = eval(code, namespace)
        if inspect.iscoroutine(answer) and code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(answer)
    expected = PRINTED.findall(step["text"])
    if expected and printed.getvalue().splitlines() != expected:
        raise AssertionError(f"{step['place']} promises to print {expected}, and prints:\n{printed.getvalue()}")


def run_http(step: dict[str, str], namespace: dict[str, object]) -> None:
    """Ask as a member of staff; ``{id}`` is the newest job's. The last answer is ``response``.

    A line is a method, an address, perhaps a body in JSON, and perhaps the status in a comment; else that is 200.
    """
    from django.contrib.auth import get_user_model
    from django.test import Client

    from django_cfg_tasks.models import TaskLog

    users = get_user_model().objects
    staff = users.filter(username="docs").first() or users.create_superuser("docs")
    client = Client()
    client.force_login(staff)
    for line in step["text"].splitlines():
        request, _, comment = line.partition("  # ")
        method, path, *body = request.split(maxsplit=2)
        if "{id}" in path:
            path = path.replace("{id}", str(TaskLog.objects.latest("id").pk))
        response = client.generic(method, path, *body, content_type="application/json")
        expected = int(comment[:3]) if comment[:3].isdigit() else 200
        shown = "a stream" if response.streaming else response.content
        assert response.status_code == expected, f"{step['place']}: {line}: {response.status_code} {shown!r}"
        namespace["response"] = response


main()
