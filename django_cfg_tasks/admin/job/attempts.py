"""How a job came from its enqueueing to its end, drawn: waits, runs and pauses as bars of one line.

Only lengths are drawn, one after the other: clocks of several machines may differ, and what one of them measured alone
is right all the same. A bar of a millisecond beside one of an hour keeps a width that can be seen, so lengths are
also said in words.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_cfg_tasks.admin.display import duration, shortened
from django_cfg_tasks.jobs import AttemptOutcome, JobStatus
from django_cfg_tasks.models import TaskLog

MOST = 200
"""Attempts that are shown: the newest."""
LEAST_WIDTH = 0.6
"""Percent of the line that the shortest bar takes, if there is room."""
LABELED, LABELED_ALSO_NARROW = 8.0, 24.0
"""Percent of the line that a bar needs for its length below it: on a wide page, and on any."""
NEGLIGIBLE = dt.timedelta(milliseconds=1)
_HEIGHT, _BAR, _LINE = 52, (4, 28), (14, 8)
"""Pixels: of the drawing; top and height of a run, and of what lies between runs."""
_NONE = dt.timedelta(0)

Kind = Literal["earlier", "deferred", "waited", "paused", "ran"]

RUNNING = "in_progress"
OUTCOMES: dict[str, Promise] = {
    AttemptOutcome.success.value: gettext_lazy("Success"),
    AttemptOutcome.failed.value: gettext_lazy("Failed"),
    AttemptOutcome.retried.value: gettext_lazy("Failed, to be retried"),
    AttemptOutcome.released.value: gettext_lazy("Put back, its worker stopped"),
    AttemptOutcome.canceled.value: gettext_lazy("Canceled"),
    AttemptOutcome.expired.value: gettext_lazy("Expired"),
    AttemptOutcome.orphaned.value: gettext_lazy("Orphaned, its worker died"),
    RUNNING: gettext_lazy("Running"),
}


@dataclass(slots=True)
class Attempt:
    """One run of a job, as far as its row says."""

    number: Any
    worker: str
    start: dt.datetime | None
    finish: dt.datetime | None
    outcome: str
    error: str = ""
    traceback: str = ""
    before: dt.timedelta | None = None
    """How long after the one before it ended, or the job was enqueued, it started."""
    ran: dt.timedelta | None = None

    @property
    def label(self) -> str:
        """The outcome in words; one that is not known as it stands."""
        return str(OUTCOMES.get(self.outcome, self.outcome))

    @property
    def look(self) -> str:
        """The end of the name of its class in the style sheet."""
        return self.outcome if self.outcome in OUTCOMES else "unknown"


@dataclass(frozen=True, slots=True)
class Span:
    """A bar: what the job did, and for how long."""

    kind: Kind
    length: dt.timedelta
    outcome: str = ""
    number: Any = None

    @property
    def look(self) -> str:
        """The end of the name of its class in the style sheet."""
        if self.kind != "ran":
            return self.kind
        return self.outcome if self.outcome in OUTCOMES else "unknown"

    @property
    def words(self) -> str:
        """What it shows, without the length."""
        match self.kind:
            case "earlier":
                return _("Earlier attempts")
            case "deferred":
                return _("Deferred")
            case "waited":
                return _("Waited for a worker")
            case "paused":
                return _("Paused before a retry")
        return _("Ran") + (f" ({OUTCOMES[self.outcome]})" if self.outcome in OUTCOMES else "")

    @property
    def lasted(self) -> str:
        return duration(self.length.total_seconds() * 1000)


@dataclass(frozen=True, slots=True)
class Timeline:
    """All that there is to show of how a job went."""

    attempts: list[Attempt]
    left_out: int
    """Attempts before them, which are not shown."""
    spans: list[Span]
    begin: dt.datetime
    end: dt.datetime
    goes_on: bool
    """Whether ``end`` is now."""

    @property
    def total(self) -> str:
        return duration(sum((span.length for span in self.spans), _NONE).total_seconds() * 1000)

    def legend(self) -> list[tuple[str, str, str]]:
        """Return look, words and lengths of each kind of bar: all that the drawing says, added up."""
        lengths: dict[tuple[str, str], list[Span]] = {}
        for span in self.spans:
            lengths.setdefault((span.look, span.words), []).append(span)
        return [(look, words, _added_up(spans)) for (look, words), spans in lengths.items()]

    def svg(self) -> SafeString:
        """Return the line as SVG that grows with the page; what it shows is told by `legend` as well."""
        drawn = list(zip(self.spans, widths([span.length.total_seconds() for span in self.spans]), strict=True))
        return format_html(
            '<svg class="dct-timeline" width="100%" height="{}" role="img" aria-labelledby="dct-timeline-words">'
            '<line class="dct-timeline-axis" x1="0" x2="100%" y1="18" y2="18"></line>{}</svg>',
            _HEIGHT,
            format_html_join("", "{}", ((bar,) for bar in _bars(drawn))),
        )


def timeline(log: TaskLog, due: dt.datetime | None = None, now: dt.datetime | None = None) -> Timeline:
    """Return how ``log``'s job went; ``due`` is what its first start had to wait for, or the next one has to.

    Rows may be written by others, or in part: what can't be read is passed over.
    """
    now = now or dt.datetime.now(dt.UTC)
    begin = aware(log.enqueue_time)
    attempts = _attempts(log)
    left_out = max(0, len(attempts) - MOST)
    spans: list[Span] = []
    at, last = begin, ""
    for index, attempt in enumerate(attempts):
        if attempt.start is not None:
            attempt.before = max(_NONE, attempt.start - at)
            end = attempt.finish or (now if attempt.outcome == RUNNING else _next_start(attempts, index))
            attempt.ran = max(_NONE, end - attempt.start) if end is not None else None
            # The next attempt may be due after the end of the line, one that has started was not.
            spans += _between(at, attempt.start, due if due and due <= attempt.start else None, index == 0, last)
            if attempt.ran is not None:
                spans.append(Span("ran", attempt.ran, attempt.outcome, attempt.number))
            at = max(at, end or attempt.start)
        if index + 1 == left_out:
            spans = [Span("earlier", sum((span.length for span in spans), _NONE))]
        last = attempt.outcome
    goes_on = not log.is_completed
    finish = now if goes_on else aware(log.finish_time) if log.finish_time else at
    if last != RUNNING:
        spans += _between(at, finish, due, not attempts, last)
    return Timeline(attempts[left_out:], left_out, spans, begin, max(at, finish), goes_on)


def widths(lengths: Sequence[float], least: float = LEAST_WIDTH) -> list[float]:
    """Return percents of a line for ``lengths``: in proportion, but none below ``least`` as far as there is room."""
    if not lengths:
        return []
    least = min(least, 50 / len(lengths))
    raised: set[int] = set()
    while True:
        total = sum(length for index, length in enumerate(lengths) if index not in raised)
        room = 100 - least * len(raised)
        if total <= 0:
            # Nothing has a length: those that are left share what is left.
            equal = room / max(1, len(lengths) - len(raised))
            return [least if index in raised else equal for index in range(len(lengths))]
        shares = [least if index in raised else length / total * room for index, length in enumerate(lengths)]
        low = {index for index, share in enumerate(shares) if share < least}
        if not low - raised:
            return shares
        raised |= low


def aware(at: dt.datetime) -> dt.datetime:
    """Return a time of a row as one that can be compared with those of attempts."""
    return at if timezone.is_aware(at) else timezone.make_aware(at, timezone.get_default_timezone())


def _between(at: dt.datetime, start: dt.datetime, due: dt.datetime | None, first: bool, last: str) -> list[Span]:
    """Return what a job did between two runs: it was not due yet, then it waited; what can't be seen left out.

    ``due`` before ``at`` was for another run. Without one, a pause before a retry is taken for what it was meant to be.
    """
    pauses = last == AttemptOutcome.retried
    if due is None or due < at:
        parts: list[tuple[Kind, dt.timedelta]] = [("paused" if pauses else "waited", start - at)]
    else:
        parts = [
            ("deferred" if first else "paused" if pauses else "waited", min(due, start) - at),
            ("waited", start - due),
        ]
    return [Span(kind, length) for kind, length in parts if length >= NEGLIGIBLE]


def _bars(drawn: list[tuple[Span, float]]) -> Iterator[SafeString]:
    x = 0.0
    for span, width in drawn:
        top, height = _BAR if span.kind == "ran" else _LINE
        number = f" {span.number}" if span.kind == "ran" and span.number is not None else ""
        label = ""
        if width >= LABELED:
            narrow = "" if width >= LABELED_ALSO_NARROW else " dct-wide-only"
            label = format_html(
                '<text class="dct-timeline-label{}" x="{}%" y="48">{}</text>', narrow, f"{x + width / 2:.3f}",
                span.lasted,
            )  # fmt: skip
        yield format_html(
            '<g><title>{}{}: {}</title><rect class="dct-span dct-span-{}" x="{}%" width="{}%" y="{}" height="{}">'
            "</rect>{}</g>",
            span.words,
            number,
            span.lasted,
            span.look,
            f"{x:.3f}",
            f"{width:.3f}",
            top,
            height,
            label,
        )
        x += width


def _added_up(spans: Sequence[Span]) -> str:
    total = duration(sum((span.length for span in spans), _NONE).total_seconds() * 1000)
    if len(spans) == 1:
        return total
    times = ngettext("%(count)d time", "%(count)d times", len(spans)) % {"count": len(spans)}
    return _("%(total)s in all, %(times)s") % {"total": total, "times": times}


def _attempts(log: TaskLog) -> list[Attempt]:
    """Return a job's attempts, the one that runs among them."""
    stored = log.attempts if isinstance(log.attempts, list) else []
    attempts = [_attempt(entry) for entry in stored if isinstance(entry, dict)]
    start = aware(log.start_time) if log.start_time else None
    if log.status == JobStatus.in_progress:
        attempts.append(Attempt(len(attempts) + 1, log.worker_id, start, None, RUNNING))
    elif not attempts and start is not None and log.is_completed:
        # Its attempts are not known, only what came of them.
        finish = aware(log.finish_time) if log.finish_time else None
        error = _joined(log.error_class, log.error_message)
        attempts.append(Attempt(1, log.worker_id, start, finish, log.status, error))
    return attempts


def _attempt(entry: dict[str, Any]) -> Attempt:
    number = entry.get("attempt")
    return Attempt(
        number=number if isinstance(number, int) else None,
        worker=str(entry.get("worker") or ""),
        start=_parsed(entry.get("start_time")),
        finish=_parsed(entry.get("finish_time")),
        outcome=str(entry.get("outcome") or ""),
        error=_joined(entry.get("error_class"), entry.get("error_message")),
        traceback=shortened(str(entry.get("traceback") or "")),
    )


def _joined(name: Any, message: Any) -> str:
    return shortened(": ".join(str(part) for part in (name, message) if part))


def _next_start(attempts: Sequence[Attempt], index: int) -> dt.datetime | None:
    return next((later.start for later in attempts[index + 1 :] if later.start is not None), None)


def _parsed(text: Any) -> dt.datetime | None:
    try:
        at = parse_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return at if at is None or timezone.is_aware(at) else at.replace(tzinfo=dt.UTC)
