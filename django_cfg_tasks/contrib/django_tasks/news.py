"""Django's ``task_started`` and ``task_finished``, sent after the engine's own signals, in the same process and thread.

``task_finished`` tells of a final state that is recorded: a run that is followed by another is none.
"""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal

from django_cfg_tasks import signals
from django_cfg_tasks.contrib.django_tasks import framework
from django_cfg_tasks.contrib.django_tasks.framework import AnyTask
from django_cfg_tasks.contrib.django_tasks.results import result_of, task_of
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.task import Task

_ENDS = (signals.task_succeeded, signals.task_failed, signals.task_canceled, signals.task_expired)


def tell_of(engine: Task[..., Any], task: AnyTask) -> None:
    """Send Django's signals about the jobs of a task, which is ``engine`` to the engine."""

    def send_started(record: JobRecord, **_: Any) -> None:
        _send(framework.task_started, task, record)

    def send_finished(record: JobRecord, exception: BaseException | None, **_: Any) -> None:
        if exception is None:
            _send(framework.task_finished, task, record)
            return
        try:
            raise exception
        except BaseException:  # Django's own receiver logs what is being handled
            _send(framework.task_finished, task, record)

    signals.task_started.connect(send_started, sender=engine, weak=False, dispatch_uid=__name__)
    for end in _ENDS:
        end.connect(send_finished, sender=engine, weak=False, dispatch_uid=__name__)


def _send(signal: Signal, task: AnyTask, record: JobRecord) -> None:
    sent = task_of(record, task)
    signal.send_robust(type(sent.get_backend()), task_result=result_of(record, sent))
