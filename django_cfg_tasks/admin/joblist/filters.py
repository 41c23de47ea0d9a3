"""What is beside the list to filter it by, and what it is filtered by in words.

All of it is links and forms with the REST API's names: nothing needs a script.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.admin.display import duration, moment
from django_cfg_tasks.admin.joblist.dates import moment_of
from django_cfg_tasks.history.fields import FlagParameter, MomentParameter
from django_cfg_tasks.history.filters import LogFilters
from django_cfg_tasks.jobs import JobStatus
from django_cfg_tasks.models import STATUS_LABELS

if TYPE_CHECKING:
    from django_cfg_tasks.admin.joblist.listing import LogList

MOST_LINKS = 12
"""Names that are links; of more, one is typed."""
MOST_OFFERED = 1_000
"""Names that are offered to the one who types."""

LABELS: dict[str, str | Promise] = {
    "q": _("Search"),
    "p": _("Page"),
    "search": _("Search"),
    "task_name": _("Task"),
    "task_name__icontains": _("Task's name has"),
    "queue_name": _("Queue"),
    "status": _("Status"),
    "job_id": _("Job ID"),
    "worker_id": _("Worker"),
    "user": _("User"),
    "is_completed": _("Has ended"),
    "is_successful": _("Ended well"),
    "is_failed": _("Failed"),
    "has_error": _("Has an error"),
    "error_class": _("Error"),
    "start_time": _("Enqueued from"),
    "end_time": _("Enqueued until"),
    "created_after": _("Row made from"),
    "created_before": _("Row made until"),
    "finished_after": _("Ended from"),
    "finished_before": _("Ended until"),
    "duration_min": _("Ran at least"),
    "duration_max": _("Ran at most"),
    "job_retries_min": _("Retries at least"),
    "job_retries_max": _("Retries at most"),
}
_OUTCOMES = (
    ("is_completed", "false", _("Not ended")),
    ("is_successful", "true", _("Ended well")),
    ("is_failed", "true", _("Failed only")),
    ("has_error", "true", _("Last attempt raised")),
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter that is on, in words, and the address of the list without it."""

    label: str
    value: str
    link: str


@dataclass(frozen=True, slots=True)
class Input:
    """A field of a form."""

    name: str
    label: str
    kind: str
    value: str
    offered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A box of filters, with what Django's template of one reads: either links, or a form."""

    title: str | Promise
    links: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    """Parameters that the form sends along."""
    hint: str = ""

    @property
    def template(self) -> str:
        """Which template shows it."""
        return "admin/tasks/tasklog/form_filter.html" if self.inputs else "admin/filter.html"

    @property
    def parameter_name(self) -> str:
        """By what django-unfold looks up how a project wants a box to look; nothing can be said of ours."""
        return ""

    def choices(self, _logs: LogList) -> list[dict[str, Any]]:
        """Return the links."""
        return self.links


def specs(logs: LogList) -> list[Spec]:
    """Return all boxes, in the order in which one looks for a job that went wrong."""
    statuses = [(status.value, STATUS_LABELS[status]) for status in JobStatus]
    return [
        Spec(_("outcome"), links=list(_outcome_links(logs))),
        Spec(_("status"), links=list(_links(logs, "status", statuses))),
        _names(logs, "task_name", _("task")),
        _names(logs, "queue_name", _("queue")),
        _names(logs, "error_class", _("error")),
        _ranges(logs),
    ]  # fmt: skip


def conditions(logs: LogList) -> list[Condition]:
    """Return what is asked for, but the search, which has its own field."""
    return [
        Condition(str(LABELS[name]), _in_words(logs, name, text), logs.get_query_string({name: None}))
        for name, text in logs.asked.items()
        if name != "search"
    ]


def _links(logs: LogList, name: str, values: Iterable[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    chosen = [part.strip() for part in logs.asked.get(name, "").split(",")] if name in logs.asked else []
    yield _link(logs, gettext("All"), not chosen, {name: None})
    for value, label in values:
        yield _link(logs, label, value in chosen, {name: value})


def _outcome_links(logs: LogList) -> Iterator[dict[str, Any]]:
    none = {name: None for name, *_ in _OUTCOMES}
    chosen = [name for name, value, _ in _OUTCOMES if logs.asked.get(name) == value]
    yield _link(logs, gettext("All"), not any(name in logs.asked for name in none), none)
    for name, value, label in _OUTCOMES:
        yield _link(logs, label, name in chosen, none | {name: value})


def _link(logs: LogList, label: Any, selected: bool, changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "display": label,
        "selected": selected,
        "query_string": logs.get_query_string(changes),
    }


def _names(logs: LogList, name: str, title: Any) -> Spec:
    known = logs.names[name]
    # A comma is between two task names.
    if len(known) <= MOST_LINKS and not any("," in one for one in known):
        return Spec(title, links=list(_links(logs, name, [(one, one) for one in known])))
    typed = Input(name, str(LABELS[name]), "text", logs.asked.get(name, ""), tuple(known[:MOST_OFFERED]))
    return Spec(title, inputs=[typed], kept=_kept(logs, [name]))


def _ranges(logs: LogList) -> Spec:
    fields = [
        Input(name, str(LABELS[name]), kind, _typed(logs, name, kind))
        for name, kind in (
            ("worker_id", "text"), ("start_time", "datetime-local"), ("end_time", "datetime-local"),
            ("duration_min", "number"), ("duration_max", "number"),
        )
    ]  # fmt: skip
    hint = gettext("Times are those of %(zone)s, durations are milliseconds.") % {
        "zone": timezone.get_current_timezone_name()
    }
    return Spec(
        _("worker, time and duration"), inputs=fields, kept=_kept(logs, [one.name for one in fields]), hint=hint
    )


def _typed(logs: LogList, name: str, kind: str) -> str:
    if kind != "datetime-local":
        return logs.asked.get(name, "")
    at = moment_of(logs, name)
    return "" if at is None else at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")


def _kept(logs: LogList, replaced: list[str]) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in logs.params.items() if name not in replaced)


def _in_words(logs: LogList, name: str, text: str) -> str:
    made = LogFilters.base_filters[name].field
    if isinstance(made, FlagParameter):
        return gettext("yes") if made.clean(text) else gettext("no")
    if isinstance(made, MomentParameter):
        at: dt.datetime = made.clean(text)
        return moment(at)
    if name.startswith("duration"):
        return duration(made.clean(text))
    if name == "status":
        return ", ".join(str(STATUS_LABELS[JobStatus(status)]) for status in made.clean(text))
    if name == "user" and logs.result_list and logs.result_list[0].user is not None:
        return str(logs.result_list[0].user.get_username())
    return text
