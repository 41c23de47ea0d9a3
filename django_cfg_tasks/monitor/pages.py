"""The pages: what is shown on each. They have no script, and nothing of them comes from elsewhere.

Their templates are rendered by an engine of their own, whatever the project's TEMPLATES say.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.template.backends.django import DjangoTemplates
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from django_cfg_tasks import live
from django_cfg_tasks.acts.permissions import CANCEL, DELETE, MANAGE, RUN
from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.history.names import names
from django_cfg_tasks.jobs import WAITING, JobStatus
from django_cfg_tasks.models import STATUS_LABELS, TaskLog
from django_cfg_tasks.monitor import chart
from django_cfg_tasks.monitor.deeds import may_run
from django_cfg_tasks.monitor.lists import Listed, list_jobs, list_results
from django_cfg_tasks.registry import tasks

HERE = Path(__file__).parent
ASSETS = {"monitor.css": "text/css; charset=utf-8", "favicon.svg": "image/svg+xml"}
SAID = "django_cfg_tasks_said"
"""Where in the session the line waits that the next page shows."""
ROWS = 25
SHORT = 300
"""Characters of arguments and results that a table shows."""
MOST_WORKERS = 200
"""That are offered to choose from; each process that ever ran a job has a name of its own."""
WORKED = dt.timedelta(days=1)
"""For how long back jobs are counted by worker."""


def dashboard(request: HttpRequest) -> HttpResponse:
    """How many of all there are, and what became of the jobs of the last days."""
    known = live.ask(live.workers)
    return page(
        request,
        "dashboard.html",
        {
            "page_title": "Dashboard",
            "task_num": sum(1 for _ in tasks),
            "totals": chart.totals(),
            "workers": [worker for worker in known if worker.alive],
            "dead": [worker for worker in known if not worker.alive],
            "chart": chart.of_last_days(),
        },
    )


def workers(request: HttpRequest) -> HttpResponse:
    """The workers and timers on the list, and what came of their jobs since yesterday."""
    known = live.ask(live.workers)
    since = timezone.now() - WORKED
    counted = (
        TaskLog.objects.filter(worker_id__in=[worker.name for worker in known], enqueue_time__gte=since)
        .order_by()
        .values_list("worker_id", "status")
        .annotate(number=Count("pk"))
    )
    stats: dict[str, dict[str, int]] = {}
    for name, status, number in counted:
        stats.setdefault(name, {})[status] = number
    rows = [{"worker": worker, "stat": stats.get(worker.name, {})} for worker in known]
    has_logs = get_rearq_client().rearq_config.logs_dir is not None
    return page(
        request,
        "worker.html",
        {"page_title": "Worker", "rows": rows, "may_manage": request.user.has_perm(MANAGE), "has_logs": has_logs},
    )


def tasks_page(request: HttpRequest) -> HttpResponse:
    """The tasks that are declared, those that run by the clock apart."""
    infos = live.ask(live.declared_tasks)
    schedules = {schedule.task: schedule for schedule in live.ask(live.schedules)}
    rows = []
    for info in infos:
        ended = TaskLog.objects.filter(task_name=info.name).completed().order_by("-enqueue_time")
        task = tasks[info.name]
        rows.append(
            {
                "task": info,
                "schedule": schedules.get(info.name),
                "last": ended.values_list("finish_time", flat=True).first(),
                "may_run": may_run(request.user, task),
                "may_run_bare": task.cron is not None and request.user.has_perm(RUN),
                "asked": info.name == request.GET.get("run"),
            }
        )
    return page(
        request,
        "task.html",
        {
            "page_title": "Task",
            "rows": [row for row in rows if row["schedule"] is None],
            "cron_rows": [row for row in rows if row["schedule"] is not None],
            "may_manage": request.user.has_perm(MANAGE),
        },
    )


def jobs(request: HttpRequest) -> HttpResponse:
    """The jobs that the form asks for."""
    listed = list_jobs({"limit": str(ROWS), **request.GET.dict()})
    for row in listed.rows:
        row["args_shown"], row["kwargs_shown"] = _as_json(row["args"]), _as_json(row["kwargs"])
        row["label"] = STATUS_LABELS[JobStatus(row["status"])]
        row["can_edit"] = row["status"] in WAITING
        row["can_cancel"] = not JobStatus(row["status"]).is_final
    return _list_page(request, "job.html", "Job", listed, {"statuses": list(STATUS_LABELS.items())})


def results(request: HttpRequest) -> HttpResponse:
    """The results that the form asks for."""
    listed = list_results({"limit": str(ROWS), **request.GET.dict()})
    for row in listed.rows:
        row["result_shown"] = row["result"] if isinstance(row["result"], str) else _as_json(row["result"])
        job = row["job"]
        job["args_shown"], job["kwargs_shown"] = _as_json(job["args"]), _as_json(job["kwargs"])
        job["label"] = STATUS_LABELS[JobStatus(job["status"])]
    return _list_page(request, "result.html", "Result", listed, {})


def _list_page(
    request: HttpRequest, template: str, title: str, listed: Listed, context: dict[str, Any]
) -> HttpResponse:
    query = {name: value for name, value in request.GET.dict().items() if value and name != "offset"}
    known = names(TaskLog.objects.all(), ("task_name", "worker_id"))
    user = request.user

    def address(offset: int) -> str:
        return f"{request.path}?{urlencode(query | {'offset': str(max(0, offset))})}"

    end = listed.offset + len(listed.rows)
    return page(
        request,
        template,
        {
            "page_title": title,
            "listed": listed,
            "first": listed.offset + 1 if listed.rows else 0,
            "end": end,
            "query": query,
            "short": SHORT,
            "known_tasks": sorted({*known["task_name"], *(task.name for task in tasks)}),
            "known_workers": known["worker_id"][:MOST_WORKERS],
            "newer": address(listed.offset - listed.limit) if listed.offset else None,
            "older": address(end) if listed.rows and end < listed.total else None,
            "may_cancel": user.has_perm(CANCEL),
            "may_delete": user.has_perm(DELETE),
            "may_edit": user.has_perm(RUN),
            **context,
        },
    )


def asset(_request: HttpRequest, name: str) -> HttpResponse:
    """The style sheet and the icon."""
    if name not in ASSETS:
        raise Http404
    answer = HttpResponse((HERE / "assets" / name).read_bytes(), content_type=ASSETS[name])
    answer["Cache-Control"] = "public, max-age=3600"
    return answer


def favicon(request: HttpRequest) -> HttpResponse:
    """The icon, where browsers look for it."""
    return asset(request, "favicon.svg")


def page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Render a page, with the line that the last act left."""
    session = getattr(request, "session", None)
    said = session.pop(SAID, None) if session is not None and SAID in session else None
    return _rendered(request, template, {"said": said, "person": getattr(request, "user", None), **context}, status)


def say(request: Any, level: str, text: str, job_id: str | None = None) -> None:
    """Keep a line for the next page of this visitor."""
    if not request.by_basic:  # who has no session
        request.session[SAID] = {"level": level, "text": text, "job_id": job_id}


def failure(request: HttpRequest, text: str, status: int) -> HttpResponse:
    """A page that says what went wrong."""
    return page(request, "failure.html", {"page_title": str(status), "text": text}, status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400."""
    return failure(request, "The request can't be read.", 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403, with the reason."""
    return failure(request, str(exception) or "You may not do that.", 403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404."""
    return failure(request, "There is no such page.", 404)


def broken(request: HttpRequest) -> HttpResponse:
    """500; what happened is in the log."""
    # Whoever asks: that may be just what can't be told, with SQL away.
    text = "Something went wrong. The log of this server says what."
    return _rendered(request, "failure.html", {"page_title": "500", "text": text}, 500)


def _rendered(request: HttpRequest, template: str, context: dict[str, Any], status: int) -> HttpResponse:
    common = {"here": request.get_full_path(), "nav": list(_nav())}
    return HttpResponse(_engine().get_template(template).render(common | context, request), status=status)


def _nav() -> Iterator[tuple[str, str]]:
    for name, title in (
        ("dashboard", "Dashboard"),
        ("workers", "Worker"),
        ("tasks", "Task"),
        ("jobs", "Job"),
        ("results", "Result"),
    ):
        yield reverse(name), title


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@functools.cache
def _engine() -> DjangoTemplates:
    return DjangoTemplates(
        {
            "NAME": "django_cfg_tasks.monitor",
            "DIRS": [HERE / "templates"],
            "APP_DIRS": False,
            "OPTIONS": {"builtins": ["django.templatetags.l10n"]},
        }
    )
