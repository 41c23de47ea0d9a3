"""What can be done to many jobs from the list: to those that are ticked, at once, or to all that match, by a job.

Each says how many it was done to, and why not to the others. Who may is Django's to ask, by ``permissions``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.contrib import admin, messages
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.acts import audit, bulk, jobs
from django_cfg_tasks.admin.base import await_history
from django_cfg_tasks.admin.links import Links
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.models import NEWEST_FIRST, TaskLog

if TYPE_CHECKING:
    from django_cfg_tasks.history.export import Format

MOST_REASONS = 5
"""Of those why jobs were left as they are that are said one by one."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The jobs to which something is done: the rows of ``keys``, or all that the filters of ``query`` let through."""

    keys: tuple[int, ...]
    query: Mapping[str, str] | None = None
    ordering: tuple[str, ...] = NEWEST_FIRST

    def logs(self) -> Any:
        """Return the rows, in the order of the list."""
        if self.query is not None:
            from django_cfg_tasks.history.filters import filtered_by  # with REST framework behind them

            return filtered_by(self.query, TaskLog.objects.all()).order_by(*self.ordering)
        return TaskLog.objects.filter(pk__in=self.keys).order_by(*self.ordering)


@admin.action(description=_("Run again"), permissions=["retry"])
def retry(page: Any, request: HttpRequest, chosen: Chosen) -> None:
    """Run jobs that have ended again."""
    if chosen.query is not None:
        return _start(request, page.admin_site.name, "retry", chosen.query)
    logs = _by_job(chosen)
    new = {job_id: uuid4().hex for job_id in logs}
    with _said(request):
        outcome = jobs.retry_many(new)
        _report(
            request, outcome, logs,
            lambda job_id: f"run again as {new[job_id]}",
            ngettext("%(count)d job is run again.", "%(count)d jobs are run again.", len(outcome.done)),
            lambda count: ngettext("%(count)d job is not: %(why)s", "%(count)d jobs are not: %(why)s", count),
        )  # fmt: skip
    return None


@admin.action(description=_("Cancel"), permissions=["cancel"])
def cancel(page: Any, request: HttpRequest, chosen: Chosen) -> None:
    """Cancel jobs that have not ended."""
    if chosen.query is not None:
        return _start(request, page.admin_site.name, "cancel", chosen.query)
    logs = _by_job(chosen)
    with _said(request):
        outcome = jobs.cancel_many(list(logs))
        _report(
            request, outcome, logs,
            lambda job_id: "canceled",
            ngettext("%(count)d job is canceled.", "%(count)d jobs are canceled.", len(outcome.done)),
            lambda count: ngettext("%(count)d job is not: %(why)s", "%(count)d jobs are not: %(why)s", count),
        )  # fmt: skip
    return None


@admin.action(description=_("Export as CSV"), permissions=["view"])
def export_csv(page: Any, request: HttpRequest, chosen: Chosen) -> StreamingHttpResponse:
    """Send the rows as a table."""
    return _export(request, chosen, "csv")


@admin.action(description=_("Export as JSON"), permissions=["view"])
def export_json(page: Any, request: HttpRequest, chosen: Chosen) -> StreamingHttpResponse:
    """Send the rows as a JSON array."""
    return _export(request, chosen, "json")


ACTIONS = (retry, cancel, export_csv, export_json)
CHANGING = ("retry", "cancel")
"""The names of those that do something to jobs."""


def _export(request: HttpRequest, chosen: Chosen, wanted: Format) -> StreamingHttpResponse:
    from django_cfg_tasks.history.export import download

    return download(chosen.logs(), wanted)


def _by_job(chosen: Chosen) -> dict[str, TaskLog]:
    """Return the rows by their job's id, the oldest first: so they are run again."""
    return {log.job_id: log for log in chosen.logs().only("job_id").reverse()}


def _start(request: HttpRequest, site: str, action: str, query: Mapping[str, str]) -> None:
    """Let a job do it to all that match."""
    with _said(request):
        job_id = bulk.start(action, dict(query), request.user.pk)
        audit.record(request.user, f"{action}, by the job {job_id}", f"All jobs with {dict(query)}")
        await_history()
        link = format_html('<a href="{}">{}</a>', Links(site).job(job_id), job_id)
        texts = {
            "retry": gettext("The job {} runs all that match again. Its result says how many, and why not the others."),
            "cancel": gettext("The job {} cancels all that match. Its result says how many, and why not the others."),
        }
        messages.success(request, format_html(texts[action], link))


def _report(
    request: HttpRequest,
    outcome: jobs.Outcome,
    logs: Mapping[str, TaskLog],
    act: Callable[[str], str],
    done: str,
    left: Callable[[int], str],
) -> None:
    """Keep what was done, and say it, and why not the rest."""
    for job_id in logs:
        if job_id in outcome.done:
            audit.record(request.user, act(job_id), f"Job {job_id}", logs[job_id])
    await_history()
    if outcome.done:
        messages.success(request, done % {"count": len(outcome.done)})
    reasons = Counter(outcome.refused.values()).most_common()
    for why, count in reasons[:MOST_REASONS]:
        messages.warning(request, left(count) % {"count": count, "why": why})
    if rest := sum(count for _, count in reasons[MOST_REASONS:]):
        messages.warning(request, left(rest) % {"count": rest, "why": gettext("for other reasons.")})
    if not logs:
        messages.warning(request, gettext("None of these jobs is in the log any more."))


@contextmanager
def _said(request: HttpRequest) -> Iterator[None]:
    """Say what the engine raises, of which the worst is that its SQL can't be reached."""
    try:
        yield
    except TasksError as error:
        messages.error(request, gettext("Not done, or not in full: %(why)s") % {"why": error})
