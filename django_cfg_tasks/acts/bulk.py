"""The package's own task that retries or cancels all jobs which a filter lets through.

Importing this declares it and no more: every worker imports it, and needs the filters only to run it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.models import Max, QuerySet

from django_cfg_tasks.context import JobContext
from django_cfg_tasks.options import TaskOptions
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import SyncTask

if TYPE_CHECKING:
    from django_cfg_tasks.models import TaskLog

PAGE = 200
MOST_REASONS = 20
"""Of those why jobs were left as they are."""


def act_on_logs(ctx: JobContext, action: str, query: dict[str, str], last: int) -> dict[str, Any]:
    """Retry or cancel the jobs of all rows up to the id ``last`` that ``query`` lets through; the result says how many.

    It may be interrupted and run again: new jobs have ids that depend on this one's and the old's.
    """
    from django_cfg_tasks.history.filters import filtered_by
    from django_cfg_tasks.models import TaskLog

    return act_on_rows(
        action, filtered_by(query, TaskLog.objects.all()), last,
        key=ctx.job_id, stopping=lambda: ctx.canceled, progress=ctx.progress,
    )  # fmt: skip


def act_on_rows(
    action: str,
    rows: QuerySet[TaskLog],
    last: int,
    *,
    key: str,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
) -> dict[str, Any]:
    """Retry or cancel the jobs of all ``rows`` up to the id ``last``, here and now, but for the job ``key`` itself.

    New jobs have ids that depend on ``key`` and on the old's: it may be done again. ``stopping`` is asked before each
    page, ``progress`` told after it.
    """
    from django_cfg_tasks.acts import jobs

    met, acted, after = 0, 0, 0
    refused: Counter[str] = Counter()
    rows = rows.filter(pk__lte=last).order_by("pk")
    while not (stopped := stopping()):
        page = list(rows.filter(pk__gt=after).values_list("pk", "job_id")[:PAGE])
        if not page:
            break
        after = page[-1][0]
        met += len(page)
        # Itself is among them where the filter is wide.
        wanted = {job_id: f"{key}:{pk}" for pk, job_id in page if job_id != key}
        outcome = jobs.retry_many(wanted) if action == "retry" else jobs.cancel_many(list(wanted))
        acted += len(outcome.done)
        refused.update(outcome.refused.values())
        progress(after / last, f"{acted} of {met}")
    return {
        "action": action,
        "met": met,
        "acted_on": acted,
        "refused": dict(refused.most_common(MOST_REASONS)),
        "complete": not stopped,
    }


bulk: SyncTask[[str, dict[str, str], int], dict[str, Any]] = SyncTask(
    act_on_logs, "django_cfg_tasks.bulk", TaskOptions(bind=True, job_timeout=86_400, job_retry=10, job_retry_after=10)
)
tasks.add_own(bulk)


def start(action: str, query: dict[str, str], user: Any) -> str:
    """Retry or cancel, for ``user``, all jobs known now that ``query`` lets through; return the id of the job doing it.

    ValidationError names filters that can't be read; raises as enqueueing does.
    """
    from django_cfg_tasks.history.filters import filtered_by
    from django_cfg_tasks.models import TaskLog

    filtered_by(query, TaskLog.objects.all())  # refuses here what the job could not read
    last = TaskLog.objects.aggregate(last=Max("pk"))["last"] or 0
    return bulk.using(user=user, queue=_queue()).enqueue(action, query, last).job_id


def _queue() -> str:
    """Return a queue that the project's workers serve, for the package's own jobs."""
    used = sorted({task.options.queue for task in tasks})
    return "default" if "default" in used or not used else used[0]
