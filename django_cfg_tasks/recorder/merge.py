"""Which of two records of one job stands, and what of the other is kept. Pure; the SQL says the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from django_cfg_tasks.jobs import JobRecord


def merge(old: JobRecord, new: JobRecord) -> JobRecord:
    """Return the record that stands for both: the one of the higher revision, at a tie the one that came later.

    Attempts are never unlearned (a producer's record has none), nor are the times of one state; progress stays until
    another attempt starts.
    """
    if new.revision < old.revision:
        return old
    merged = new
    if len(new.attempts) < len(old.attempts):
        merged = replace(merged, attempts=old.attempts)
    if new.revision == old.revision and new.finish_time is None and old.finish_time is not None:
        # Of a running job that is canceled two processes tell, and only its worker knows when it ended.
        merged = replace(merged, start_time=new.start_time or old.start_time, finish_time=old.finish_time)
    if new.progress is None and old.progress is not None and (new.revision == old.revision or new.status.is_final):
        merged = replace(merged, progress=old.progress, progress_message=old.progress_message)
    return merged


def latest(records: Iterable[JobRecord]) -> list[JobRecord]:
    """Return one record for each job.

    They are ordered by job id, so that processes that write the same jobs at once lock rows in the same
    order and can't dead-lock.
    """
    by_id: dict[str, JobRecord] = {}
    for record in records:
        known = by_id.get(record.job_id)
        by_id[record.job_id] = record if known is None else merge(known, record)
    return [by_id[job_id] for job_id in sorted(by_id)]
