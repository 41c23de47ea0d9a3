"""Runs a page's Python and its consoles, block by block, as a reader would; started in the page's project.

``python driver.py steps.json``: each step has ``kind`` (http, console, or a kind of Python), ``text``, ``place`` and
``line``. Top-level ``await`` works, each time on a new event loop. What ``print(...)  # text`` prints must be that
text, and what commands print what stands below them. Ends with an error at the first step that fails; the traceback
shows the page's own lines.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import linecache
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import django

CTRL_C = "^C"
LONG_SECONDS = 60
PRINTED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)


def main() -> None:
    django.setup()
    namespace: dict[str, object] = {"__name__": "docs"}
    for step in json.loads(Path(sys.argv[1]).read_text()):
        {"http": run_http, "console": run_console}.get(step["kind"], run_python)(step, namespace)


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


def run_console(step: dict[str, str], namespace: dict[str, object]) -> None:
    """Do what stands behind each ``$``: what it prints is what follows, but for blanks, and ``…`` for anything.

    A command that is ended by a line ``^C`` prints the lines before and after it, among others, in any order.
    """
    for part in re.split(r"^\$ ", step["text"], flags=re.MULTILINE)[1:]:
        command, *expected = part.replace("\\\n", " ").splitlines()
        words = shlex.split(command)
        if CTRL_C in expected:
            run_until_interrupted(step, words, expected)
            continue
        printed = run_manage(words[1:])
        if not same(printed.splitlines(), expected):
            raise AssertionError(f"{step['place']}: {command} prints:\n{printed}")


def run_manage(words: list[str]) -> str:
    """Return what ``manage.py`` prints, on both streams."""
    from django.core.management import execute_from_command_line

    assert words[0] == "manage.py", words
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        execute_from_command_line(words)
    return printed.getvalue()


def run_until_interrupted(step: dict[str, str], words: list[str], expected: list[str]) -> None:
    program = [sys.executable] if words[0] == "python" else [str(Path(sys.executable).with_name(words[0]))]
    before = expected[: expected.index(CTRL_C)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*program, *words[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )

        def missing(lines: list[str]) -> list[str]:
            output.seek(0)
            printed = output.read().splitlines()
            return [line for line in lines if not any(same([other], [line]) for other in printed)]

        try:
            deadline = time.monotonic() + LONG_SECONDS
            while (lacking := missing(before)) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            code = process.wait(LONG_SECONDS)
        finally:
            process.kill()
        lacking = lacking or missing([line for line in expected if line != CTRL_C])
        if lacking or code:
            output.seek(0)
            raise AssertionError(f"{step['place']}: exit code {code}, without {lacking}:\n{output.read()}")


def same(printed: list[str], expected: list[str]) -> bool:
    """Compare lines; in what is expected, ``…`` stands for anything, and on a line of its own for any lines."""
    lines = [plain(line) for line in expected]
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in lines
    )
    return re.fullmatch(pattern, "".join(f"{plain(line)}\n" for line in printed)) is not None


def plain(line: str) -> str:
    return " ".join(line.split())


main()
