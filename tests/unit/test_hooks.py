"""The hooks of worker processes: what may be one, and how they are called."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from django_cfg_tasks import ReArqClient, TaskConfig, on_worker_start, on_worker_stop, task
from django_cfg_tasks.exceptions import DeclarationError, HookError
from django_cfg_tasks.hooks import around, start_hooks, stop_hooks
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.worker import hooks as worker_hooks
from django_cfg_tasks.worker.hooks import hooked
from django_cfg_tasks.worker.process import Process
from tests.waiting import eventually

MODULE = """\
from django_cfg_tasks import on_worker_start

@on_worker_start
def connect(): ...

def made(name):
    @on_worker_start
    def connect(): ...

made("a"), made("b")

@on_worker_start
async def connect(): ...
"""


@pytest.fixture(autouse=True)
def _no_hooks() -> Iterator[None]:
    """No hooks but the test's own."""
    before = start_hooks[:], stop_hooks[:]
    start_hooks[:], stop_hooks[:] = [], []
    yield
    start_hooks[:], stop_hooks[:] = before


@pytest.fixture
async def process() -> Process:
    return Process(ReArqClient(TaskConfig(enabled=True)))


class TestDeclaring:
    def test_the_function_stays_what_it_was(self) -> None:
        def connect() -> str:
            return "connected"

        assert on_worker_start(connect) is connect
        assert on_worker_stop(connect)() == "connected"
        assert (start_hooks, stop_hooks) == ([connect], [connect])

    @pytest.mark.parametrize(
        ("hook", "message"),
        [
            (None, "None can't be a hook: a hook is a function"),
            (dict, "can't be a hook: a hook is a function"),
            (lambda pool: pool, "called without arguments, and its parameter 'pool' has no default"),
            (lambda *, pool: pool, "its parameter 'pool' has no default"),
            (lambda: (yield), "it doesn't yield. .*@on_worker_stop"),
        ],
    )
    def test_what_can_t_be_called_is_refused(self, hook: Any, message: str) -> None:
        with pytest.raises(DeclarationError, match=f"^@on_worker_start: .*{message}"):
            on_worker_start(hook)
        assert start_hooks == []

    def test_a_task_is_refused(self) -> None:
        @task(name="warm up")
        async def warm_up() -> None: ...

        with pytest.raises(DeclarationError, match="<Task warm up on default> can't be a hook"):
            on_worker_start(warm_up)
        tasks.remove("warm up")

    def test_parameters_with_defaults_are_no_hindrance(self) -> None:
        on_worker_start(lambda size=3, *args, **kwargs: None)
        assert len(start_hooks) == 1

    def test_a_module_that_is_loaded_again_declares_once(self, tmp_path: Path) -> None:
        first = loaded(tmp_path)
        assert len(start_hooks) == 4, "functions of one name, and of one line, are different ones"
        module_level = [start_hooks[0], start_hooks[3]]
        again = loaded(tmp_path)
        assert start_hooks[3] is again.connect is not first.connect
        assert start_hooks[0] not in module_level
        assert [hook for hook in start_hooks if "<locals>" not in hook.__qualname__] == [start_hooks[0], start_hooks[3]]


def loaded(folder: Path) -> ModuleType:
    file = folder / "shop_hooks.py"
    file.write_text(MODULE)
    spec = importlib.util.spec_from_file_location("shop_hooks", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestCalling:
    async def test_start_hooks_in_order_stop_hooks_in_reverse(self, process: Process) -> None:
        got: list[Any] = []

        async def on_the_loop() -> None:
            got.append(threading.current_thread() is threading.main_thread())
            got.append(asyncio.get_running_loop())

        def in_a_thread() -> None:
            got.append(threading.current_thread() is threading.main_thread())

        for declare in (on_worker_start, on_worker_stop):
            declare(on_the_loop)
            declare(in_a_thread)
        async with hooked(process, up=True):
            got.append("work")
        loop = asyncio.get_running_loop()
        assert got == [True, loop, False, "work", False, True, loop]

    async def test_none_where_the_process_never_came_up(self, process: Process) -> None:
        got: list[str] = []
        on_worker_start(lambda: got.append("start"))
        on_worker_stop(lambda: got.append("stop"))
        async with hooked(process, up=False):
            pass
        assert got == []

    @pytest.mark.parametrize("error", [LookupError("no pool"), SystemExit(3), asyncio.CancelledError("lost")])
    async def test_a_start_hook_that_fails_ends_the_start(
        self, process: Process, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        got: list[str] = []

        async def connect() -> None:
            raise error

        on_worker_start(connect)
        on_worker_start(lambda: got.append("start"))
        on_worker_stop(lambda: got.append("stop"))
        with pytest.raises(HookError, match=rf"The start hook .*connect failed: {type(error).__name__}") as caught:
            async with hooked(process, up=True):
                got.append("work")
        assert caught.value.__cause__ is error
        assert "raise error" in caplog.text, "the log has the traceback"
        assert got == []

    async def test_stop_hooks_that_fail_harm_no_others(
        self, process: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        got: list[str] = []
        on_worker_stop(lambda: got.append("first"))
        on_worker_stop(lambda: sys.exit(3))
        on_worker_stop(lambda: got.append("last"))
        with pytest.raises(LookupError, match="of the work"):
            async with hooked(process, up=True):
                raise LookupError("of the work")
        assert got == ["last", "first"]
        assert "The stop hook tests.unit.test_hooks.TestCalling" in caplog.text
        assert "SystemExit: 3" in caplog.text

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_a_stop_hook_that_hangs_is_given_up(
        self,
        process: Process,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        is_async: bool,
    ) -> None:
        monkeypatch.setattr(worker_hooks, "END_SECONDS", 0.1)
        monkeypatch.setattr(worker_hooks, "UNWIND_SECONDS", 0.1)
        gate, got = threading.Event(), []

        def hangs() -> None:
            gate.wait(20)

        async def hangs_too() -> None:
            await asyncio.sleep(3600)

        on_worker_stop(lambda: got.append("first"))
        on_worker_stop(hangs_too if is_async else hangs)
        async with hooked(process, up=True):
            pass
        gate.set()
        assert got == ["first"]
        assert "did not end within 0.1 s; the worker ends without it" in caplog.text
        assert process._left_behind is not is_async, "only a thread can't be made to end"
        await eventually(lambda: len(asyncio.all_tasks()) == 1, "the hook's task has ended")

    async def test_a_stop_in_the_middle_of_the_start_ends_it(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_hooks, "END_SECONDS", 0.1)
        got: list[str] = []

        async def takes_long() -> None:
            process.ladder.stop()
            try:
                await asyncio.sleep(3600)
            finally:
                got.append("told")

        on_worker_start(takes_long)
        on_worker_start(lambda: got.append("next"))
        on_worker_stop(lambda: got.append("stop"))
        async with hooked(process, up=True):
            assert got == ["told"]
        assert got == ["told"]


def noting(name: str, notes: list[str], *, fails: str = "") -> Callable[[str], AbstractContextManager[None]]:
    @contextmanager
    def note(subject: str) -> Iterator[None]:
        if fails == "before":
            raise LookupError(f"{name} is broken")
        notes.append(f"{name} before {subject}")
        try:
            yield
        except KeyError:
            notes.append(f"{name} sees the error")
            raise
        finally:
            notes.append(f"{name} after")
            if fails == "after":
                raise LookupError(f"{name} is broken")

    return note


def test_contexts_around_a_job_are_left_in_reverse_and_see_its_error() -> None:
    notes: list[str] = []
    with pytest.raises(KeyError, match="the job"), around([noting("a", notes), noting("b", notes)], "it"):
        raise KeyError("the job")
    assert notes == ["a before it", "b before it", "b sees the error", "b after", "a sees the error", "a after"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_context_that_fails_is_logged_and_costs_nobody_anything(when: str, caplog: pytest.LogCaptureFixture) -> None:
    notes: list[str] = []
    broken = noting("broken", notes, fails=when)
    with around([noting("a", notes), broken, noting("b", notes)], "it"):
        notes.append("the job")
    assert [note for note in notes if "broken" not in note] == [
        "a before it",
        "b before it",
        "the job",
        "b after",
        "a after",
    ]
    [record] = caplog.records
    assert record.exc_info is not None
    assert "broken is broken" in str(record.exc_info[1])
    assert record.getMessage().endswith(f"failed {when} a job, which goes on without it.")
    caplog.clear()
    with pytest.raises(KeyError, match="the job"), around([broken], "it"):
        raise KeyError("the job")
    assert len(caplog.records) == 1
