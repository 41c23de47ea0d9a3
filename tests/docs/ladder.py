"""How long the shutdown ladder of a worker may take, rung by rung, for the tests of what stops workers."""

from __future__ import annotations

from django_cfg_tasks import RearqConfig
from django_cfg_tasks.recorder import writer
from django_cfg_tasks.worker import process, slots, threads
from django_cfg_tasks.worker import worker as worker_module

RUNGS = (
    RearqConfig().shutdown_timeout,
    max(slots.UNWIND_SECONDS, threads.GRACE_SECONDS),
    worker_module.DRAIN_SECONDS,
    process.FLUSH_SECONDS,
    writer.EXIT_TIMEOUT,
)
LADDER_SECONDS = sum(RUNGS)
