"""Django's ``task_started`` and ``task_finished``, sent after the engine's own signals, in the same process and thread.

``task_finished`` tells of a final state that is recorded: a run that is followed by another is none.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from django.dispatch import Signal

from django_cfg_tasks import signals
from django_cfg_tasks.contrib.django_tasks import framework
from django_cfg_tasks.contrib.django_tasks.framework import AnyTask
from django_cfg_tasks.contrib.django_tasks.results import result_of, task_of
from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.task import Task

_MISHAPS = (signals.task_failed, signals.task_canceled, signals.task_expired)
_ITS_OWN = 1
"""How many receivers Django itself connects to each signal: one that logs it, of runs and successes at level INFO."""
_LOOK_AGAIN_SECONDS = 1.0
_logged_until: tuple[bool, float] = False, 0.0


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

    signals.task_started.relay(send_started, engine, partial(_has_receivers, framework.task_started))
    signals.task_succeeded.relay(send_finished, engine, partial(_has_receivers, framework.task_finished))
    for end in _MISHAPS:
        end.connect(send_finished, sender=engine, weak=False, dispatch_uid=__name__)


def _has_receivers(signal: Signal) -> bool:
    """Tell whether a signal of a run or a success would be heard, by the project or by whoever reads its log."""
    return len(signal.receivers) > _ITS_OWN or _is_logged()


def _is_logged() -> bool:
    """Tell whether a handler takes what Django logs of tasks at level INFO; asked for each job, looked at now and then.

    By default none does outside DEBUG, though the level is on.
    """
    global _logged_until
    logged, until = _logged_until
    now = time.monotonic()
    if now >= until:
        logger: logging.Logger | None = logging.getLogger(framework.LOGGER)
        line = logging.LogRecord(framework.LOGGER, logging.INFO, __file__, 0, "", (), None)
        logged = False
        if logger is not None and logger.isEnabledFor(logging.INFO):
            while logger is not None and not logged:
                logged = any(handler.level <= line.levelno and handler.filter(line) for handler in logger.handlers)
                logger = logger.parent if logger.propagate else None
        _logged_until = logged, now + _LOOK_AGAIN_SECONDS
    return logged


def _send(signal: Signal, task: AnyTask, record: JobRecord) -> None:
    sent = task_of(record, task)
    signal.send_robust(type(sent.get_backend()), task_result=result_of(record, sent))
