"""The dashboard's sections: what is known, as its templates show it.

All of it is text that the templates escape, or HTML of `display`: names, errors and hosts come from outside.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_cfg_tasks import live
from django_cfg_tasks.admin.dashboard import charts
from django_cfg_tasks.admin.dashboard.overview import RANGES, Now, Past, Range
from django_cfg_tasks.admin.display import NOTHING, badge, duration, moment
from django_cfg_tasks.admin.links import Links
from django_cfg_tasks.admin.states import state_badge
from django_cfg_tasks.conf import get_config
from django_cfg_tasks.history.digest import Bucket, Digest, Numbers, Outcomes
from django_cfg_tasks.history.rows import RunningJob
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.registry import tasks

MOST_ROWS = 300
"""Of a table."""
MOST_JOBS_SHOWN = 5
"""Of one worker."""
MOST_MESSAGE = 140
DAY = 1440
"""In minutes."""

Row = dict[str, Any]


def count(number: int) -> str:
    """Return a number with its thousands set apart."""
    return formats.number_format(number, force_grouping=True)


def percent(share: float | None) -> str:
    """Return a share of 1. What is almost all or nothing is not called so."""
    if share is None:
        return NOTHING
    if 0 < share < 0.001 or 0.999 < share < 1:
        sign, edge = ("<", 0.1) if share < 0.5 else (">", 99.9)
        return f"{sign} {_rounded(edge, 1)}%"
    return f"{_rounded(share * 100, 0 if share in (0, 1) else 1)}%"


def _rounded(number: float, digits: int) -> str:
    return str(formats.number_format(round(number, digits), digits))  # which cuts off what it does not show


# ---------------------------------------------------------------- the state


def problems(now: Now, past: Past | None = None) -> list[Row]:
    """Say what is wrong, and what to do, the worst first. Empty where all is well."""
    found: list[Row] = []

    def add(title: str, detail: object) -> None:
        found.append({"title": title, "detail": detail})

    if not get_config().enabled:
        add(_("Tasks are switched off."), _("TaskConfig(enabled=False): nothing can be enqueued."))
    if now.standing is None:
        add(_("The configuration can't be used."), now.fault)
    else:
        for title, detail in _unhealthy(now.standing):
            add(title, detail)
    for fault in dict.fromkeys(str(fault) for fault in (now.log_fault, past.fault if past else "") if fault):
        add(_("The history is not complete."), fault)
    return found


def _unhealthy(standing: live.Standing) -> Iterable[tuple[str, str]]:
    checks = {check.name: check for check in standing.health.checks}
    if not checks["redis"].healthy:
        yield _("Redis can't be asked. Jobs are accepted, and wait."), checks["redis"].detail
    if not checks["sql"].healthy:
        yield _("The jobs' database can't be asked. Nothing is accepted."), checks["sql"].detail
    if not checks["redis"].healthy:
        return  # all else is unknown
    if not standing.health.workers:
        yield _("No worker is alive: jobs wait."), _("Start one: rearq main:rearq worker.")
    if not checks["timer"].healthy:
        yield _("No timer leads."), checks["timer"].detail
    if standing.health.workers:
        for name, check in checks.items():
            if name.startswith("queue:") and not check.healthy:
                queue = name.removeprefix("queue:")
                yield _("No worker consumes the queue %(queue)s.") % {"queue": queue}, check.detail
        for state in standing.queues or ():
            waiting = state.ready + state.waiting_at_gates
            if waiting and not state.workers and f"queue:{state.name}" not in checks:
                yield (
                    _("No worker consumes the queue %(queue)s.") % {"queue": state.name},
                    ngettext(
                        "It is declared by no task any more, and %(count)s job waits in it.",
                        "It is declared by no task any more, and %(count)s jobs wait in it.",
                        waiting,
                    )
                    % {"count": count(waiting)},
                )


def switched_off(now: Now) -> list[str]:
    """Say what people have switched off."""
    standing = now.standing
    disabled = [task.name for task in (standing.tasks if standing else None) or () if not task.enabled]
    paused = [one.task for one in (standing.schedules if standing else None) or () if one.paused]
    said = []
    if disabled:
        said.append(_("Disabled tasks: %(names)s.") % {"names": _listed(disabled)})
    if paused:
        said.append(_("Paused schedules: %(names)s.") % {"names": _listed(paused)})
    return said


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_JOBS_SHOWN])
    return shown if len(names) <= MOST_JOBS_SHOWN else f"{shown}, …"


# ---------------------------------------------------------------- cards


def cards_now(now: Now, links: Links) -> list[Row]:
    """How many jobs run and wait, and who is there for them."""
    standing = now.standing
    open_jobs = standing.open if standing else None
    queues = standing.queues if standing else None
    workers = [one for one in (standing.workers if standing else None) or () if one.alive]
    running, waiting, deferred = (
        None if open_jobs is None else open_jobs.get(status, 0)
        for status in (JobStatus.in_progress, JobStatus.queued, JobStatus.deferred)
    )
    ages = [one.oldest_ready_seconds for one in queues or () if one.oldest_ready_seconds is not None]
    slots = sum(one.slots for one in workers if one.kind == "worker")
    notes = []
    if ages:
        notes.append(_("the oldest for %(time)s") % {"time": _seconds(max(ages))})
    if deferred:
        notes.append(_("%(count)s deferred") % {"count": count(deferred)})
    unknown = standing is None or standing.workers is None
    online = sum(one.kind == "worker" for one in workers)
    # A timer that has just begun to lead has not said so of itself yet.
    led = any(check.name == "timer" and check.healthy for check in (standing.health.checks if standing else ()))
    leader = led or any(one.state == "leads" for one in workers)
    return [
        _card(
            _("Running"), running, _("of %(slots)s slots") % {"slots": count(slots)} if slots else "",
            links.jobs(status="in_progress"),
        ),
        _card(_("Waiting"), waiting, " · ".join(notes), links.jobs(status="queued")),
        _card(
            _("Workers online"), None if unknown else online,
            "" if unknown else _("a timer leads") if leader else _("no timer leads"),
            "#dct-workers", bad=not unknown and not (online and leader),
        ),
    ]  # fmt: skip


def cards_past(past: Past, links: Links) -> list[Row]:
    """How the range went, in sum."""
    digest = past.digest
    if digest is None:
        return [_card(name, None) for name in (_("Success rate"), _("Failures"), _("Run time, p95"), _("Wait, p95"))]
    outcomes, overall = digest.overall.outcomes, digest.overall
    ended = outcomes.total - outcomes.open
    return [
        _card(
            _("Success rate"), percent(outcomes.success_rate),
            ngettext("of %(count)s job that ended", "of %(count)s jobs that ended", ended) % {"count": count(ended)},
        ),
        _card(
            _("Failures"), outcomes.failed, percent(outcomes.failure_rate) if ended else "",
            links.jobs(status="failed", start_time=digest.start), bad=outcomes.failed > 0,
        ),
        _card(
            _("Run time, p95"), duration(overall.run_p95),
            _("median %(time)s") % {"time": duration(overall.run_p50)} if overall.run_p50 is not None else "",
        ),
        _card(_("Wait, p95"), duration(digest.wait_p95), _("from enqueued to started")),
    ]  # fmt: skip


def _card(name: str, value: int | str | None, note: str = "", url: str = "", *, bad: bool = False) -> Row:
    shown = NOTHING if value is None else count(value) if isinstance(value, int) else value
    return {"name": name, "value": shown, "note": note, "url": url, "bad": bad}


# ---------------------------------------------------------------- the chart

KINDS = ("failed", "successful", "dropped", "open")
"""From the ground up: failures stand beside each other, where they compare best."""


def kind_names() -> dict[str, str]:
    """Return what the parts of a bar are called."""
    return {
        "failed": _("Failed"),
        "successful": _("Succeeded"),
        "dropped": _("Canceled or expired"),
        "open": _("Not ended"),
    }


def chart(past: Past, links: Links) -> Row | None:
    """Return the chart of the range and the same as rows of a table, the latest first; None where nothing is known."""
    digest = past.digest
    if digest is None:
        return None
    drawn = charts.stacked([[(kind, getattr(one.outcomes, kind)) for kind in KINDS] for one in digest.buckets])
    names = kind_names()
    columns = [
        {
            "bar": bar,
            "url": links.jobs(start_time=one.start, end_time=one.end - dt.timedelta(microseconds=1)),
            "title": _title(one, past.range, names),
            "mark": _mark(one.start, past.range),
            "is_between": past.range.mark_minutes >= DAY and _local(one.start).toordinal() % 2,
            "total": one.outcomes.total,
        }
        for one, bar in zip(digest.buckets, drawn.bars, strict=True)
    ]
    rows = [
        {
            "start": moment(one.start, "minutes"),
            "url": column["url"],
            "total": count(one.outcomes.total),
            "numbers": [count(getattr(one.outcomes, kind)) for kind in KINDS],
        }
        for one, column in zip(digest.buckets, columns, strict=True)
        if one.outcomes.total
    ]
    sums = digest.overall.outcomes
    return {
        "drawn": drawn,
        "ticks": [count(tick) for tick in drawn.ticks],
        "columns": columns,
        "rows": rows[::-1],
        "legend": [{"kind": kind, "name": names[kind], "count": count(getattr(sums, kind))} for kind in KINDS],
        "is_empty": not sums.total,
    }


def _title(bucket: Bucket, chosen: Range, names: dict[str, str]) -> str:
    start, end = (_local(at) for at in (bucket.start, bucket.end))
    form = "%H:%M" if chosen.hours <= 24 else "%Y-%m-%d %H:%M"
    zone = f" {start:%Z}".rstrip()
    parts = [f"{names[kind]}: {count(number)}" for kind in KINDS if (number := getattr(bucket.outcomes, kind))]
    return "\n".join([f"{start.strftime(form)} {NOTHING} {end:%H:%M}{zone}", *(parts or [_("No jobs")])])


def _mark(start: dt.datetime, chosen: Range) -> SafeString | str:
    """Return the time that stands below a bar, at every so many minutes of the day."""
    local = _local(start)
    if (local.hour * 60 + local.minute) % chosen.mark_minutes:
        return ""
    text = local.strftime("%H:%M" if chosen.mark_minutes < DAY else "%Y-%m-%d %H:%M")
    return format_html('<time class="dct-time" datetime="{}">{}</time>', start.isoformat(), text)


def _local(at: dt.datetime) -> dt.datetime:
    return timezone.localtime(at) if timezone.is_aware(at) else at


# ---------------------------------------------------------------- tables


def queue_rows(now: Now, links: Links) -> list[Row] | None:
    """Return the queues, ``default`` first; None where they can't be told."""
    if now.standing is None or now.standing.queues is None:
        return None
    return [
        {
            "name": one.name,
            "url": links.jobs(queue_name=one.name),
            "ready": count(one.ready),
            "oldest": _seconds(one.oldest_ready_seconds),
            "running": count(one.running),
            "deferred": count(one.deferred),
            "at_gates": count(one.waiting_at_gates),
            "workers": count(one.workers),
            "is_left_alone": not one.workers,
        }
        for one in now.standing.queues[:MOST_ROWS]
    ]


def worker_rows(now: Now, links: Links) -> list[Row] | None:
    """Return the worker and timer processes, the dead last; None where they can't be told."""
    if now.standing is None or now.standing.workers is None:
        return None
    ordered = sorted(now.standing.workers, key=lambda one: (not one.alive, one.kind == "timer", one.name))
    return [_worker(one, now.jobs.get(one.name, []) if one.alive else [], links) for one in ordered[:MOST_ROWS]]


def _worker(one: live.WorkerState, jobs: list[RunningJob], links: Links) -> Row:
    names = {
        "consuming": _("consuming"),
        "busy": _("busy"),
        "waiting": _("waiting"),
        "blocked": _("blocked"),
        "stopping": _("stopping"),
        "leads": _("leads"),
        "stands by": _("stands by"),
        "dead": _("dead"),
    }
    tone = "failed" if one.state in ("dead", "blocked") else "success" if one.state in ("consuming", "leads") else ""
    return {
        "name": one.name,
        "kind": _("timer") if one.kind == "timer" else _("worker"),
        "is_worker": one.kind == "worker",
        "alive": one.alive,
        "state": badge(tone or "other", names.get(one.state, one.state)),
        "heartbeat": _seconds(one.heartbeat_age),
        "queues": ", ".join(one.queues) or NOTHING,
        "running": count(one.running),
        "slots": count(one.slots),
        "done": count(one.done),
        "where": f"{one.host}, pid {one.pid}" if one.host and one.pid else one.host or NOTHING,
        "version": one.version or NOTHING,
        "python": one.python,
        "url": links.jobs(worker_id=one.name),
        "jobs": [
            {
                "name": job.task_name,
                "url": links.job(job.pk),
                "progress": "" if job.progress is None else f"{job.progress:.0%}",
                "since": moment(job.start_time, after=timezone.now()),
            }
            for job in jobs[:MOST_JOBS_SHOWN]
        ],
        "more": max(0, len(jobs) - MOST_JOBS_SHOWN),
        "more_url": links.jobs(status="in_progress", worker_id=one.name),
    }


def schedule_rows(now: Now, links: Links) -> list[Row] | None:
    """Return the schedules by task; None where they can't be told."""
    if now.standing is None or now.standing.schedules is None:
        return None
    today = timezone.now()
    return [
        {
            "task": one.task,
            "url": links.jobs(task_name=one.task),
            "words": one.description,
            "expression": one.expression,
            "timezone": one.timezone,
            "paused": one.paused,
            "enabled": one.enabled,
            "next": moment(one.next_run, after=today),
            "last": _last_run(one.last_run, links, today),
        }
        for one in now.standing.schedules[:MOST_ROWS]
    ]


def _last_run(run: live.LastRun | None, links: Links, today: dt.datetime) -> Row | None:
    if run is None:
        return None
    return {
        "url": links.jobs(job_id=run.job_id),
        "badge": state_badge(run.status) if run.status else _("deleted"),
        "at": moment(run.start_time or run.enqueue_time, after=today),
        "error": run.error_class or "",
    }


def task_rows(now: Now, past: Past, links: Links) -> tuple[list[Row], int]:
    """Return the tasks, those with the most jobs first, and how many there are beyond `MOST_ROWS`.

    Those that are declared, and those that ran in the range and are not declared any more.
    """
    standing = now.standing
    known = {one.name: one for one in (standing.tasks if standing else None) or ()}
    ran = past.digest.tasks if past.digest else {}
    names = sorted({*known, *(task.name for task in tasks), *ran}, key=lambda name: (-_total(ran.get(name)), name))
    rows = [_task(name, known.get(name), ran.get(name), past, links) for name in names[:MOST_ROWS]]
    return rows, len(names) - len(rows)


def _task(name: str, info: live.TaskInfo | None, numbers: Numbers | None, past: Past, links: Links) -> Row:
    declared = tasks.get(name)
    outcomes = numbers.outcomes if numbers else Outcomes()
    digest = past.digest
    return {
        "name": name,
        "url": links.jobs(task_name=name, **({"start_time": digest.start} if digest and numbers else {})),
        "is_declared": declared is not None,
        "is_own": declared is not None and name not in tasks,
        "queue": info.queue if info else declared.options.queue if declared else NOTHING,
        "total": count(outcomes.total) if digest else NOTHING,
        "per_hour": _per_hour(outcomes.total, digest),
        "failed": percent(outcomes.failure_rate),
        "failures": count(outcomes.failed),
        "failed_url": links.jobs(status="failed", task_name=name, start_time=digest.start)
        if digest and outcomes.failed
        else "",
        "run_p50": duration(numbers.run_p50 if numbers else None),
        "run_p95": duration(numbers.run_p95 if numbers else None),
        "open": count(info.queued + info.deferred + info.running) if info else NOTHING,
        "enabled": info.enabled if info else None,
    }


def _per_hour(number: int, digest: Digest | None) -> str:
    if digest is None:
        return NOTHING
    rate = number / ((digest.end - digest.start) / dt.timedelta(hours=1))
    if rate >= 10 or rate == 0:
        return count(round(rate))
    return _rounded(rate, 1) if rate >= 0.1 else f"< {_rounded(0.1, 1)}"


def _total(numbers: Numbers | None) -> int:
    return numbers.outcomes.total if numbers else 0


def failure_rows(past: Past, links: Links) -> list[Row] | None:
    """Return the kinds of failures, the most frequent first; None where they can't be told."""
    digest = past.digest
    if digest is None:
        return None
    return [
        {
            "count": count(one.count),
            "task": one.task_name,
            "error": one.error_class or NOTHING,
            "message": Truncator(" ".join(one.last_message.split())).chars(MOST_MESSAGE),
            "last_seen": moment(one.last_seen, after=timezone.now()),
            "url": links.jobs(
                status="failed",
                task_name=one.task_name,
                **({"error_class": one.error_class} if one.error_class else {}),
                start_time=digest.start,
            ),
        }
        for one in digest.failures
    ]


def range_links(chosen: Range, address: str) -> list[Row]:
    """Return the ranges that there are, and where they are shown."""
    return [
        {"name": one.name, "url": f"{address}?range={one.key}", "is_chosen": one is chosen} for one in RANGES.values()
    ]


def _seconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(seconds * 1000)
