"""The only writer of TaskLog: follows jobs from their first record to their last.

`on_jobs_changed` hears of jobs by signal and hands them to this process's `recorder`, whose thread writes
them with `upsert`. What it writes is a copy of the truth, never the truth: a failure here is logged and
retried, and neither fails nor delays a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_cfg_tasks.jobs import JobRecord
from django_cfg_tasks.recorder.statement import upsert
from django_cfg_tasks.recorder.writer import Dropped, Recorder

recorder = Recorder(upsert)
"""This process's recorder; its thread starts with the first record."""


def on_jobs_changed(*, records: Sequence[JobRecord], **_: Any) -> None:
    """Receive `signals.jobs_changed`."""
    recorder.receive(records)


__all__ = ["Dropped", "Recorder", "on_jobs_changed", "recorder", "upsert"]
