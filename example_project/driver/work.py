"""A day in the shop: give it all its work, follow that to its end, and say what came of it."""

import itertools
import time

from django_cfg_tasks.models import TaskLog

from driver.audit import QueueRow, audit, figures, history_is_complete, settled_jobs, unfinished
from driver.load import VIEWS, Accepted, Customers, feed_file
from driver.report import Progress, print_jobs
from driver.servers import Servers

LOOK_EVERY = 0.5  # seconds
HISTORY_LAG = 10  # seconds that the job history may be behind
TRICKLE = 4  # seconds between two orders


class TooSlow(Exception):
    """The time is over and there are jobs left; the message names them."""


def work(servers: Servers, customers: Customers, accepted: Accepted, web_orders: int, timeout: float) -> list[str]:
    """Give the shop its work, wait until it is done, and print what came of it. Returns what is wrong."""
    started = time.monotonic()
    feed_file(accepted)
    customers.rush(web_orders)
    jobs = follow(servers, customers, started, timeout)
    seconds = time.monotonic() - started

    logs = [log for log in TaskLog.objects.all() if log.job_id in jobs]
    rejected = sum(len(log.result["rejected"]) for log in logs if log.task_name == "import_orders" and log.success)
    print_jobs(logs)
    now = figures()
    print(
        f"\n{len(jobs):,} jobs in {seconds:.1f} s, that is {len(jobs) / seconds:,.0f} per second. "
        f"They made {now.orders:,} orders, {now.invoices:,} invoices and {now.mails:,} mails."
        f"\n{rejected} lines of the file and {accepted.refusals} web orders were wrong, and refused."
    )
    return list(audit(accepted, jobs))


def follow(servers: Servers, customers: Customers, started: float, timeout: float) -> dict[str, QueueRow]:
    """Show how the work goes on until all is done, and return all jobs."""
    progress = Progress()
    history_deadline = None
    try:
        while True:
            servers.check()
            now, seconds = figures(), time.monotonic() - started
            progress.show(seconds, now)
            if not customers.waiting and now.done == now.jobs.total() and (jobs := settled_jobs()) is not None:
                history_deadline = history_deadline or seconds + HISTORY_LAG
                if history_is_complete(jobs) or seconds > history_deadline:
                    return jobs
            if seconds > timeout:
                left = unfinished() or ["none of them; an answer of the web server, or the cron task"]
                raise TooSlow(f"not done after {timeout:.0f} s. Left: {'; '.join(left)}")
            time.sleep(LOOK_EVERY)
    finally:
        progress.end()


def browse(servers: Servers, customers: Customers, admin: str) -> None:
    """Leave the shop open until Ctrl-C, with an order every few seconds."""
    print(
        f"\nThe shop is open, with an order every {TRICKLE} seconds:"
        f"\n  shop           {servers.url}/"
        f"\n  admin          {servers.url}/admin/tasks/tasklog/   (user {admin}, password {admin})"
        f"\n  jobs as JSON   {servers.url}/cfg/tasks/logs/        (the same login)"
        f"\n\nCtrl-C stops everything.",
        flush=True,
    )
    try:
        for view in itertools.cycle(VIEWS):
            customers.order(view)
            time.sleep(TRICKLE)
            servers.check()
    except KeyboardInterrupt:
        print()
