"""Decides whether the shop kept its promises, by comparing what it accepted with what is there.

Three witnesses that know nothing of each other: the answers that callers got (`Accepted`), the queue's own
table (read as plain SQL), and what a customer or an operator sees: orders, invoices, mails, the job history.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django_cfg_tasks.models import TaskLog

from data import make_orders
from driver.load import MISTAKES, VIEWS, Accepted
from shop.gateway import BROKEN, BUSY_TIMES, DECLINED
from shop.models import Cart, Invoice, Order
from shop.tasks import CART_LIFETIME

FINAL = {"success", "failed", "expired", "canceled"}


@dataclass(frozen=True)
class QueueRow:
    """A job as the queue's own table has it."""

    job_id: str
    task: str
    status: str


@dataclass(frozen=True)
class Figures:
    """How far things are at one moment."""

    orders: int
    invoices: int
    mails: int
    jobs: Counter[str]  # by status, as the queue's table has it

    @property
    def done(self) -> int:
        return sum(count for status, count in self.jobs.items() if status in FINAL)


def figures() -> Figures:
    """Return the figures of this moment."""
    return Figures(
        orders=Order.objects.count(),
        invoices=Invoice.objects.count(),
        mails=Invoice.objects.filter(receipt_sent_at__isnull=False).count(),
        jobs=Counter(dict(sql("SELECT status, COUNT(*) FROM rearq_job GROUP BY status"))),
    )


def queue_rows() -> dict[str, QueueRow]:
    """Return all jobs of the queue's table, by job id."""
    return {row[0]: QueueRow(*row) for row in sql("SELECT job_id, task, status FROM rearq_job")}


def settled_jobs() -> dict[str, QueueRow] | None:
    """Return all jobs if they are final, and None while one of them is not.

    A job enqueues those that follow from it before it ends. So none is to come but cron's, and one firing of
    that is waited for.
    """
    rows = queue_rows()
    return rows if all(row.status in FINAL for row in rows.values()) and not old_carts().exists() else None


def history_is_complete(jobs: dict[str, QueueRow]) -> bool:
    """Tell whether the job history has caught up with these jobs; it is written a moment later."""
    return TaskLog.objects.filter(status__in=FINAL).count() >= len(jobs)


def audit(accepted: Accepted, jobs: dict[str, QueueRow]) -> Iterator[str]:
    """Yield all that is wrong. Nothing means that every promise was kept."""
    logs = {log.job_id: log for log in TaskLog.objects.all()}
    yield from accepted.faults
    yield from wrong_jobs(accepted, jobs, logs)
    yield from wrong_payments(accepted, logs)
    yield from wrong_goods(accepted, jobs, logs)


def wrong_jobs(accepted: Accepted, jobs: dict[str, QueueRow], logs: dict[str, TaskLog]) -> Iterator[str]:
    """Compare the promised jobs, the queue's table and the history with each other."""
    promised = accepted.job_ids()
    yield from difference("promised job not in the queue's table", promised, jobs)
    for job_id, task in promised.items():
        if job_id in jobs and jobs[job_id].task != task:
            yield f"job {job_id} is a {jobs[job_id].task}, not a {task}"
    for row in jobs.values():
        if row.status not in FINAL:
            yield f"{row.task} {row.job_id} is {row.status}"
    yield from difference("job of the queue's table not in the history", jobs, logs)
    # Cron has gone on meanwhile, so read the table again.
    yield from difference("job of the history not in the queue's table", logs, queue_rows())
    for job_id in jobs.keys() & logs.keys():
        row, log = jobs[job_id], logs[job_id]
        if (row.task, row.status) != (log.task_name, log.status):
            yield (
                f"job {job_id} is {row.task}, {row.status} in the queue's table,"
                f" and {log.task_name}, {log.status} in the history"
            )
        if log.success != (log.status == "success"):
            yield f"{row.task} {job_id} is {log.status}, but its success is {log.success}"


def wrong_payments(accepted: Accepted, logs: dict[str, TaskLog]) -> Iterator[str]:
    """Check that the right jobs failed and were retried: the cards say which."""
    for order in accepted.web_orders:
        log = logs.get(order.job_id)
        if log is None:
            continue  # said already
        if log.args != [order.number]:
            yield f"charge_card {log.job_id} was for {log.args}, not for {order.number}"
        status = "failed" if order.card == BROKEN else "success"
        # At least so many: a database that was busy for too long is a reason to try again, too.
        retries = BUSY_TIMES.get(order.card, log.job_retry if order.card == BROKEN else 0)
        if log.status != status or log.job_retries < retries:
            yield (
                f"charge_card for {order.number} with {order.card} is {log.status} after {log.job_retries} retries,"
                f" not {status} after {retries}: {log.error_message or 'no error'}"
            )
    charges = {order.job_id for order in accepted.web_orders}
    for log in logs.values():
        if log.status != "success" and log.job_id not in charges and log.status in FINAL:
            yield f"{log.task_name} {log.job_id} is {log.status}: {log.error_message}"


def wrong_goods(accepted: Accepted, jobs: dict[str, QueueRow], logs: dict[str, TaskLog]) -> Iterator[str]:
    """Check that there is one order, invoice and mail for everything that was accepted, and no other."""
    imported = make_orders.good_numbers()
    wanted = imported | {order.number for order in accepted.web_orders}
    paid = imported | {order.number for order in accepted.web_orders if order.card not in {BROKEN, DECLINED}}
    yield from same("order", wanted, Order.objects.values_list("number", flat=True))
    yield from same("paid order", paid, Order.objects.filter(status="paid").values_list("number", flat=True))
    yield from same("invoice", paid, Invoice.objects.values_list("order__number", flat=True))
    yield from same("invoice file", paid, (path.stem for path in Path(settings.MEDIA_ROOT).rglob("*.html")))
    yield from same("mail", paid, mailed_orders())

    # The jobs that followed, each of which nobody but another job asked for.
    tasks = Counter(row.task for row in jobs.values())
    for task, count in {"write_invoice": len(paid), "send_receipt": len(paid)}.items():
        if tasks[task] != count:
            yield f"there are {tasks[task]} jobs of {task}, not {count}"

    reports = [logs[job_id].result or {} for job_id in accepted.imports if job_id in logs]
    rejected = (line["order"] for report in reports for line in report.get("rejected", []))
    yield from same("rejected line", set(make_orders.DEFECTS), rejected)
    known = sum(report.get("known", 0) for report in reports)
    if known != len(make_orders.REPEATED):
        yield f"{known} repeated lines were recognised, not {len(make_orders.REPEATED)}"
    refusals = len(VIEWS) * len(MISTAKES)
    if accepted.refusals != refusals:
        yield f"{accepted.refusals} wrong web orders were refused, not {refusals}"


def mailed_orders() -> Iterator[str]:
    """Yield the order number of each mail that was sent."""
    mark = "X-Order: "
    for path in Path(settings.EMAIL_FILE_PATH).glob("*"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(mark):
                yield line.removeprefix(mark)


def old_carts() -> QuerySet[Cart]:
    """Return the carts that the cron task has still to delete."""
    return Cart.objects.filter(touched_at__lt=timezone.now() - CART_LIFETIME)


def unfinished() -> list[str]:
    """Say which jobs are not final."""
    rows = Counter((row.task, row.status) for row in queue_rows().values() if row.status not in FINAL)
    return [f"{count} of {task}: {status}" for (task, status), count in sorted(rows.items())]


def same(what: str, wanted: Iterable[str], found: Iterable[str]) -> Iterator[str]:
    """Yield what is missing, there twice, or not wanted."""
    wanted, counts = set(wanted), Counter(found)
    yield from difference(f"{what} missing", wanted, counts)
    yield from difference(f"{what} too many", counts, wanted)
    if twice := [name for name, count in counts.items() if count > 1]:
        yield f"{what} more than once{some(twice)}"


def difference(fault: str, these: Iterable[str], those: Iterable[str]) -> Iterator[str]:
    """Yield one line that says which of these are not among those, if any."""
    if missing := set(these) - set(those):
        yield f"{fault}{some(missing)}"


def some(names: Collection[str]) -> str:
    """Return how many there are, and which ones; of many, the first."""
    return f" ({len(names)}): " + ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")


def sql(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()
