"""Which jobs the list shows: one page of those that are asked for, in an order that an index keeps, and their number.

Its parameters are the filters of the REST API by their names, read by `history.filters`, and Django's own for the rest;
``q`` is the search. No page costs more for the rows that it doesn't show: counting ends at `EXACT`, pages at
`MOST_SKIPPED`.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Max, Min, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext

from django_cfg_tasks.admin.joblist import dates, filters
from django_cfg_tasks.history.counts import EXACT, estimate, with_count
from django_cfg_tasks.history.filters import FILTERS, MOST_FOUND, NAME_LOOKUPS, ORDERINGS, filtered_by
from django_cfg_tasks.history.names import names
from django_cfg_tasks.history.rows import SHORT
from django_cfg_tasks.models import NEWEST_FIRST, TaskLog

COLUMNS = (*SHORT, "job_retry", "error_class", "progress", "progress_message")
"""What a row of the list is made of: nothing that may be large."""
MOST_SKIPPED = 100_000
"""Rows that are before the last page; older ones are found by their time."""
NAMED = ("task_name", "queue_name", "error_class")
"""Columns whose names the filters offer."""


class LogList(ChangeList):
    """One page of the task log, for Django's templates of a change list."""

    asked: dict[str, str]
    """The filters, by the names of the REST API's parameters: also what a job that acts on all of them is given."""
    count_text: str
    """How many rows there are, in words that don't say more than is known."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.title = gettext("Jobs")

    def get_filters(self, request: HttpRequest) -> Any:
        """Read the parameters; what none of them is, or says two things, is refused. An empty one asks for nothing."""
        text = request.GET.get(SEARCH_VAR, "").strip()
        for name in [name for name in self.get_filters_params() if not self.params[name].strip()]:
            self._drop(name)
        if "search" in self.params:  # as the REST API calls it
            other = self._drop("search").strip()
            if text not in ("", other):
                raise self._refused(request, {SEARCH_VAR: [gettext("Only one text can be searched for.")]})
            text = other
        self._drop(SEARCH_VAR)
        self.query = text
        if text:
            self.params[SEARCH_VAR], self.filter_params[SEARCH_VAR] = text, [text]
        given = self.get_filters_params()
        if unknown := sorted(set(given) - set(FILTERS)):
            raise self._refused(request, {name: [gettext("There is no such filter.")] for name in unknown})
        for name in given:
            self.filter_params[name] = [self.params[name]]  # of several, the last, as the REST API does
        self.asked = {name: self.params[name] for name in given} | ({"search": text} if text else {})
        return [], True, {}, False, bool(self.asked)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[TaskLog]:
        """Return the rows that are asked for, in order, without their large columns."""
        known: QuerySet[TaskLog] | None = getattr(self, "queryset", None)
        if known is not None:
            return known
        _, self.has_filters, _, _, self.has_active_filters = self.get_filters(request)
        try:
            found = filtered_by(self.asked, self.root_queryset)
        except ValidationError as error:
            raise self._refused(request, error.message_dict) from error
        self.clear_all_filters_qs = self.get_query_string(remove=[*self.get_filters_params(), SEARCH_VAR])
        return found.only(*COLUMNS).select_related("user").order_by(*self.get_ordering(request, found))

    def get_results(self, request: HttpRequest) -> None:
        """Read the page's rows together with their count; one query, and one for an estimate where they are many."""
        size = self.list_per_page
        skipped = 0 if self.show_all else (self.page_num - 1) * size
        if not 0 <= skipped <= MOST_SKIPPED:
            raise self._refused(request, {PAGE_VAR: [gettext("There is no such page.")]})
        wanted = max(size, self.list_max_show_all) if self.show_all else size
        counted = with_count(self.queryset)
        rows: list[Any] = []
        if counted is not None:
            by_time = TaskLog.objects.using(self.queryset.db).values("enqueue_time")
            ends = {
                name: Subquery(by_time.order_by(column)[:1])
                for name, column in (("oldest", "enqueue_time"), ("newest", "-enqueue_time"))
            }
            rows = list(counted.annotate(**ends)[skipped : skipped + wanted + 1])
        if not rows and skipped:
            raise self._refused(request, {PAGE_VAR: [gettext("That page is empty by now.")]})
        self._count(rows[0].counted if rows else 0, skipped + len(rows))
        self.can_show_all = self.result_count <= self.list_max_show_all
        self.show_all = self.show_all and self.can_show_all
        self.multi_page = self.result_count > size
        self.has_more = len(rows) > (wanted if self.show_all else size)
        self.result_list: Any = rows[: wanted if self.show_all else size]
        self.paginator = Paginator(range(min(self.result_count, MOST_SKIPPED + size)), size)
        self.show_admin_actions = bool(rows)
        self.show_full_result_count = False
        self.full_result_count: Any = self.result_count  # Django's search form would show a number that it can't know

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the one column that is asked for and the id, both in its direction, as an index has them."""
        [(index, direction)] = self.get_ordering_field_columns().items()
        sign = "-" if direction == "desc" else ""
        return [f"{sign}{self.get_ordering_field(self.list_display[index])}", f"{sign}id"]

    def get_ordering_field_columns(self) -> dict[int, Any]:
        """Return the first column asked for that an index keeps in order, else the newest first."""
        columns = {index: self.get_ordering_field(name) for index, name in enumerate(self.list_display)}
        for part in self.params.get(ORDER_VAR, "").split("."):
            number = part.removeprefix("-")
            if number.isdecimal() and len(number) < 4 and columns.get(int(number)) in ORDERINGS:
                return {int(number): "desc" if part.startswith("-") else "asc"}
        return {next(index for index, field in columns.items() if field == "enqueue_time"): "desc"}

    @property
    def has_default_order(self) -> bool:
        """Whether the newest come first."""
        return tuple(self.queryset.query.order_by) == NEWEST_FIRST

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """The names that there are in the columns `NAMED`."""
        return names(self.root_queryset, NAMED)

    @cached_property
    def filter_specs(self) -> list[filters.Spec]:  # type: ignore[override]  # Django's are objects of its own
        """What is beside the list, to filter by."""
        return filters.specs(self)

    @property
    def conditions(self) -> list[filters.Condition]:
        """What the rows have in common, in words, each with a link to the list without it."""
        return filters.conditions(self)

    @property
    def dates(self) -> dates.Dates | None:
        """The way through years, months and days; None if there is no job."""
        if self.result_list:
            oldest, newest = self.result_list[0].oldest, self.result_list[0].newest
        else:
            ends = self.root_queryset.order_by().aggregate(oldest=Min("enqueue_time"), newest=Max("enqueue_time"))
            oldest, newest = ends["oldest"], ends["newest"]
        return None if oldest is None else dates.dates(self, oldest, newest)

    @property
    def pages(self) -> list[dict[str, Any]]:
        """The numbered pages around this one, with their addresses."""
        return [
            {
                "text": number,
                "link": None
                if number in (self.page_num, Paginator.ELLIPSIS)
                else self.get_query_string({PAGE_VAR: number}),
                "current": number == self.page_num,
            }
            for number in self.paginator.get_elided_page_range(self.page_num)
        ]

    @property
    def older_link(self) -> str | None:
        """On the last page that has a number: the way on, from the time of its last row."""
        if not self.has_more or self.page_num < self.paginator.num_pages or not self.has_default_order:
            return None
        return self.get_query_string({"end_time": self.result_list[-1].enqueue_time.isoformat()})

    @property
    def moving_ids(self) -> str:
        """The ids of the rows that may change by themselves."""
        return ",".join(str(log.pk) for log in self.result_list if not log.is_completed)

    def _count(self, counted: int, seen: int) -> None:
        """Say how many there are: exactly, or about, or at least. Of a search only the newest are found."""
        in_search = "search" in self.asked and counted >= MOST_FOUND
        if counted <= EXACT and not in_search:
            self.result_count = counted
            self.count_text = ngettext("%(count)s job", "%(count)s jobs", counted) % {"count": _number(counted)}
            return
        least = max(min(counted, EXACT), seen)
        # Where names had to be looked up, a page has had its share of queries.
        guess = 0 if in_search or any(name in self.asked for name in NAME_LOOKUPS) else estimate(self.queryset)
        self.result_count = max(least, guess)
        if guess > least:
            self.count_text = gettext("about %(count)s jobs") % {"count": _number(_rounded(guess))}
        else:
            self.count_text = gettext("%(count)s jobs or more") % {"count": _number(min(counted, EXACT))}

    def _drop(self, name: str) -> str:
        self.filter_params.pop(name, None)
        return str(self.params.pop(name, ""))

    def _refused(self, request: HttpRequest, reasons: dict[str, list[str]]) -> IncorrectLookupParameters:
        """Say what can't be used, and return what sends Django to the list without parameters."""
        for name, texts in reasons.items():
            label = filters.LABELS.get(name, name)
            messages.error(request, f"{label}: {' '.join(texts)}")
        return IncorrectLookupParameters(", ".join(reasons))


def _number(count: int) -> str:
    return number_format(count, force_grouping=True)


def _rounded(count: int) -> int:
    """Return two figures of a guess: it is not better than that."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return int(round(count / unit) * unit)
