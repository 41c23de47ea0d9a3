"""The package's own task that retries or cancels all jobs which a filter lets through.

Importing this declares it and no more: every worker imports it, and needs the REST framework only to run it.
"""

from __future__ import annotations

from typing import Any

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.context import JobContext
from django_cfg_tasks.options import TaskOptions
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.task import SyncTask

PAGE = 200


def act_on_logs(ctx: JobContext, action: str, query: dict[str, str], last: int) -> dict[str, Any]:
    """Retry or cancel the jobs of all rows up to the id ``last`` that ``query`` lets through.

    It may be interrupted and run again: new jobs have ids that depend on this one's and the old's.
    """
    from django_cfg_tasks.api.filters import filtered_by
    from django_cfg_tasks.models import TaskLog
    from django_cfg_tasks.reruns import rerun_many

    client = get_rearq_client()
    met, acted, after = 0, 0, 0
    rows = filtered_by(query, TaskLog.objects.filter(pk__lte=last)).order_by("pk")
    while not ctx.canceled:
        page = list(rows.filter(pk__gt=after).values_list("pk", "job_id")[:PAGE])
        if not page:
            break
        after = page[-1][0]
        met += len(page)
        # Itself is among them where the filter is wide.
        wanted = {job_id: f"{ctx.job_id}:{pk}" for pk, job_id in page if job_id != ctx.job_id}
        acted += len(rerun_many(client, wanted) if action == "retry" else client.cancel_many(list(wanted)))
        ctx.progress(after / last, f"{acted} of {met}")
    return {"action": action, "met": met, "acted_on": acted, "complete": not ctx.canceled}


bulk: SyncTask[[str, dict[str, str], int], dict[str, Any]] = SyncTask(
    act_on_logs, "django_cfg_tasks.bulk", TaskOptions(bind=True, job_timeout=86_400, job_retry=10, job_retry_after=10)
)
tasks.add_own(bulk)
