"""The report of a run, as Markdown: for a terminal and for a page."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from chaos.audit import EXAMPLES, Verdict
from chaos.faults import Event
from chaos.plan import LEASE
from chaos.times import Orphan, Times

REACHED_LATE = 2 * LEASE


@dataclass(frozen=True)
class Run:
    """What the report says of a run besides its verdict."""

    command: str
    seed: int
    seconds: float
    shape: str
    versions: Mapping[str, str]
    events: Sequence[Event]
    started: float


def write(run: Run, verdict: Verdict) -> str:
    """Return the report."""
    return "\n".join([*_head(run, verdict), *_numbers(verdict), *_checks(verdict), *_faults(run, verdict.times)]) + "\n"


def _head(run: Run, verdict: Verdict) -> Iterator[str]:
    day = dt.datetime.fromtimestamp(run.started, dt.UTC).date()
    outcome = "the promise was kept" if verdict.kept else "THE PROMISE WAS BROKEN"
    yield f"# Chaos run of {day}, seed {run.seed}: {outcome}"
    yield ""
    yield f"`{run.command}`, {run.seconds:.0f} s in all. {run.shape}"
    yield ""
    yield ", ".join(f"{name} {number}" for name, number in run.versions.items()) + "."
    yield ""


def _numbers(verdict: Verdict) -> Iterator[str]:
    yield from _table(
        ("what", "number"),
        [
            ("jobs accepted", verdict.accepted),
            ("jobs stored though their producer was killed or cut off before it was told", verdict.unheard),
            ("jobs that ran", verdict.ran),
            *((f"jobs {status}", count) for status, count in sorted(verdict.statuses.items())),
            ("runs", verdict.runs),
            *((f"runs beyond the first: {cause}", count) for cause, count in sorted(verdict.repeats.causes.items())),
        ],
    )


def _checks(verdict: Verdict) -> Iterator[str]:
    yield from _table(
        ("what must not be", "found", ""),
        [(check.what, len(check.found), _mark(check.failed, check.tolerated)) for check in verdict.checks],
    )
    for check in verdict.checks:
        if check.found:
            yield f"{check.what[0].upper()}{check.what[1:]}:"
            yield ""
            yield from (f"- {example}" for example in sorted(check.found)[:EXAMPLES])
            if len(check.found) > EXAMPLES:
                yield f"- ... and {len(check.found) - EXAMPLES} more"
            yield ""


def _mark(failed: bool, tolerated: bool) -> str:
    return "BROKEN" if failed else "tolerated" if tolerated else "ok"


def _faults(run: Run, times: Times) -> Iterator[str]:
    yield "From the end of a fault to the next job that came to its end, in seconds:"
    yield ""
    counts = Counter(event.kind for event in run.events)
    rows = [
        (kind, counts[kind] or len(found), *_middle_and_worst(found)) for kind, found in sorted(times.next_end.items())
    ]
    yield from _table(("fault", "times", "median", "worst"), rows)
    if times.waits:
        waits = [seconds for seconds, _ in times.waits]
        yield (
            f"From acceptance to the first start, of jobs due at once: median {median(waits):.2f} s, worst "
            + ", ".join(f"{seconds:.1f} s ({job_id})" for seconds, job_id in times.waits[:3])
            + "."
        )
        yield ""
    if not times.orphans:
        return
    yield "From the death (or the freezing) of a worker to the new start of each job that it ran, in seconds;"
    yield f"a lease is {LEASE:g} s:"
    yield ""
    by_cause: dict[str, list[float]] = defaultdict(list)
    for orphan in times.orphans:
        by_cause[orphan.cause].append(orphan.seconds)
    late = [orphan for orphan in times.orphans if orphan.seconds > REACHED_LATE]
    counts, alone = (Counter(orphan.cause for orphan in found) for found in (late, filter(_is_undisturbed, late)))
    by_lateness = [
        (cause, len(found), *_middle_and_worst(found), counts[cause], alone[cause])
        for cause, found in sorted(by_cause.items())
    ]
    head = ("cause", "jobs", "median", "worst", f"after more than {REACHED_LATE:g} s", "though nothing else happened")
    yield from _table(head, by_lateness)
    for orphan in sorted(late, key=lambda orphan: (not _is_undisturbed(orphan), -orphan.seconds))[:EXAMPLES]:
        meanwhile = ", ".join(orphan.meanwhile) or "nothing else"
        yield f"- {orphan.job_id}, {orphan.cause}: {orphan.seconds:.1f} s; meanwhile {meanwhile}"


def _is_undisturbed(orphan: Orphan) -> bool:
    return not orphan.meanwhile


def _middle_and_worst(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{median(seconds):.2f}", f"{max(seconds):.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    cells = [head, *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    yield ""
