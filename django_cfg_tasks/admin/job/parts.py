"""What is on the page of one job: what was asked, how it went, what came of it, and what can be done."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_cfg_tasks import live
from django_cfg_tasks.acts.permissions import CANCEL, RETRY
from django_cfg_tasks.admin.display import NOTHING, badge, duration, moment, preformatted, pretty_json
from django_cfg_tasks.admin.job.attempts import Attempt, Timeline, aware, timeline
from django_cfg_tasks.admin.job.calls import as_delay
from django_cfg_tasks.admin.job.pace import Pace
from django_cfg_tasks.admin.links import Links
from django_cfg_tasks.admin.states import state_badge
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.history.performance import RECENT, usual, waited
from django_cfg_tasks.history.rows import masked, related_to
from django_cfg_tasks.jobs import JobRecord, JobStatus
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.registry import tasks

if TYPE_CHECKING:
    from django_cfg_tasks.admin.job.page import JobPage

EVERY = 2
"""Seconds between two looks at a job that goes on."""
ENDING = dt.timedelta(minutes=1)
"""How long after it was canceled a run may still tell of its end."""


@dataclass(frozen=True, slots=True)
class Related:
    """A job that has to do with the one that is shown."""

    url: str
    log: TaskLog
    why: str
    status: SafeString
    enqueued: SafeString | str
    ran: str


def changing(page: JobPage, request: HttpRequest, log: TaskLog) -> dict[str, Any]:
    """Return what the parts need that are asked for again."""
    record, is_known = _record(log)
    now = dt.datetime.now(dt.UTC)
    due = record.due_time if record is not None else None
    shown = timeline(log, due, now)
    ended = _ended(log, shown)
    return {
        "log": log,
        "is_done": _is_done(log, ended, now),
        "badge": state_badge(log.status),
        "state": _state(log, shown, due, now, ended),
        "progress": f"{log.progress:.3f}" if log.progress is not None and not log.is_completed else None,
        "percent": f"{log.progress:.0%}" if log.progress is not None else "",
        "acts": _acts(page, request, log, is_gone=is_known and record is None),
        "timeline": shown,
        "begin": moment(shown.begin),
        "end": moment(shown.end, after=shown.begin),
        "attempts": [_row(attempt) for attempt in shown.attempts],
        "times": list(_times(log, due, ended)),
        "facts": list(_facts(page, request, log)),
        "paces": _paces(log, now),
        "recent": RECENT,
        "result": _result(log),
        "error": preformatted(": ".join(part for part in (log.error_class, log.error_message) if part), "error"),
        "has_error": bool(log.error_class or log.error_message),
        "traceback": preformatted(log.traceback, "traceback") if log.traceback else "",
        "same_error_url": _links(page).jobs(task_name=log.task_name, error_class=log.error_class, status="failed")
        if log.error_class
        else "",
    }


def fixed(page: JobPage, log: TaskLog) -> dict[str, Any]:
    """Return what the rest of the page needs."""
    args, kwargs, _result = masked(log)
    task = tasks.get(log.task_name)
    return {
        "every": EVERY,
        "live_url": _links(page).job(log.pk, "live"),
        "history_url": _links(page).job(log.pk, "history"),
        "keeps_data_out": task is not None and not task.options.log_args,
        "args": pretty_json(args) if args else NOTHING,
        "kwargs": pretty_json(kwargs) if kwargs else NOTHING,
        "call": as_delay(log, args, kwargs),
        "related": [_related(page, log, other) for other in related_to(log)],
    }


def _acts(page: JobPage, request: HttpRequest, log: TaskLog, *, is_gone: bool) -> dict[str, Any]:
    """Return the addresses of what this user may do to the job now, and why it can't be done where it can't."""
    may_retry = log.is_completed and request.user.has_perm(RETRY)
    may_cancel = not log.is_completed and request.user.has_perm(CANCEL)
    why_not = ""
    if (may_retry or may_cancel) and is_gone:
        why_not = _("Only the history of this job is left; nothing can be done to it.")
    elif may_retry and tasks.get(log.task_name) is None:
        why_not = _("Its task is not declared any more, so it can't be run again.")
    return {
        "retry": _links(page).job(log.pk, "retry") if may_retry and not why_not else "",
        "cancel": _links(page).job(log.pk, "cancel") if may_cancel and not why_not else "",
        "why_not": why_not,
    }


def _facts(page: JobPage, request: HttpRequest, log: TaskLog) -> Iterator[tuple[str, SafeString | str]]:
    """Yield what is known of a job: names and values, those that say nothing left out."""
    links = _links(page)
    yield _("Task"), _link(links.jobs(task_name=log.task_name), log.task_name, _("All jobs of this task"))
    yield _("Job ID"), format_html('<code class="dct-wrap">{}</code>', log.job_id)
    yield (
        _("Queue"),
        _link(links.jobs(queue_name=log.queue_name), log.queue_name, _("All jobs of this queue")),
    )
    if log.user_id is not None:
        yield _("User"), _user(page, request, log)
    if log.worker_id:
        yield (
            _("Worker"),
            _link(links.jobs(worker_id=log.worker_id), log.worker_id, _("All jobs of this worker")),
        )
    if log.retry_of:
        yield _("Runs again"), _link(links.job(log.retry_of), log.retry_of)
    used = _("%(used)d of %(allowed)d") % {"used": log.job_retries, "allowed": log.job_retry}
    if log.job_retry:
        used = _("%(used)s, pause %(pause)s") % {"used": used, "pause": duration(log.job_retry_after * 1000)}
    yield _("Retries"), used


def _user(page: JobPage, request: HttpRequest, log: TaskLog) -> SafeString | str:
    """Return the job's user, as a link for those who may see users; one who is gone by the key."""
    if log.user is None:
        return _("%(user)s (deleted)") % {"user": log.user_id}
    user: Model = log.user
    options = user._meta
    name = log.user.get_username()
    may_see = request.user.has_perm(f"{options.app_label}.view_{options.model_name}")
    if may_see and type(user) in page.admin_site._registry:  # noqa: SLF001 - is_registered is newer than Django 5.2
        try:
            url = reverse(
                f"admin:{options.app_label}_{options.model_name}_change",
                args=[quote(str(user.pk))],
                current_app=page.admin_site.name,
            )
        except NoReverseMatch:
            return name
        return _link(url, name)
    return name


def _related(page: JobPage, log: TaskLog, other: TaskLog) -> Related:
    if other.job_id == log.retry_of:
        why = _("is run again by this one")
    elif other.retry_of and other.retry_of == log.job_id:
        why = _("runs this one again")
    elif other.retry_of and other.retry_of == log.retry_of:
        why = _("runs the same job again")
    else:
        why = _("has the same arguments")
    return Related(
        _links(page).job(other.pk),
        other,
        why,
        state_badge(other.status),
        moment(other.enqueue_time),
        duration(other.duration_ms),
    )


def _links(page: JobPage) -> Links:
    return Links(page.admin_site.name)


def _record(log: TaskLog) -> tuple[JobRecord | None, bool]:
    """Return the job itself, and whether that is known: a page of the history is shown without its database as well."""
    try:
        return live.ask(lambda client: client.store.load([log.job_id])).get(log.job_id), True
    except TasksError:
        return None, False


def _ended(log: TaskLog, shown: Timeline) -> dt.datetime | None:
    """Return when the job ended; of one that was canceled while it ran, the attempt may know it alone."""
    if log.finish_time is not None or not log.is_completed or not shown.attempts:
        return log.finish_time
    return shown.attempts[-1].finish


def _is_done(log: TaskLog, ended: dt.datetime | None, now: dt.datetime) -> bool:
    """Tell whether nothing more will come: a run that was canceled ends a little later, and tells of it then."""
    is_ending = log.status == JobStatus.canceled and log.start_time is not None and ended is None
    return log.is_completed and not (is_ending and now - aware(log.updated_at) < ENDING)


def _state(
    log: TaskLog, shown: Timeline, due: dt.datetime | None, now: dt.datetime, ended: dt.datetime | None
) -> SafeString | str:
    """Return one sentence on how the job stands."""
    match log.status:
        case JobStatus.in_progress:
            ran = shown.attempts[-1].ran if shown.attempts else None
            return _("has been running for %(time)s") % {"time": _lasted(ran)}
        case JobStatus.queued:
            waiting = shown.spans[-1].length if shown.spans and shown.spans[-1].kind != "ran" else dt.timedelta(0)
            return _("has been waiting for a worker for %(time)s") % {"time": _lasted(waiting)}
        case JobStatus.deferred:
            if due is None:
                return _("waits until it is due")
            if due > now:
                return format_html(_("is due at {}, in {}"), moment(due), _lasted(due - now))
            return format_html(_("has been due since {}"), moment(due))
        case JobStatus.expired:
            return _("was not started in time")
    runs = len(shown.attempts) + shown.left_out
    if not runs:
        return _("before its first run")
    times = ngettext("after %(count)d attempt", "after %(count)d attempts", runs) % {"count": runs}
    if ended is None:
        return times
    return _("%(attempts)s and %(time)s") % {"attempts": times, "time": shown.total}


def _row(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": NOTHING if attempt.number is None else attempt.number,
        "badge": badge(attempt.look, attempt.label) if attempt.outcome else NOTHING,
        "before": _lasted(attempt.before),
        "started": moment(attempt.start),
        "ran": _lasted(attempt.ran),
        "worker": attempt.worker or NOTHING,
        "error": attempt.error,
        "traceback": attempt.traceback,
    }


def _times(log: TaskLog, due: dt.datetime | None, ended: dt.datetime | None) -> Iterator[tuple[str, SafeString | str]]:
    yield _("Enqueued"), moment(log.enqueue_time, "milliseconds")
    if due is not None and not log.is_completed:
        yield _("Due"), moment(due, "milliseconds")
    if log.expire_time is not None:
        yield _("Expires"), moment(log.expire_time)
    yield _("Started"), moment(log.start_time, "milliseconds")
    yield _("Finished"), moment(ended, "milliseconds")
    yield _("Waited"), duration(waited(log))
    yield _("Last attempt ran"), duration(log.duration_ms)
    yield _("Row updated"), moment(log.updated_at)


def _paces(log: TaskLog, now: dt.datetime) -> list[tuple[str, Pace]]:
    """Return how the job's run and its wait compare with those of others, as far as both are known."""
    others = usual(log)
    ran: float | None = log.duration_ms
    if log.status == JobStatus.in_progress and log.start_time is not None:
        ran = max(0.0, (now - aware(log.start_time)).total_seconds() * 1000)
    wait = waited(log)
    paces = []
    if ran is not None and others.run is not None:
        paces.append((_("Run"), Pace(ran, others.run)))
    if wait is not None and others.wait is not None:
        paces.append((_("Wait"), Pace(wait, others.wait)))
    return paces


def _result(log: TaskLog) -> SafeString | str:
    _args, _kwargs, result = masked(log)
    return pretty_json(result) if result is not None else ""


def _lasted(time: dt.timedelta | None) -> str:
    return duration(None if time is None else max(0.0, time.total_seconds() * 1000))


def _link(url: str, text: str, title: str = "") -> SafeString:
    return format_html('<a class="dct-wrap" href="{}" title="{}">{}</a>', url, title or text, text)
