"""Waiting and processes: what the other tests lean on."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import ProcessEnded, Processes
from tests.waiting import NotInTime, eventually, wait_until


def count() -> Iterator[int]:
    yield from range(1000)


class TestWaiting:
    def test_returns_the_first_true_value(self) -> None:
        numbers = count()
        assert wait_until(lambda: next(numbers), "a number above zero") == 1

    def test_says_what_it_waited_for_and_saw(self) -> None:
        with pytest.raises(NotInTime, match=r"0\.05 s in vain for: the moon .*last value: \[\]"):
            wait_until(list, "the moon", timeout=0.05)

    def test_passes_on_what_the_condition_raises(self) -> None:
        with pytest.raises(ZeroDivisionError):
            wait_until(lambda: 1 // 0, "nonsense")

    async def test_async_takes_both_kinds_of_condition(self) -> None:
        numbers = count()

        async def number() -> int:
            return next(numbers)

        assert await eventually(number, "a number above zero") == 1
        assert await eventually(lambda: next(numbers), "the next number") == 2

    async def test_async_says_what_it_waited_for(self) -> None:
        with pytest.raises(NotInTime, match="the moon"):
            await eventually(lambda: None, "the moon", timeout=0.05)


class TestProcesses:
    def test_log_and_exit_code(self, processes: Processes) -> None:
        process = processes.start(sys.executable, "-c", "print('hello 42'); raise SystemExit(3)")
        assert process.wait_for_log(r"hello (\d+)")[1] == "42"
        assert process.wait(10) == 3
        assert "exit code 3" in repr(process)

    def test_waits_for_the_nth_line(self, processes: Processes) -> None:
        process = processes.start(sys.executable, "-c", "print('a1\\na2\\na3')")
        assert process.wait_for_log(r"^a\d", count=3)[0] == "a3"

    def test_sigterm_is_heard(self, processes: Processes) -> None:
        code = (
            "import signal\n"
            "def leave(*_):\n    print('leaving', flush=True)\n    raise SystemExit(0)\n"
            "signal.signal(signal.SIGTERM, leave)\n"
            "print('ready', flush=True)\n"
            "signal.pause()\n"
            "signal.pause()\n"
        )
        process = processes.start(sys.executable, "-c", code)
        process.wait_for_log("ready")
        assert process.stop() == 0
        assert "leaving" in process.output

    def test_sigkill_takes_the_children_too(self, processes: Processes) -> None:
        code = (
            "import signal, subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
            "print('child', child.pid, flush=True)\n"
            "signal.pause()\n"
        )
        process = processes.start(sys.executable, "-c", code)
        child = int(process.wait_for_log(r"child (\d+)")[1])
        process.sigkill()
        assert process.wait(10) == -9
        wait_until(
            lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE,
            "the child is gone",
        )

    def test_a_frozen_process_stands_still(self, processes: Processes) -> None:
        process = processes.start(sys.executable, "-uc", "import time\nwhile True: print('tick'); time.sleep(0.001)")
        process.wait_for_log("tick")
        process.freeze()
        assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
        seen = process.output.count("tick")
        process.send(signal.SIGCONT)
        process.wait_for_log("tick", count=seen + 2)

    def test_freezing_one_that_ends_waits_for_nothing(self, processes: Processes) -> None:
        process = processes.start(sys.executable, "-c", "")
        process.freeze()
        process.send(signal.SIGCONT)
        assert process.wait(10) == 0

    def test_an_early_end_fails_at_once_and_shows_the_output(self, processes: Processes) -> None:
        process = processes.start(sys.executable, "-c", "print('bad news')")
        with pytest.raises(ProcessEnded, match="bad news"):
            process.wait_for_log("good news", timeout=60)

    def test_a_timeout_shows_the_output(self, processes: Processes) -> None:
        process = processes.start(sys.executable, "-uc", "import signal; print('busy'); signal.pause()")
        process.wait_for_log("busy")
        with pytest.raises(NotInTime, match=r"(?s)good news.*busy"):
            process.wait_for_log("good news", timeout=0.1)
        with pytest.raises(NotInTime, match=r"(?s)still runs.*busy"):
            process.wait(0.1)

    def test_kill_all_leaves_nothing_running(self, processes: Processes) -> None:
        started = [processes.start(sys.executable, "-c", "import signal; signal.pause()") for _ in range(3)]
        processes.kill_all()
        assert not any(process.running for process in started)

    def test_the_output_of_a_failed_tests_processes_is_shown(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        pytester.makeconftest("from tests.conftest import processes, pytest_runtest_makereport")
        pytester.makepyfile(
            "import sys\n"
            "def test_fails(processes):\n"
            "    processes.start(sys.executable, '-c', 'print(\"last words\")', name='worker').wait(10)\n"
            "    assert False\n"
        )
        result = pytester.runpytest_subprocess("-p", "no:django", "-p", "no:randomly", "-p", "no:cacheprovider")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*output of worker (pid *, exit code 0)*", "last words"])
