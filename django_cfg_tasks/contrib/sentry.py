"""Sentry's integration: what jobs raise, with the job beside it, and a transaction for each run.

What is sent leaves the house. Arguments go only where Sentry was told to send personal data, and then masked; the
variables of the engine's own frames, which hold them too, never do.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.consts import OP, SPANDATA, SPANSTATUS
from sentry_sdk.integrations import Integration
from sentry_sdk.scope import add_global_event_processor, should_send_default_pii
from sentry_sdk.utils import event_from_exception

from django_cfg_tasks.exceptions import Retry, WorkerLostError
from django_cfg_tasks.hooks import JobRun, around_enqueue, around_run
from django_cfg_tasks.jobs import AttemptOutcome, JobRecord
from django_cfg_tasks.masking import mask, mask_arguments
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.signals import task_failed

if TYPE_CHECKING:
    from sentry_sdk._types import Event, Hint
    from sentry_sdk.scope import Scope
    from sentry_sdk.tracing import NoOpSpan, Span

OPTION = "sentry"
"""The option of a job that holds Sentry's headers."""
_STATUSES = {
    AttemptOutcome.success: SPANSTATUS.OK,
    AttemptOutcome.failed: SPANSTATUS.INTERNAL_ERROR,
    AttemptOutcome.retried: SPANSTATUS.INTERNAL_ERROR,
    AttemptOutcome.canceled: SPANSTATUS.CANCELLED,
    AttemptOutcome.released: SPANSTATUS.ABORTED,
}


class DjangoCfgTasksIntegration(Integration):
    """``sentry_sdk.init(..., integrations=[DjangoCfgTasksIntegration()])``.

    An error is sent when the job has failed for good. ``report_retries``: also each time that it will run again, but
    for `Retry`, which is no error then.
    """

    identifier = "django_cfg_tasks"
    origin = f"auto.queue.{identifier}"

    def __init__(self, *, report_retries: bool = False) -> None:
        self.report_retries = report_retries

    @staticmethod
    def setup_once() -> None:
        """Watch the jobs of this process. Sentry calls it."""
        around_enqueue.append(_enqueueing)
        around_run.append(_running)
        task_failed.connect(_report_lost, dispatch_uid=f"{__name__}.lost")
        add_global_event_processor(_without_the_engines_variables)


def _integration() -> DjangoCfgTasksIntegration | None:
    return sentry_sdk.get_client().get_integration(DjangoCfgTasksIntegration)


@contextmanager
def _enqueueing(records: Sequence[JobRecord]) -> Iterator[None]:
    if _integration() is None:
        yield
        return
    names = sorted({record.task for record in records})
    current = sentry_sdk.get_current_span()
    with sentry_sdk.start_span(
        op=OP.QUEUE_PUBLISH, name=", ".join(names), origin=DjangoCfgTasksIntegration.origin
    ) as span:
        if len(records) == 1:
            _describe(span, records[0])
        headers = dict(sentry_sdk.get_isolation_scope().iter_trace_propagation_headers(span=span))
        for record in records:
            task = tasks.get(record.task)
            # What a timer enqueues hangs beneath nothing: each due time begins a trace.
            if current is not None or task is None or task.cron is None:
                record.options[OPTION] = headers
        yield


@contextmanager
def _running(run: JobRun) -> Iterator[None]:
    integration = _integration()
    if integration is None:
        yield
        return
    record = run.record
    headers = record.options.get(OPTION)
    with sentry_sdk.isolation_scope() as scope:
        _show(scope, record)
        transaction = sentry_sdk.continue_trace(
            headers if isinstance(headers, dict) else {},
            op=OP.QUEUE_PROCESS,
            name=record.task,
            source="task",
            origin=integration.origin,
        )
        sampling = {"django_cfg_tasks": {"task": record.task, "queue": record.queue}}
        with sentry_sdk.start_transaction(transaction, custom_sampling_context=sampling) as span:
            _describe(span, record)
            span.set_data(SPANDATA.MESSAGING_MESSAGE_RETRY_COUNT, record.job_retries)
            span.set_data(SPANDATA.MESSAGING_MESSAGE_RECEIVE_LATENCY, _waited_ms(record))
            yield
            if run.attempt is None:
                return
            asked = isinstance(run.error, Retry) and run.attempt.outcome is AttemptOutcome.retried
            span.set_status(
                SPANSTATUS.ABORTED if asked else _STATUSES.get(run.attempt.outcome, SPANSTATUS.UNKNOWN_ERROR)
            )
            failed = run.attempt.outcome is AttemptOutcome.failed
            if run.error is not None and (failed or (integration.report_retries and not asked)):
                _capture(run.error, handled=not failed)


def _report_lost(record: JobRecord, exception: BaseException | None, **_: Any) -> None:
    """Send an error for a job that has failed because its workers died: nobody was left to do it."""
    if isinstance(exception, WorkerLostError) and _integration() is not None:
        with sentry_sdk.isolation_scope() as scope:
            _show(scope, record)
            scope.set_transaction_name(record.task, source="task")
            _capture(exception, handled=False)


def _capture(error: BaseException, *, handled: bool) -> None:
    event, hint = event_from_exception(
        error,
        client_options=sentry_sdk.get_client().options,
        mechanism={"type": DjangoCfgTasksIntegration.identifier, "handled": handled},
    )
    sentry_sdk.capture_event(event, hint=hint)


def _show(scope: Scope, record: JobRecord) -> None:
    """Have everything that is sent from ``scope`` tell of the job."""
    scope.clear_breadcrumbs()
    scope.set_tag("task", record.task)
    scope.set_tag("queue", record.queue)
    scope.set_tag("job_id", record.job_id)
    context: dict[str, Any] = {
        "job_id": record.job_id,
        "task": record.task,
        "queue": record.queue,
        "attempt": record.attempt,
        "job_retries": record.job_retries,
        "job_retry": record.job_retry,
    }
    task = tasks.get(record.task)
    is_open = task is None or task.options.log_args
    extra_keys = task.options.mask if task is not None else ()
    if _wants_personal_data():
        if is_open:
            parameters = task.parameters if task is not None else ()
            context["args"], context["kwargs"] = mask_arguments(record.args, record.kwargs, parameters, extra_keys)
        if (user := record.options.get("user")) is not None:
            scope.set_user({"id": str(user)})
    scope.set_context("django_cfg_tasks", context)
    scope.add_event_processor(partial(_masked, extra_keys if is_open else None))


def _wants_personal_data() -> bool:
    """Whether Sentry was told to send what queues carry; newer SDKs have a setting for each kind of data."""
    chosen = sentry_sdk.get_client().options.get("data_collection")
    if chosen and chosen.get("provided_by_user"):
        return bool(chosen.get("queues"))
    return should_send_default_pii()


def _describe(span: Span | NoOpSpan, record: JobRecord) -> None:
    span.set_data(SPANDATA.MESSAGING_SYSTEM, "rearq")
    span.set_data(SPANDATA.MESSAGING_DESTINATION_NAME, record.queue)
    span.set_data(SPANDATA.MESSAGING_MESSAGE_ID, record.job_id)


def _waited_ms(record: JobRecord) -> float:
    """Return for how long the job could have run and did not."""
    since = record.due_time or record.enqueue_time
    return max(0.0, (dt.datetime.now(dt.UTC) - since).total_seconds() * 1000)


def _masked(extra_keys: Sequence[str] | None, event: Event, hint: Hint) -> Event:
    """Hide secrets among a traceback's variables, or all of them without ``extra_keys``: arguments are among them."""
    for frame in _frames(event):
        variables = frame.pop("vars", None)
        if variables and extra_keys is not None:
            frame["vars"] = mask(variables, extra_keys)
    return event


def _without_the_engines_variables(event: Event, hint: Hint) -> Event:
    """Take arguments of all kinds of jobs out of a traceback, and call the engine what it is: not the application."""
    for frame in _frames(event):
        if str(frame.get("module") or "").startswith("django_cfg_tasks."):
            frame.pop("vars", None)
            frame["in_app"] = False
    return event


def _frames(event: Event) -> Iterator[dict[str, Any]]:
    for exception in (event.get("exception") or {}).get("values") or ():
        yield from ((exception or {}).get("stacktrace") or {}).get("frames") or ()
