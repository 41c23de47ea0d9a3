"""Traces: a span for each enqueue, a span for each run, and W3C trace context from one to the other.

The context travels in the job's options, so it is in SQL as the job is. Arguments and results are nobody's business
here: no span holds them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from django_cfg_tasks import __version__
from django_cfg_tasks.exceptions import Retry
from django_cfg_tasks.hooks import JobRun, around_enqueue, around_run, on_worker_stop, stop_hooks
from django_cfg_tasks.jobs import AttemptOutcome, JobRecord

OPTION = "otel"
"""The option of a job that holds what the propagator writes."""
MOST_CHARACTERS = 512
"""How long a header may be that goes with a job. They come from outside, and a row is not theirs to fill; W3C asks for
no more of ``tracestate``."""
FLUSH_MILLISECONDS = 4000


class DjangoCfgTasksInstrumentor:
    """Turns traces on, as OpenTelemetry's instrumentors do: ``DjangoCfgTasksInstrumentor().instrument()``."""

    _tracing: ClassVar[_Tracing | None] = None

    def instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        propagator: TextMapPropagator | None = None,
        **_: Any,
    ) -> None:
        """Trace the jobs of this process from now on; a second call changes nothing.

        ``tracer_provider``: other than the global one. ``propagator``: what goes with jobs, other than ``traceparent``
        and ``tracestate``. Further keywords, as ``opentelemetry-instrument`` gives them, are not looked at.
        """
        if DjangoCfgTasksInstrumentor._tracing is None:
            tracing = _Tracing(tracer_provider, propagator or TraceContextTextMapPropagator())
            DjangoCfgTasksInstrumentor._tracing = tracing
            around_enqueue.append(tracing.enqueueing)
            around_run.append(tracing.running)
            on_worker_stop(tracing.flush)

    def uninstrument(self, **_: Any) -> None:
        """Undo `instrument`."""
        tracing, DjangoCfgTasksInstrumentor._tracing = DjangoCfgTasksInstrumentor._tracing, None
        if tracing is not None:
            around_enqueue.remove(tracing.enqueueing)
            around_run.remove(tracing.running)
            stop_hooks.remove(tracing.flush)

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether jobs are traced in this process."""
        return self._tracing is not None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed beside this package: nothing."""
        return ()


class _Tracing:
    def __init__(self, tracer_provider: TracerProvider | None, propagator: TextMapPropagator) -> None:
        self._provider = tracer_provider
        self._tracer = trace.get_tracer("django_cfg_tasks", __version__, tracer_provider)
        self._propagator = propagator

    @contextmanager
    def enqueueing(self, records: Sequence[JobRecord]) -> Iterator[None]:
        attributes = _attributes("send", records)
        with self._tracer.start_as_current_span(_name("send", records), kind=SpanKind.PRODUCER, attributes=attributes):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            carrier = {header: value for header, value in carrier.items() if len(value) <= MOST_CHARACTERS}
            for record in records if carrier else ():
                record.options[OPTION] = carrier
            yield

    @contextmanager
    def running(self, run: JobRun) -> Iterator[None]:
        record = run.record
        carrier = record.options.get(OPTION)
        # Beneath who enqueued it, whatever the worker itself is at.
        context = self._propagator.extract(carrier if isinstance(carrier, dict) else {}, Context())
        attributes = {**_attributes("process", [record]), "django_cfg_tasks.attempt": record.attempt}
        span = self._tracer.start_span(
            _name("process", [record]), context, kind=SpanKind.CONSUMER, attributes=attributes
        )
        token = attach(trace.set_span_in_context(span, context))
        try:
            yield
        finally:
            detach(token)
            _conclude(span, run)
            span.end()

    def flush(self) -> None:
        """Send what waits: a worker with a thread that does not end leaves without a word."""
        flush = getattr(self._provider or trace.get_tracer_provider(), "force_flush", None)
        if flush is not None:
            flush(FLUSH_MILLISECONDS)


def _name(operation: str, records: Sequence[JobRecord]) -> str:
    """Return a span's name: the operation, and what it is done to. That is a task; a queue says little."""
    names = {record.task for record in records}
    return f"{operation} {names.pop()}" if len(names) == 1 else operation


def _attributes(operation: str, records: Sequence[JobRecord]) -> dict[str, str | int]:
    """Return what OpenTelemetry's semantic conventions for messaging want to be said."""
    attributes: dict[str, str | int] = {
        "messaging.system": "rearq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    queues, tasks = {record.queue for record in records}, {record.task for record in records}
    if len(queues) == 1:
        attributes["messaging.destination.name"] = queues.pop()
    if len(tasks) == 1:
        attributes["django_cfg_tasks.task"] = tasks.pop()
    if len(records) == 1:
        attributes["messaging.message.id"] = records[0].job_id
    else:
        attributes["messaging.batch.message_count"] = len(records)
    return attributes


def _conclude(span: Span, run: JobRun) -> None:
    """Say what became of the run. That a task asked to be run again is no error of it."""
    record, attempt, error = run.record, run.attempt, run.error
    if attempt is not None:
        span.set_attribute("django_cfg_tasks.outcome", attempt.outcome.value)
    if error is None or attempt is None:
        return
    if isinstance(error, Retry) and attempt.outcome is AttemptOutcome.retried:
        return
    # The texts that the job itself keeps: they have a limit.
    kind, message = record.error_class or type(error).__name__, record.error_message or ""
    texts = {"exception.message": message, "exception.stacktrace": record.traceback or ""}
    span.record_exception(error, attributes=texts)
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {message}"))
