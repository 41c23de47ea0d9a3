"""@task and @cron_task: what they declare, what they refuse, and the value that they leave behind."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from django_cfg_tasks import Task, cron_task, task
from django_cfg_tasks.decorators import RunAtStart
from django_cfg_tasks.exceptions import (
    ArgumentsError,
    DeclarationError,
    DuplicateTaskError,
    InvalidCronError,
    InvalidOptionError,
    SerializationError,
    TasksDisabledError,
)
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.options import TaskOptions
from django_cfg_tasks.registry import tasks


@pytest.fixture(autouse=True)
def declared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares is forgotten after it."""
    monkeypatch.setattr(tasks, "_tasks", dict(tasks._tasks))


async def fetch(url: str, *, retries: int = 3) -> str:
    """Get a page."""
    return f"{url}:{retries}"


def resize(width: int, height: int = 1) -> int:
    """Make it smaller."""
    return width * height


def record_of(declared: Task[..., Any], *args: Any, **kwargs: Any) -> JobRecord:
    """The job that `delay` or `enqueue` would store for this call."""
    changed, own_args, own_kwargs = declared._separated(args, kwargs)
    return changed.record(own_args, own_kwargs)


class TestDeclaring:
    @pytest.mark.parametrize("function", [fetch, resize])
    @pytest.mark.parametrize("decorate", [task, task(), task(queue="default")], ids=["bare", "called", "with options"])
    def test_with_and_without_parentheses(self, decorate: Any, function: Callable[..., Any]) -> None:
        declared = decorate(function)
        assert isinstance(declared, Task)
        assert declared.name == function.__name__
        assert declared.options == TaskOptions()
        assert declared.cron is None
        assert tasks[function.__name__] is declared

    def test_options(self) -> None:
        declared = task(
            queue="mail", name="get", job_retry=0, job_retry_after=5, job_timeout=math.inf, expire=60,
            run_with_lock=True, lock_timeout=30, mask=["token"], log_args=False,
        )(fetch)  # fmt: skip
        assert declared.name == "get"
        assert declared.options == TaskOptions(
            queue="mail", job_retry=0, job_retry_after=5, job_timeout=math.inf, expire=60,
            run_with_lock=True, lock_timeout=30, mask=("token",), log_args=False,
        )  # fmt: skip
        assert "fetch" not in tasks

    @pytest.mark.parametrize("mask", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}, (name for name in "ab")])
    def test_mask_takes_any_collection_of_names(self, mask: Any) -> None:
        assert task(mask=mask)(fetch).options.mask == ("a", "b")

    async def test_calling_the_task_calls_the_function(self) -> None:
        assert await task(fetch)("u", retries=1) == "u:1"
        assert task(resize)(3, height=2) == 6

    def test_calling_needs_no_valid_configuration(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = 5
        assert task(resize)(3) == 3

    def test_a_wrong_call_fails_as_the_function_does(self) -> None:
        with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
            task(resize)(3, depth=2)

    def test_is_async(self) -> None:
        assert task(fetch).is_async
        assert not task(resize).is_async

    @pytest.mark.parametrize("function", [fetch, resize])
    def test_it_shows_the_function_to_tools(self, function: Callable[..., Any]) -> None:
        declared: Any = task(function)
        assert declared.__name__ == declared.__qualname__ == function.__name__
        assert declared.__doc__ == function.__doc__
        assert declared.__module__ == __name__
        assert declared.__wrapped__ is inspect.unwrap(declared) is function
        assert inspect.signature(declared) == inspect.signature(function)
        assert declared.path == f"{__name__}.{function.__name__}"

    def test_repr(self) -> None:
        declared = task(queue="mail")(fetch)
        assert repr(declared) == "<Task fetch on mail>"
        assert repr(declared.using(queue="urgent")) == "<Task fetch on urgent>"

    def test_frozen(self) -> None:
        declared = task(fetch)
        for name in ("name", "queue", "options", "anything"):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(declared, name, "x")

    def test_equal_to_itself_only(self) -> None:
        declared = task(fetch)
        assert declared == declared
        assert declared != declared.using()
        assert len({declared, declared, declared.using()}) == 2

    def test_functions_that_other_decorators_wrapped(self) -> None:
        @functools.wraps(resize)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return resize(*args, **kwargs) + 100

        declared = task(wrapper)
        assert declared.name == "resize"
        assert declared.parameters == ("width", "height")
        assert declared(1, 2) == 102

    def test_a_static_method(self) -> None:
        class Shop:
            @staticmethod
            @task
            def total(a: int, b: int) -> int:
                return a + b

        assert Shop.total(1, 2) == Shop().total(1, 2) == 3
        assert tasks["total"] is Shop.total

    def test_a_bound_method(self) -> None:
        class Shop:
            def total(self, a: int) -> int:
                return a

        assert task(Shop().total).parameters == ("a",)

    def test_a_lambda_with_a_name(self) -> None:
        assert task(name="double")(lambda number: number * 2)(4) == 8


class TestBind:
    def test_the_context_is_no_argument_of_a_job(self) -> None:
        @task(bind=True)
        async def pay(context: Any, payment: int) -> None: ...

        assert pay.parameters == ("payment",)
        assert record_of(pay, 7).args == [7]
        with pytest.raises(ArgumentsError):
            record_of(pay, None, 7)
        with pytest.raises(ArgumentsError):
            record_of(pay, 7, context=None)

    def test_calling_it_takes_the_context(self) -> None:
        @task(bind=True)
        def pay(context: Any, payment: int) -> tuple[Any, int]:
            return context, payment

        assert pay("context", 7) == ("context", 7)

    def test_there_must_be_a_parameter_for_it(self) -> None:
        def nothing() -> None: ...

        with pytest.raises(DeclarationError, match=r"nothing\(\) is declared with bind=True, so its first parameter"):
            task(bind=True)(nothing)  # type: ignore[call-overload]


class Functor:
    def __call__(self) -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


class TestRefused:
    @pytest.mark.parametrize(
        "thing",
        [None, 5, "default", Functor(), Functor, functools.partial(resize, 1), dataclasses, ["queue"]],
        ids=["nothing", "number", "text", "instance", "class", "partial", "module", "list"],
    )
    def test_what_is_no_function(self, thing: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            task()(thing)
        assert str(caught.value) == f"{thing!r} can't be a task: a task is a function, async or not."

    @pytest.mark.parametrize("function", [generator, async_generator])
    def test_generators(self, function: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            task(function)
        assert str(caught.value) == (f"{function.__name__} can't be a task: a task returns once, it doesn't yield.")

    @pytest.mark.parametrize("wrap", [staticmethod, classmethod])
    def test_method_decorators_below(self, wrap: Any) -> None:
        with pytest.raises(DeclarationError, match=f"fetch: put @{wrap.__name__} above @task, not below"):
            task(wrap(fetch))

    def test_a_task_declared_twice(self) -> None:
        with pytest.raises(DeclarationError, match=r"\.fetch is a task already; one decorator is enough"):
            task(queue="other")(task(fetch))

    def test_a_nameless_lambda(self) -> None:
        with pytest.raises(DeclarationError, match=r"A lambda in tests.* has no name of its own"):
            task(lambda: None)

    def test_positional_options(self) -> None:
        with pytest.raises(DeclarationError, match="'mail' can't be a task"):
            task("mail")  # type: ignore[call-overload]

    def test_unknown_options_are_named_with_the_known_ones(self) -> None:
        with pytest.raises(DeclarationError) as caught:
            task(queu="mail", zzz=1)(fetch)  # type: ignore[call-overload]
        assert str(caught.value) == (
            "A task has no option 'queu'. It has: name, allow_api, bind, do_not_retry, expire, job_retry, "
            "job_retry_after, job_timeout, lock_key, lock_timeout, log_args, mask, max_concurrent, queue, rate_limit, "
            "retry_backoff, retry_backoff_max, retry_jitter, retry_on, run_with_lock, unique, unique_for."
        )

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("queue", ""), ("queue", "a b"), ("queue", "a" * 101), ("queue", None),
            ("job_retry", -1), ("job_retry", 1.5), ("job_retry_after", "60"), ("job_timeout", 0),
            ("expire", "soon"), ("lock_timeout", 0), ("mask", "iban"), ("mask", 5),
            ("retry_backoff", 0), ("retry_backoff", -1.0), ("retry_backoff", "1"), ("retry_backoff_max", 0),
            ("retry_backoff_max", True), ("retry_jitter", 1), ("retry_on", "OSError"), ("do_not_retry", 5),
            ("do_not_retry", None), ("lock_key", ""), ("lock_key", 7), ("max_concurrent", 0),
            ("rate_limit", "10"), ("unique", ""), ("unique", 1), ("unique_for", "until_end"), ("unique_for", 0),
        ],
    )  # fmt: skip
    def test_unusable_options_are_named_with_their_value(self, option: str, value: Any) -> None:
        with pytest.raises(DeclarationError, match=f"^{option}={value!r}: "):
            task(**{option: value})(fetch)
        assert "fetch" not in tasks

    @pytest.mark.parametrize("option", ["lock_key", "unique"])
    @pytest.mark.parametrize(
        ("template", "reason"),
        [
            ("{widht}", r"the function has no parameter 'widht'\. It has: width, height\."),
            ("{width.real}", r"it can name arguments, not attributes of them: {width\.real}\."),
            ("{width", "expected '}' before end of string"),
        ],
    )
    def test_templates_that_can_not_be_filled(self, option: str, template: str, reason: str) -> None:
        with pytest.raises(DeclarationError, match=f"^{option}=.*: {reason}"):
            task(**{option: template})(resize)
        assert "resize" not in tasks

    @pytest.mark.parametrize("option", ["lock_key", "unique"])
    def test_templates_can_not_name_the_context(self, option: str) -> None:
        def pay(context: Any, payment: int) -> None: ...

        with pytest.raises(DeclarationError, match=r"no parameter 'context'\. It has: payment\."):
            task(bind=True, **{option: "{context}"})(pay)

    def test_templates_can_name_what_collects_the_rest(self) -> None:
        def call(*args: int, **kwargs: int) -> None: ...

        declared = task(lock_key="{args[0]}/{kwargs[b]}")(call)
        assert declared.lock_key([1, 2], {"b": 3}) == "1/3"

    @pytest.mark.parametrize("name", ["", "a" * 201, "a\n", 5, b"a", "\ud800"])
    def test_names(self, name: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            task(name=name)(fetch)
        assert str(caught.value) == f"name={name!r}: a task's name has 1 to 200 printable characters."


class TestNames:
    def module(self, name: str, code: str) -> ModuleType:
        module = ModuleType(name)
        exec(f"from django_cfg_tasks import task\n{code}", module.__dict__)
        return module

    def test_two_modules_with_one_name(self) -> None:
        first = self.module("shop.tasks", "@task\ndef send(): ...")
        with pytest.raises(DuplicateTaskError) as caught:
            self.module("billing.tasks", "@task\ndef send(): ...")
        assert str(caught.value) == (
            "Two tasks are called 'send': shop.tasks.send and billing.tasks.send. "
            'Give one of them a name of its own: @task(name="...").'
        )
        assert tasks["send"] is first.send

    def test_a_name_is_the_way_out(self) -> None:
        self.module("shop.tasks", "@task\ndef send(): ...")
        module = self.module("billing.tasks", "@task(name='billing.send')\ndef send(): ...")
        assert tasks["billing.send"] is module.send

    def test_a_reloaded_module_declares_its_tasks_again(self) -> None:
        self.module("shop.tasks", "@task\ndef send(): ...")
        module = self.module("shop.tasks", "@task(queue='mail')\ndef send(): ...")
        assert tasks["send"] is module.send
        assert tasks["send"].options.queue == "mail"


class TestUsing:
    def test_a_changed_copy(self) -> None:
        declared = task(queue="mail")(fetch)
        changed = declared.using(queue="urgent", countdown=60, job_id="one", user=7)
        assert type(changed) is type(declared)
        assert (changed.name, changed.function, changed.options) == (declared.name, fetch, declared.options)
        assert (changed.call.queue, changed.call.countdown) == ("urgent", 60)
        assert declared.call.queue is None
        assert record_of(declared, "u").queue == "mail"
        assert record_of(changed, "u").queue == "urgent"
        assert record_of(changed, "u").options == {"user": 7}

    def test_a_job_of_a_disabled_task_only_if_asked_for(self) -> None:
        declared = task(fetch)
        assert not record_of(declared, "u").even_if_disabled
        assert record_of(declared.using(even_if_disabled=True), "u").even_if_disabled

    def test_what_a_task_says_of_itself_is_no_option_of_a_call(self) -> None:
        for option in ("lock_key", "run_with_lock", "max_concurrent", "rate_limit", "unique", "unique_for"):
            with pytest.raises(InvalidOptionError, match=f"There is no option '{option}'"):
                task(name=option)(fetch).using(**{option: None})  # type: ignore[misc]

    def test_copies_of_copies_add_up(self) -> None:
        changed = task(fetch).using(queue="urgent").using(job_retry=0)
        assert (changed.call.queue, changed.call.job_retry) == ("urgent", 0)

    def test_a_copy_can_still_be_called(self) -> None:
        assert task(resize).using(queue="urgent")(2, 3) == 6

    def test_the_registry_keeps_the_task(self) -> None:
        declared = task(fetch)
        declared.using(queue="urgent")
        assert tasks["fetch"] is declared

    def test_it_keeps_what_tools_read(self) -> None:
        changed: Any = task(fetch).using(queue="urgent")
        assert changed.__doc__ == "Get a page."
        assert inspect.signature(changed) == inspect.signature(fetch)

    def test_unknown_options(self) -> None:
        with pytest.raises(InvalidOptionError, match=r"There is no option 'retries'\. There are: countdown, eta, "):
            task(fetch).using(retries=1)  # type: ignore[call-arg]

    def test_unusable_options(self) -> None:
        with pytest.raises(InvalidOptionError, match="countdown='soon'"):
            task(fetch).using(countdown="soon")  # type: ignore[arg-type]

    def test_a_copied_task_is_as_good(self) -> None:
        declared = task(queue="mail")(fetch)
        for again in (copy.copy(declared), copy.deepcopy(declared)):
            assert record_of(again, "u").queue == "mail"


class TestKeys:
    """What a job locks, and what no second one like it may have."""

    def test_a_lock_is_named_by_the_arguments_however_they_are_given(self) -> None:
        declared = task(lock_key="{width}x{height}")(resize)
        assert declared.lock_key([3], {}) == declared.lock_key([], {"height": 1, "width": 3}) == "3x1"

    def test_a_lock_without_a_key_is_the_tasks_own(self) -> None:
        assert task(run_with_lock=True)(resize).lock_key([3], {}) == "resize"

    def test_arguments_that_do_not_fill_the_template_are_refused(self) -> None:
        def export(options: dict[str, str]) -> None: ...

        for option in ("lock_key", "unique"):
            declared = task(name=option, **{option: "{options[region]}"})(export)
            with pytest.raises(InvalidOptionError, match=f"^{option}=.* can't be filled .*KeyError: 'region'"):
                record_of(declared, {})

    def test_equal_arguments_have_equal_keys(self) -> None:
        declared = task(unique=True)(resize)
        key = record_of(declared, 3).unique_key
        assert key is not None
        assert key.startswith("d:")
        assert record_of(declared, width=3, height=1).unique_key == key
        assert record_of(declared, 3, 2).unique_key != key
        assert record_of(task(name="other", unique=True)(resize), 3).unique_key != key
        assert record_of(task(name="plain")(resize), 3).unique_key is None

    def test_a_template_names_what_counts(self) -> None:
        declared = task(unique="{width}")(resize)
        assert record_of(declared, 3, 1).unique_key == record_of(declared, 3, 2).unique_key
        assert record_of(declared, 4).unique_key != record_of(declared, 3).unique_key

    def test_how_long_a_key_counts(self) -> None:
        for lasting, letter in (("until_start", "s"), ("until_done", "d"), (60, "t"), (dt.timedelta(minutes=1), "t")):
            record = record_of(task(name=f"for-{lasting}", unique=True, unique_for=lasting)(resize), 3)
            assert record.unique_key is not None
            assert record.unique_key.startswith(f"{letter}:")
            expected = record.enqueue_time + dt.timedelta(minutes=1) if letter == "t" else None
            assert record.unique_until == expected


class TestRecords:
    """What `delay` and `enqueue` store, before anything is stored."""

    def test_of_a_plain_call(self) -> None:
        before = dt.datetime.now(dt.UTC)
        record = record_of(task(fetch), "u", retries=1)
        assert (record.task, record.queue, record.args, record.kwargs) == ("fetch", "default", ["u"], {"retries": 1})
        assert record.status is JobStatus.queued
        assert (record.due_time, record.expire_time, record.options) == (None, None, {})
        assert before <= record.enqueue_time <= dt.datetime.now(dt.UTC)
        assert (record.job_retry, record.job_retry_after, record.job_retries) == (3, 60, 0)
        assert len(record.job_id) == 32

    def test_ids_differ(self) -> None:
        declared = task(fetch)
        assert len({record_of(declared, "u").job_id for _ in range(100)}) == 100

    def test_call_before_task_before_configuration(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"rearq": {"job_retry": 7, "job_retry_after": 70}}
        plain, own = task(fetch), task(job_retry=0, job_retry_after=0)(resize)
        assert (record_of(plain, "u").job_retry, record_of(plain, "u").job_retry_after) == (7, 70)
        assert (record_of(own, 1).job_retry, record_of(own, 1).job_retry_after) == (0, 0)
        changed = own.using(job_retry=1, job_retry_after=2)
        assert (record_of(changed, 1).job_retry, record_of(changed, 1).job_retry_after) == (1, 2)

    def test_rearqs_own_options_among_the_arguments(self) -> None:
        eta = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
        record = record_of(
            task(fetch), "u", retries=1, job_id="one", eta=eta, expire=eta, job_retry=0, job_retry_after=5
        )
        assert (record.args, record.kwargs) == (["u"], {"retries": 1})
        assert (record.job_id, record.due_time, record.expire_time) == ("one", eta, eta)
        assert (record.status, record.job_retry, record.job_retry_after) == (JobStatus.deferred, 0, 5)

    def test_countdown_counts_from_now(self) -> None:
        record = record_of(task(fetch), "u", countdown=60)
        assert record.due_time == record.enqueue_time + dt.timedelta(seconds=60)
        assert record.status is JobStatus.deferred

    def test_args_and_kwargs_as_rearq_takes_them(self) -> None:
        declared = task(fetch)
        assert record_of(declared, args=["u"], kwargs={"retries": 1}).args == ["u"]
        assert record_of(declared, args=("u",), retries=1).kwargs == {"retries": 1}
        assert record_of(declared, "u", args=None, kwargs=None).args == ["u"]
        with pytest.raises(InvalidOptionError, match="given twice: as such, and as args="):
            record_of(declared, "u", args=["v"])

    def test_a_name_that_is_the_tasks_own_parameter_is_the_tasks(self) -> None:
        @task
        def launch(countdown: int, job_id: str, args: list[int], kwargs: dict[str, int]) -> None: ...

        record = record_of(launch, countdown=10, job_id="apollo", args=[1], kwargs={"a": 2})
        assert record.kwargs == {"countdown": 10, "job_id": "apollo", "args": [1], "kwargs": {"a": 2}}
        assert record.due_time is None
        assert record.job_id != "apollo"
        changed = record_of(launch.using(countdown=60, job_id="eleven"), 10, "apollo", [], {})
        assert changed.job_id == "eleven"
        assert changed.due_time is not None

    def test_options_of_using_only_are_arguments_of_the_task(self) -> None:
        """ReArq's `delay` knows no queue: the name is free for tasks that take any keyword."""

        @task
        def report(**fields: Any) -> None: ...

        assert record_of(report, queue="x", user=1).kwargs == {"queue": "x", "user": 1}
        with pytest.raises(ArgumentsError, match="unexpected keyword argument 'queue'"):
            record_of(task(fetch), "u", queue="x")

    def test_expire_of_the_task_and_of_the_call(self) -> None:
        declared = task(expire=60)(fetch)
        record = record_of(declared, "u")
        assert record.expire_time == record.enqueue_time + dt.timedelta(seconds=60)
        record = record_of(declared, "u", expire=5)
        assert record.expire_time == record.enqueue_time + dt.timedelta(seconds=5)

    def test_a_timeout_without_limit_is_json(self) -> None:
        options = record_of(task(fetch).using(job_timeout=math.inf), "u").options
        assert options == {"job_timeout": "inf"}
        assert float(options["job_timeout"]) == math.inf

    def test_arguments_are_checked_and_named(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"rearq": {"max_argument_bytes": 1_024}}
        declared = task(fetch)
        with pytest.raises(ArgumentsError, match="missing a required argument: 'url'"):
            record_of(declared)
        with pytest.raises(SerializationError, match="The argument 'url' can't be stored as JSON"):
            record_of(declared, object())
        with pytest.raises(SerializationError, match="The argument 'url' takes 2,002 bytes of JSON"):
            record_of(declared, "x" * 2_000)

    def test_what_the_caller_gave_is_left_alone(self) -> None:
        kwargs: dict[str, Any] = {"retries": 1}
        record_of(task(fetch), "u", kwargs=kwargs, job_id="x")
        assert kwargs == {"retries": 1}

    @pytest.mark.parametrize("call", ["abc", b"abc", 5, None])
    def test_each_of_many_calls_is_a_mapping_or_a_sequence(self, call: Any) -> None:
        with pytest.raises(InvalidOptionError, match="each call is a mapping of keyword arguments, or a sequence"):
            task(fetch).enqueue_many([call])

    async def test_disabled(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"enabled": False}
        declared = task(fetch)
        assert await declared("u") == "u:3"
        for enqueue in (declared.enqueue, lambda url: declared.enqueue_many([[url]])):
            with pytest.raises(TasksDisabledError, match="switched off"):
                enqueue("u")
        for delay in (declared.delay, declared.aenqueue, lambda url: declared.delay_many([[url]])):
            with pytest.raises(TasksDisabledError, match="switched off"):
                await delay("u")


def sweep(days: int = 7) -> int:
    return days


class TestCron:
    def test_it_is_a_task_with_a_schedule(self) -> None:
        declared = cron_task(cron="0 * * * *", queue="nightly", job_retry=0)(sweep)
        assert declared.cron is not None
        assert declared.cron.schedule.expression == "0 * * * *"
        assert declared.cron.run_at_start is False
        assert declared.options == TaskOptions(queue="nightly", job_retry=0)
        assert tasks["sweep"] is declared
        assert declared(3) == 3
        assert record_of(declared, 3).args == [3]

    def test_the_expression_may_be_positional(self) -> None:
        assert cron_task("@hourly")(sweep).cron is not None

    def test_a_copy_keeps_it(self) -> None:
        declared = cron_task("@hourly")(sweep)
        assert declared.using(queue="other").cron == declared.cron

    @pytest.mark.parametrize(
        ("given", "kept"),
        [(True, True), (False, False), ({"days": 1}, {"days": 1}), ([1], (1,)), ((1,), (1,)), ({}, {})],
    )
    def test_run_at_start(self, given: RunAtStart, kept: Any) -> None:
        declared = cron_task("@hourly", run_at_start=given)(sweep)
        assert declared.cron is not None
        assert declared.cron.run_at_start == kept

    def test_the_arguments_at_start_are_a_copy(self) -> None:
        given = {"days": 1}
        declared = cron_task("@hourly", run_at_start=given)(sweep)
        given["days"] = 2
        assert declared.cron is not None
        assert declared.cron.run_at_start == {"days": 1}

    @pytest.mark.parametrize("given", ["startup", b"x", 5, None, {1, 2}])
    def test_run_at_start_takes_true_or_arguments(self, given: Any) -> None:
        with pytest.raises(DeclarationError) as caught:
            cron_task("@hourly", run_at_start=given)
        assert str(caught.value) == f"run_at_start={given!r}: it takes True, or a tuple or dict of arguments."

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"weeks": 1}, "run_at_start can't call it: got an unexpected keyword argument 'weeks'"),
            ([1, 2], "run_at_start can't call it: too many positional arguments"),
            ({"days": object()}, "The argument 'days' can't be stored as JSON"),
        ],
    )
    def test_arguments_at_start_that_do_not_fit(self, given: RunAtStart, reason: str) -> None:
        with pytest.raises(DeclarationError) as caught:
            cron_task("@hourly", run_at_start=given)(sweep)
        assert ".sweep" in str(caught.value)
        assert reason in str(caught.value)
        assert "sweep" not in tasks

    def test_the_timer_gives_no_arguments(self) -> None:
        with pytest.raises(
            DeclarationError, match=r"the timer, which gives no arguments, can't call it: missing .*'url'"
        ):
            cron_task("@hourly", run_at_start={"url": "u"})(fetch)

    def test_the_context_does_not_count(self) -> None:
        def tidy(context: Any) -> None: ...

        assert cron_task("@hourly", bind=True)(tidy).parameters == ()

    def test_without_parentheses(self) -> None:
        with pytest.raises(DeclarationError) as caught:
            cron_task(sweep)  # type: ignore[call-overload]
        assert str(caught.value) == '@cron_task needs to know when: @cron_task(cron="0 * * * *").'

    @pytest.mark.parametrize("expression", ["61 * * * *", "0 0 31 2 *", "", "@sometimes", None])
    def test_unreadable_expressions(self, expression: Any) -> None:
        with pytest.raises(InvalidCronError):
            cron_task(cron=expression)

    def test_options_of_its_own(self) -> None:
        declared = cron_task(
            "@hourly", timezone="Europe/Paris", misfire_grace=dt.timedelta(minutes=1), catch_up="all", overlap="skip",
            max_concurrent=1,
        )(sweep)  # fmt: skip
        assert declared.cron is not None
        assert str(declared.cron.timezone) == "Europe/Paris"
        assert (declared.cron.misfire_grace, declared.cron.catch_up, declared.cron.overlap) == (60, "all", "skip")
        assert declared.options.max_concurrent == 1

    @pytest.mark.parametrize(
        ("option", "value"),
        [("timezone", "Mars/Olympus"), ("misfire_grace", -1), ("catch_up", "some"), ("overlap", "forbid")],
    )
    def test_unusable_options_of_its_own(self, option: str, value: Any) -> None:
        with pytest.raises(DeclarationError, match=f"^{option}={value!r}: "):
            cron_task("@hourly", **{option: value})
        with pytest.raises(DeclarationError, match=f"A task has no option '{option}'"):
            task(**{option: value})(sweep)

    def test_unknown_and_unusable_options(self) -> None:
        with pytest.raises(DeclarationError, match="A task has no option 'at'"):
            cron_task("@hourly", at=5)(sweep)  # type: ignore[call-overload]
        with pytest.raises(DeclarationError, match="queue='a b'"):
            cron_task("@hourly", queue="a b")(sweep)
