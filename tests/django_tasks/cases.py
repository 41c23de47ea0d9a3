"""The cases of Django's own ``tests/tasks``, asked of the backend: in a project, with a real worker beside them.

They are told anew, for what Django asks of a backend that runs a task at once, or never, is here asked of one that runs
it in another process. Left out, and why:

| case of Django's | why it is left out |
|---|---|
| dummy: `clear`, `results` | that backend's own: a list in memory |
| immediate: `cannot_get_result`, `cannot_refresh_result`, `cannot_pass_run_after` | ours can |
| immediate: `throws_keyboard_interrupt` | there the task runs in the caller's process, here a failure of the job |
| dummy and immediate: `doesnt_wait_until_transaction_commit` | here the job is part of the transaction, which is shown |
| custom: `test_options`, `test_no_enqueue`, `test_backend_does_not_support_priority` and the cases of `CustomTask` | they test what `BaseTaskBackend` does for another backend |
| tasks: `unpickle_arbitrary_string`, `unpickle_non_task_object`, `task_error_invalid_exception` and `_unknown_module` | of `Task` and `TaskError` alone, no backend is asked (pickling a task and a result is shown) |
| immediate: `successful_task_no_none_in_logs`, `failed_logs` | what Django's own receivers log; that they are called, and with what, is shown |
"""  # noqa: E501
# ruff: noqa: E402 - Django is set up first

import dataclasses
import datetime as dt
import json
import pickle
import time
import unittest
import unittest.mock
from pathlib import Path

import django

django.setup()

from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from django.utils.module_loading import import_string
from shop import tasks

from django_cfg_tasks import get_rearq_client
from django_cfg_tasks.acts import jobs
from django_cfg_tasks.contrib.django_tasks import ReArqBackend, framework
from django_cfg_tasks.contrib.django_tasks.framework import (
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
)
from django_cfg_tasks.models import TaskLog

FILE = Path("signals.jsonl")
PATIENCE = 60
TASKS = {"default": {"BACKEND": "django_cfg_tasks.contrib.django_tasks.ReArqBackend", "QUEUES": ["queue-1"]}}
decorator = import_string(f"{Task.__module__.rpartition('.')[0]}.task")
mismatch = import_string(f"{Task.__module__.rpartition('.')[0]}.exceptions.TaskResultMismatch")
backend = task_backends["default"]


def waited(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)
    return found


def finished(result):
    def is_finished():
        result.refresh()
        return result.is_finished

    waited(is_finished, f"the end of {result}")
    return result


async def afinished(result):
    return await sync_to_async(finished)(result)


def told(result, count):
    """The signals about a job, once there are so many. A worker may be faster with its than we are with ours."""

    def lines():
        found = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
        mine = sorted((line for line in found if line["id"] == result.id), key=lambda line: line["kind"] != "enqueued")
        return mine if len(mine) >= count else None

    return waited(lines, f"{count} signals")


class Case(unittest.TestCase):
    maxDiff = None

    def assert_times(self, result):
        self.assertIsNotNone(result.last_attempted_at)
        self.assertGreaterEqual(result.started_at, result.enqueued_at)
        self.assertGreaterEqual(result.last_attempted_at, result.started_at)
        self.assertGreaterEqual(result.finished_at, result.last_attempted_at)

    def assert_failed(self, result, kind):
        self.assertEqual(result.status, TaskResultStatus.FAILED)
        self.assertIs(result.is_finished, True)
        with self.assertRaisesRegex(ValueError, "Task failed"):
            _ = result.return_value
        self.assertIs(result.errors[-1].exception_class, kind)


class Declaring(Case):
    def test_backend(self):
        self.assertIsInstance(backend, ReArqBackend)
        self.assertEqual((backend.alias, backend.options), ("default", {}))
        self.assertIsInstance(tasks.nothing.get_backend(), ReArqBackend)
        self.assertEqual(list(backend.check()), [])
        for support in ("defer", "async_task", "get_result", "priority"):
            self.assertIs(getattr(backend, f"supports_{support}"), True)

    def test_using(self):
        moment = timezone.now()
        self.assertIsInstance(tasks.nothing, Task)
        self.assertIsInstance(tasks.nothing_async, Task)
        self.assertEqual(tasks.nothing.using(), tasks.nothing)
        self.assertIsNot(tasks.nothing.using(), tasks.nothing)
        later = tasks.nothing.using(run_after=moment)
        urgent = later.using(priority=10, queue_name="queue_1")
        self.assertEqual((urgent.priority, urgent.queue_name, urgent.run_after), (10, "queue_1", moment))
        self.assertEqual((later.priority, later.queue_name), (0, "default"))
        self.assertIsNone(tasks.nothing.run_after)

    def test_what_is_invalid(self):
        for options, message in (
            ({"run_after": dt.datetime(2030, 1, 1)}, "run_after must be an aware datetime"),
            ({"priority": -101}, "priority must be a whole number between -100 and 100"),
            ({"priority": 101}, "priority must be a whole number between -100 and 100"),
            ({"priority": 3.1}, "priority must be a whole number between -100 and 100"),
            ({"queue_name": "queue-2"}, "Queue 'queue-2' is not valid for backend"),
            ({"queue_name": "a:b", "backend": "any_queue"}, "no spaces, colons"),
            ({"queue_name": "a@5", "backend": "any_queue"}, "holds no '@'"),
        ):
            with self.subTest(options), self.assertRaisesRegex(InvalidTask, message):
                tasks.nothing.using(**options)
        for priority in (100, -100, 0):
            tasks.nothing.using(priority=priority)
        self.assertEqual(tasks.nothing.using(queue_name="queue-2", backend="any_queue").queue_name, "queue-2")
        with self.assertRaisesRegex(InvalidTaskBackend, "doesn't exist"):
            tasks.nothing.using(backend="unknown")
        missing = {**TASKS, "missing": {"BACKEND": "does.not.exist"}}
        with override_settings(TASKS=missing), self.assertRaisesRegex(InvalidTaskBackend, "does.not.exist"):
            tasks.nothing.using(backend="missing")

    def test_functions(self):
        for function in (any, self.test_functions, lambda: None):
            with self.subTest(function), self.assertRaisesRegex(InvalidTask, "at a module level"):
                decorator()(function)
        with self.assertRaisesRegex(InvalidTask, "first argument of 'context'"):
            decorator(takes_context=True)(tasks.answer.func)
        with self.assertRaises(TypeError):
            decorator(run_after=timezone.now())(tasks.answer.func)
        without_async = unittest.mock.patch.object(ReArqBackend, "supports_async_task", False)
        with without_async, self.assertRaisesRegex(InvalidTask, "(?i)does not support async tasks"):
            backend.validate_task(tasks.nothing_async)

    def test_calling(self):
        self.assertEqual(tasks.answer.call(), 42)
        self.assertIsNone(tasks.nothing_async.call())
        self.assertEqual((tasks.answer.name, tasks.answer.module_path), ("answer", "shop.tasks.answer"))
        self.assertIs(import_string(tasks.answer.module_path), tasks.answer)

    def test_no_backends(self):
        with override_settings(TASKS={"other": {"BACKEND": "x.y"}}), self.assertRaises(InvalidTaskBackend):
            tasks.nothing.enqueue()


class Running(Case):
    def test_enqueued(self):
        due = timezone.now() + dt.timedelta(days=1)
        for task in (tasks.nothing, tasks.nothing_async):
            with self.subTest(task):
                later = task.using(run_after=due, priority=7)
                result = later.enqueue(1, two=(3,))
                self.assertEqual(result.status, TaskResultStatus.READY)
                self.assertEqual((result.is_finished, result.attempts), (False, 0))
                self.assertEqual((result.task, result.backend), (later, "default"))
                self.assertEqual((result.args, result.kwargs), ([1], {"two": [3]}))
                self.assertEqual((result.errors, result.worker_ids), ([], []))
                self.assertIsNotNone(result.enqueued_at)
                self.assertEqual((result.started_at, result.last_attempted_at, result.finished_at), (None,) * 3)
                with self.assertRaisesRegex(ValueError, "Task has not finished yet"):
                    _ = result.return_value
                self.assertEqual(backend.get_result(result.id), result)
                self.assertEqual(task.get_result(result.id), result)
                before = dataclasses.asdict(result)
                result.refresh()
                self.assertEqual(dataclasses.asdict(result), before)

    def test_result(self):
        result = finished(tasks.answer.enqueue())
        self.assertEqual((result.status, result.return_value), (TaskResultStatus.SUCCESSFUL, 42))
        self.assertEqual((result.attempts, len(result.worker_ids), result.errors), (1, 1, []))
        self.assert_times(result)
        self.assertEqual(backend.get_result(result.id), result)
        for signal, state, program in zip(
            told(result, 3),
            (("enqueued", "READY", 0), ("started", "RUNNING", 1), ("finished", "SUCCESSFUL", 1)),
            ("python", "rearq", "rearq"),
            strict=True,
        ):
            self.assertEqual((signal["kind"], signal["status"], signal["attempts"]), state)
            self.assertEqual((signal["path"], signal["sender"]), ("shop.tasks.answer", "ReArqBackend"))
            self.assertEqual((signal["handled"], signal["program"] == "rearq"), (None, program == "rearq"))
            self.assertIn(signal["workers"], ([], result.worker_ids))

    def test_arguments(self):
        result = finished(tasks.echo_async.enqueue(b"caf\xc3\xa9", key=("a", {1: None})))
        self.assertEqual((result.args, result.kwargs), (["café"], {"key": ["a", {"1": None}]}))
        self.assertEqual(result.return_value, {"value": "café", "key": ["a", {"1": None}]})
        # As Django passes them: annotations convert nothing.
        self.assertEqual(finished(tasks.typed.enqueue("2030-01-01")).return_value, ["str", 1.5])
        with self.assertRaisesRegex(TypeError, "Unsupported type"):
            tasks.nothing.enqueue(timezone.now())
        with self.assertRaisesRegex(TypeError, "unexpected keyword argument 'other'"):
            tasks.answer.enqueue(other=1)

    def test_failures(self):
        for task, kind, end in (
            (tasks.value_error, ValueError, "ValueError: no such order\n"),
            (tasks.system_exit, SystemExit, "SystemExit: leaving\n"),
            (tasks.nested_error, ValueError, "ValueError: inner\n"),
            (tasks.no_json, TypeError, ""),
        ):
            with self.subTest(task):
                result = finished(task.enqueue())
                self.assert_failed(result, kind)
                self.assert_times(result)
                self.assertEqual((result.attempts, len(result.errors)), (1, 1))
                self.assertTrue(result.errors[0].traceback.endswith(end), result.errors[0].traceback)
                signals = told(result, 3)
                self.assertEqual([signal["kind"] for signal in signals], ["enqueued", "started", "finished"])
                self.assertEqual((signals[2]["status"], signals[2]["errors"]), ("FAILED", 1))
                self.assertEqual(signals[2]["handled"], kind.__name__)
        self.assertIn("Unsupported type", result.errors[0].traceback)

    def test_context(self):
        result = finished(tasks.own_id.enqueue())
        self.assertEqual(result.return_value, result.id)

    def test_missing_and_other_results(self):
        for unknown in ("123", 123, "x" * 300):
            with self.subTest(unknown), self.assertRaises(TaskResultDoesNotExist):
                tasks.nothing.get_result(unknown)
        result = tasks.nothing_async.enqueue()
        with self.assertRaisesRegex(mismatch, "Task does not match"):
            tasks.nothing.get_result(result.id)

    def test_pickle(self):
        if not hasattr(Task, "_reconstruct"):
            self.skipTest("tasks can be pickled since Django 6.1")
        self.assertEqual(pickle.loads(pickle.dumps(tasks.own_id)), tasks.own_id)
        result = tasks.nothing.enqueue()
        self.assertEqual(pickle.loads(pickle.dumps(result)), result)

    def test_validated_when_enqueued(self):
        elsewhere = tasks.nothing.using(queue_name="queue_1")
        with override_settings(TASKS=TASKS), self.assertRaisesRegex(InvalidTask, "Queue 'queue_1' is not valid"):
            elsewhere.enqueue()

    def test_transaction(self):
        with transaction.atomic():
            result = tasks.answer.enqueue()
            self.assertEqual(result.status, TaskResultStatus.READY)
        self.assertEqual(finished(result).return_value, 42)
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            lost = tasks.answer.enqueue()
            raise ZeroDivisionError
        with self.assertRaises(TaskResultDoesNotExist):
            lost.refresh()


class RunningFromAsyncCode(unittest.IsolatedAsyncioTestCase):
    async def test_enqueue_and_results(self):
        result = await tasks.echo_async.aenqueue(1, key=2)
        self.assertEqual((result.status, result.task), (TaskResultStatus.READY, tasks.echo_async))
        await result.arefresh()
        await afinished(result)
        self.assertEqual(result.return_value, {"value": 1, "key": 2})
        self.assertEqual(await tasks.echo_async.aget_result(result.id), result)
        self.assertEqual((await backend.aget_result(result.id)).id, result.id)
        self.assertEqual([signal["kind"] for signal in told(result, 3)], ["enqueued", "started", "finished"])

    async def test_what_is_refused(self):
        with self.assertRaisesRegex(TypeError, "Unsupported type"):
            await tasks.nothing.aenqueue(timezone.now())
        with self.assertRaises(TaskResultDoesNotExist):
            await tasks.nothing.aget_result("123")
        result = await tasks.nothing_async.aenqueue()
        with self.assertRaisesRegex(mismatch, "Task does not match"):
            await tasks.nothing.aget_result(result.id)
        elsewhere = tasks.nothing.using(queue_name="queue_1")
        with override_settings(TASKS=TASKS), self.assertRaisesRegex(InvalidTask, "Queue 'queue_1' is not valid"):
            await elsewhere.aenqueue()


class OfTheEngine(Case):
    """What Django has no words for, and the engine does."""

    def test_retries(self):
        result = finished(tasks.third_time.using(backend="patient").enqueue())
        self.assertEqual(result.return_value, [3, 1, 2])
        self.assertEqual((result.attempts, result.backend), (3, "patient"))
        self.assertEqual([error.exception_class for error in result.errors], [OSError, OSError])
        self.assertTrue(result.errors[1].traceback.endswith("OSError: attempt 2\n"))
        self.assertLess(result.started_at, result.last_attempted_at)
        kinds = [(signal["kind"], signal["attempts"]) for signal in told(result, 5)]
        self.assertEqual(kinds, [("enqueued", 0), ("started", 1), ("started", 2), ("started", 3), ("finished", 3)])
        # Without retries, as Django has none.
        self.assert_failed(finished(tasks.third_time.enqueue()), OSError)

    def test_later(self):
        due = timezone.now() + dt.timedelta(seconds=1)
        task = tasks.answer.using(run_after=due, priority=-60)
        result = finished(task.enqueue())
        self.assertGreaterEqual(result.started_at, due)
        self.assertEqual(result.task, task)

    def test_canceled(self):
        waiting = tasks.answer.using(run_after=timezone.now() + dt.timedelta(days=1)).enqueue()
        running = tasks.long.enqueue()
        waited(lambda: running.refresh() or running.status == TaskResultStatus.RUNNING, "a run")
        self.assertEqual((running.attempts, running.finished_at), (1, None))
        for result in (waiting, running):
            get_rearq_client().cancel(result.id)
            finished(result)
            self.assert_failed(result, import_string("django_cfg_tasks.exceptions.JobCanceledError"))
            self.assertIn("The job was canceled.", result.errors[0].traceback)
        self.assertEqual([signal["status"] for signal in told(waiting, 2)], ["READY", "FAILED"])

    def test_expired(self):
        due = timezone.now() + dt.timedelta(seconds=1)
        result = finished(tasks.answer.using(backend="brief", run_after=due).enqueue())
        self.assert_failed(result, import_string("django_cfg_tasks.exceptions.JobExpiredError"))
        self.assertEqual((result.attempts, result.started_at), (0, None))

    def test_a_module_that_the_worker_has_not_imported(self):
        from shop.deep.down import found

        result = finished(found.enqueue())
        self.assertEqual(result.return_value, "found")
        self.assertEqual([signal["kind"] for signal in told(result, 3)], ["enqueued", "started", "finished"])

    def test_the_same_job_elsewhere(self):
        urgent = tasks.echo_async.using(priority=100, queue_name="queue_1")
        result = finished(urgent.enqueue("x", key="k"))
        log = waited(lambda: TaskLog.objects.filter(job_id=result.id, status="success").first(), "the history")
        self.assertEqual((log.task_name, log.queue_name), ("shop.tasks.echo_async", "queue_1@50"))
        self.assertEqual(backend.get_result(result.id).task, urgent)
        again = finished(backend.get_result(jobs.retry(result.id).job_id))
        self.assertEqual((again.return_value, again.task), (result.return_value, urgent.using(priority=50)))

    def test_a_task_that_is_not_djangos(self):
        job = import_string("shop.jobs.plain").enqueue(1)
        self.assertEqual(job.wait(timeout=PATIENCE).result, 1)
        with self.assertRaises(TaskResultDoesNotExist):
            backend.get_result(job.job_id)

    def test_framework(self):
        expected = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
        self.assertTrue(framework.Task.__module__.startswith(expected))


if __name__ == "__main__":
    unittest.main(verbosity=2)
