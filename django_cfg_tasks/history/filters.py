"""Which rows of the task log are asked for.

Every filter is made so that an index serves it on millions of rows: see the notes at those where that takes a detour.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from typing import Any

import django_filters
from django.contrib.auth import get_user_model
from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import connections, router
from django.db.models import BooleanField, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL

from django_cfg_tasks.history import fields
from django_cfg_tasks.history.names import names
from django_cfg_tasks.history.unions import any_of
from django_cfg_tasks.jobs import FINAL, JobStatus
from django_cfg_tasks.models import HAS_ERROR, MESSAGE_WORDS, NEWEST_FIRST, TaskLog

Logs = QuerySet[TaskLog]

STATUSES = tuple(status.value for status in JobStatus)
ORDERINGS = ("enqueue_time", "finish_time", "created_at", "duration_ms", "id")
"""Columns that an index keeps in order."""
CLOCKS_DIFFER = dt.timedelta(hours=1)
"""How much later than its end a job may seem to have been enqueued, by the clocks of two machines."""
MOST_NAMES = 1_000
MOST_FOUND = 1_000
"""Rows that ``search`` finds of each kind: by job id, task, worker, error's class, error's words."""
NEWEST_ERRORS = 1_000
"""Rows in which it looks for words that more than `MOST_FOUND` have."""
NEWEST_JOBS = 10_000
"""The same for beginnings of job ids."""
# All words of a text, the last one perhaps as a beginning.
_HAS_WORDS = f"{MESSAGE_WORDS} @@ to_tsquery('simple', NULLIF(plainto_tsquery('simple', %s)::text, '') || ':*')"


class _Filter(django_filters.Filter):  # type: ignore[misc]  # django-filter has no types
    """A filter by ``field``; without ``lookup`` the FilterSet's method of that name does it."""

    def __init__(self, field: fields.Parameter, lookup: str = "", *, method: str = "") -> None:
        column, _, expression = lookup.partition("__")
        super().__init__(column or None, expression or "exact", method=method or None)
        self._made = field

    @property
    def field(self) -> fields.Parameter:
        """The form's field."""
        self._made.required = False
        return self._made


class LogFilters(django_filters.FilterSet):  # type: ignore[misc]
    """The filters that there are, by the names of the API's parameters."""

    task_name = _Filter(fields.AnyOfParameter(help_text="Exact; several between commas."), "task_name__in")
    task_name__icontains = _Filter(fields.TextParameter(help_text="A part of the name."), method="by_part_of_name")
    queue_name = _Filter(fields.TextParameter(help_text="Exact."), "queue_name")
    status = _Filter(
        fields.AnyOfParameter(STATUSES, help_text=f"Several between commas: {', '.join(STATUSES)}."), "status__in"
    )
    job_id = _Filter(fields.TextParameter(help_text="Exact."), "job_id")
    worker_id = _Filter(fields.TextParameter(help_text="Exact."), "worker_id")
    user = _Filter(fields.UserParameter(help_text="The key of the user for whom the job was enqueued."), "user_id")
    is_completed = _Filter(fields.FlagParameter(help_text="Whether it will never run again."), method="by_completion")
    is_successful = _Filter(fields.FlagParameter(help_text="Whether it ended well."), method="by_success")
    is_failed = _Filter(fields.FlagParameter(help_text="Whether its last attempt failed."), method="by_failure")
    has_error = _Filter(
        fields.FlagParameter(help_text="Whether its last attempt ended with an error."), method="by_error"
    )
    error_class = _Filter(fields.TextParameter(help_text="The error's class, exact."), method="by_error_class")
    start_time = _Filter(fields.MomentParameter(help_text="Enqueued then or later."), "enqueue_time__gte")
    end_time = _Filter(fields.MomentParameter(help_text="Enqueued then or earlier."), "enqueue_time__lte")
    created_after = _Filter(fields.MomentParameter(help_text="The row was made then or later."), "created_at__gte")
    created_before = _Filter(
        fields.MomentParameter(help_text="The row was made then or earlier."), method="by_latest_creation"
    )
    finished_after = _Filter(fields.MomentParameter(help_text="Ended then or later."), "finish_time__gte")
    finished_before = _Filter(fields.MomentParameter(help_text="Ended then or earlier."), method="by_latest_end")
    duration_min = _Filter(fields.NumberParameter(help_text="Milliseconds, at least."), "duration_ms__gte")
    duration_max = _Filter(fields.NumberParameter(help_text="Milliseconds, at most."), "duration_ms__lte")
    job_retries_min = _Filter(fields.NumberParameter(help_text="Retries used, at least."), "job_retries__gte")
    job_retries_max = _Filter(fields.NumberParameter(help_text="Retries used, at most."), "job_retries__lte")
    search = _Filter(
        fields.TextParameter(
            help_text="The beginning of a job id, a part of a task's or worker's name or of an error's class, words of "
            "an error message, or a user's name in full. "
            f"Of more than {MOST_FOUND} of a kind, only the newest are found."
        ),
        method="by_search",
    )

    class Meta:
        model = TaskLog
        fields: tuple[str, ...] = ()

    def by_part_of_name(self, queryset: Logs, _: str, part: str) -> Logs:
        """Look the names up first: there are few, and equality finds their rows by index."""
        alike = _names_with(queryset, ("task_name",), part, "task_name__icontains")["task_name"]
        return queryset.filter(task_name__in=alike)

    def by_completion(self, queryset: Logs, _: str, wanted: bool) -> Logs:
        return queryset.filter(status__in=[status for status in STATUSES if (JobStatus(status) in FINAL) == wanted])

    def by_success(self, queryset: Logs, _: str, wanted: bool) -> Logs:
        return self._by_status(queryset, JobStatus.success, wanted)

    def by_failure(self, queryset: Logs, _: str, wanted: bool) -> Logs:
        return self._by_status(queryset, JobStatus.failed, wanted)

    def by_error(self, queryset: Logs, _: str, wanted: bool) -> Logs:
        return queryset.filter(HAS_ERROR) if wanted else queryset.filter(error_class="")

    def by_error_class(self, queryset: Logs, _: str, name: str) -> Logs:
        return queryset.filter(HAS_ERROR, error_class=name)

    def by_latest_creation(self, queryset: Logs, _: str, moment: dt.datetime) -> Logs:
        """Say what follows as well: a planner that thinks the two times independent walks all newer rows in vain."""
        return queryset.filter(created_at__lte=moment, enqueue_time__lte=moment + CLOCKS_DIFFER)

    def by_latest_end(self, queryset: Logs, _: str, moment: dt.datetime) -> Logs:
        """Say what follows as well, as `by_latest_creation` does."""
        return queryset.filter(finish_time__lte=moment, enqueue_time__lte=moment + CLOCKS_DIFFER)

    def by_search(self, queryset: Logs, _: str, text: str) -> Logs:
        """Find the newest `MOST_FOUND` of each kind, each by an index of its own.

        One condition for all of them would leave a planner nothing but to read every row.
        """
        is_postgres = connections[queryset.db].vendor == "postgresql"
        kinds: list[Any] = []
        if not is_postgres:  # their LIKE uses no index
            kinds.append(Q(job_id__gte=text, job_id__lt=f"{text}\U0010ffff"))
        for column, alike in _names_with(queryset, ("task_name", "worker_id", "error_class"), text, "search").items():
            if alike:
                kinds.append(Q(**{f"{column}__in": alike}) & (HAS_ERROR if column == "error_class" else Q()))
        if not is_postgres:
            kinds.append(HAS_ERROR & Q(error_message__icontains=text))
        kinds.extend(_of_user(queryset.db, text))
        parts: list[Logs | RawSQL] = [queryset.filter(kind).order_by(*NEWEST_FIRST)[:MOST_FOUND] for kind in kinds]
        if is_postgres:
            beginning = re.sub(r"([\\%_])", r"\\\1", text) + "%"
            parts.append(_all_or_newest(queryset, "job_id", "job_id LIKE %s", beginning, NEWEST_JOBS))
            parts.append(_all_or_newest(queryset.filter(HAS_ERROR), "error_message", _HAS_WORDS, text, NEWEST_ERRORS))
        return queryset.filter(pk__in=any_of(parts))

    def _by_status(self, queryset: Logs, status: JobStatus, wanted: bool) -> Logs:
        others = [other for other in STATUSES if other != status]
        return queryset.filter(status__in=[status.value] if wanted else others)


NAME_LOOKUPS = ("search", "task_name__icontains")
"""Filters that take a query of their own."""
FILTERS: Collection[str] = tuple(LogFilters.base_filters)
"""The names of the filters' parameters."""


def filtered_by(data: Mapping[str, str], queryset: Logs) -> Logs:
    """Return the rows of ``queryset`` that the filters named in ``data`` let through; other names are passed over.

    ValidationError names those whose values can't be read.
    """
    data = dict(data)
    filters = LogFilters({name: value for name, value in data.items() if name in FILTERS}, queryset)
    fields.refuse_empty(data, filters.form)
    if not filters.form.is_valid():
        raise ValidationError(
            {name: [str(message) for message in messages] for name, messages in filters.form.errors.items()}
        )
    return filters.filter_queryset(queryset)  # type: ignore[no-any-return]


def _names_with(queryset: Logs, columns: Collection[str], part: str, parameter: str) -> dict[str, list[str]]:
    sought = part.casefold()
    found = {
        column: [name for name in known if sought in name.casefold()]
        for column, known in names(queryset, columns).items()
    }
    if any(len(alike) > MOST_NAMES for alike in found.values()):
        raise ValidationError({parameter: [f"More than {MOST_NAMES} names have this in them. Say more."]})
    return found


def _of_user(alias: str, name: str) -> list[Q]:
    """Return the condition that the job is of the user of this name, if users are kept in this database."""
    users = get_user_model()
    if router.db_for_read(users) != alias:
        return []
    named = users.objects.using(alias).filter(**{users.USERNAME_FIELD: name}).order_by()
    return [Q(user_id=Subquery(named.values("pk")[:1]), user_id__isnull=False)]


def _all_or_newest(logs: Logs, column: str, condition: str, param: str, newest: int) -> RawSQL:
    """Return the ids of those ``logs`` for whose ``column`` the ``condition`` holds, on PostgreSQL.

    Few are all found by an index. To put many of them in order could cost seconds, so of those the ones among so many
    of the ``newest`` rows are taken.
    """
    holds = RawSQL(condition, [param], output_field=BooleanField())  # noqa: S611 - a constant, and a parameter
    few = logs.filter(holds).order_by().values("id")[: MOST_FOUND + 1]
    latest = logs.order_by(*NEWEST_FIRST).values("id", column)[:newest]
    try:
        few_sql, few_params = few.query.get_compiler(logs.db).as_sql()
        latest_sql, latest_params = latest.query.get_compiler(logs.db).as_sql()
    except EmptyResultSet:
        return RawSQL("SELECT NULL::bigint AS id WHERE false", [])
    return RawSQL(  # noqa: S611
        "SELECT counted.id FROM (SELECT few.id, COUNT(*) OVER () AS found "  # noqa: S608 - Django's own SQL
        f"FROM ({few_sql}) AS few) AS counted WHERE found <= {MOST_FOUND} "
        f"UNION ALL SELECT latest.id FROM ({latest_sql}) AS latest WHERE {condition}",
        [*few_params, *latest_params, param],
    )
