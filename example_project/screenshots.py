#!/usr/bin/env python
"""Takes the pictures of the admin that the docs show: the shop works, and Chromium looks at it.

    python example_project/screenshots.py                     into docs/images/
    python example_project/screenshots.py --into FOLDER       elsewhere, to look at first

All jobs are real ones, run by real workers in a minute. Then the history's times are moved, so that this minute
looks like a day; that, and where its files lie, is all that is made up. Needs what the tests need: Playwright, and
Chromium on PATH or in CHROMIUM.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import django
import django_cfg_tasks

HERE = Path(__file__).resolve().parent
PACKAGES = Path(django_cfg_tasks.__file__).resolve().parent.parent
ADMIN = "admin"
FAILURES = 90
LINES = 3001  # of the till's file
BUSY = 20  # jobs that run
WIDTH, PHONE = 1280, 390
LOG = "/admin/tasks/tasklog/"
DASHBOARD = "/admin/tasks/dashboard/?range=24h"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=HERE.parent / "docs" / "images", metavar="FOLDER")
    into = parser.parse_args().into
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as var:
        os.environ["SHOP_VAR"] = var
        os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
        django.setup()
        with open_shop(Path(var)) as url:
            take_pictures(url, into)
    return 0


@contextlib.contextmanager
def open_shop(var: Path) -> Iterator[str]:
    """Yield the address of a shop that has a day behind it."""
    from django_cfg_tasks import get_rearq_client

    from driver.folder import claim
    from driver.load import Accepted, Customers
    from driver.servers import Servers
    from driver.stage import set_up, stop_redis
    from driver.work import work
    from driver.yesterday import draw_out

    with contextlib.ExitStack() as closing:
        lock = claim(var, ours=True)
        set_up(ADMIN, ADMIN)
        closing.callback(stop_redis)
        closing.callback(get_rearq_client().close)
        servers = Servers(var / "logs", lock, port=None)
        closing.callback(servers.stop)
        accepted = Accepted()
        customers = Customers(servers.port, accepted)
        closing.callback(customers.close)
        servers.start(workers=2)
        if faults := work(servers, customers, accepted, web_orders=200, timeout=180):
            raise SystemExit("\n".join(faults))
        draw_out(fail(), {str(HERE): "/srv/shop", str(PACKAGES): "/srv/lib"})
        yield servers.url


def fail() -> set[str]:
    """Have files of the till imported that are not there, and return the jobs when they have failed."""
    from shop.tasks import import_orders

    calls = [(f"till-{number}.csv", 2, 201) for number in range(1, FAILURES + 1)]
    ids = {job.job_id for job in import_orders.using(job_retry=0).enqueue_many(calls)}
    wait_for("failed", FAILURES, job_id__in=ids)
    return ids


def leave_work() -> None:
    """Leave some jobs of each kind on top of the list."""
    from driver.load import FILE
    from shop.models import Order
    from shop.tasks import charge_card, import_orders, send_receipt, write_daily_summary, write_invoice

    tomorrow = write_daily_summary.using(countdown=timedelta(minutes=40))
    tomorrow.enqueue_many([(date(2025, 10, day),) for day in range(1, 8)])
    for order in Order.objects.filter(status=Order.Status.PAID)[:3]:
        tomorrow.enqueue(date(2025, 10, 9)).cancel()
        charge_card.using(user=1).enqueue(order.number)
        send_receipt.enqueue(order.number)
        mistake = write_invoice.using(job_retry=0).enqueue(order.number.lower())  # there is no such order
    wait_for("failed", 1, job_id=mistake.job_id)
    import_orders.enqueue_many([(FILE, 2, LINES)] * 4)
    wait_for("in_progress", 1)


def queue_up() -> None:
    """Let the queue get long."""
    from driver.load import CHUNK, FILE
    from shop.tasks import import_orders

    chunks = [(FILE, line, line + CHUNK - 1) for line in range(2, LINES, CHUNK)]
    import_orders.enqueue_many(chunks * 30)
    wait_for("in_progress", BUSY)


def wait_for(status: str, count: int, **which: Any) -> None:
    from django_cfg_tasks.models import TaskLog

    deadline = time.monotonic() + 60
    while TaskLog.objects.filter(status=status, **which).count() < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {count} jobs that are {status}")
        time.sleep(0.1)


def take_pictures(url: str, into: Path) -> None:
    """Log in, and take each page as it is seen: in the light and in the dark, and on a phone."""
    from django_cfg_tasks.models import TaskLog
    from playwright.sync_api import sync_playwright

    with contextlib.ExitStack() as closing:
        playwright = closing.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--disable-gpu", "--no-first-run"])
        page = browser.new_page(base_url=url)
        page.goto(LOG)
        page.get_by_label("Username").fill(ADMIN)
        page.get_by_label("Password").fill(ADMIN)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", level=1).wait_for()
        login = page.context.storage_state()
        # Django's models can't be asked from here, which is inside of Playwright's event loop.
        outside = closing.enter_context(ThreadPoolExecutor(1))
        charges = TaskLog.objects.failed().filter(task_name="charge_card")
        failed = outside.submit(lambda: charges.latest("enqueue_time").pk).result()
        outside.submit(leave_work).result()
        pictures = [  # its name, page, width, height, theme
            ("list", LOG, WIDTH, 900, "light"),
            ("dashboard", DASHBOARD, WIDTH, 1300, "light"),
            ("dashboard-dark", DASHBOARD, WIDTH, 900, "dark"),
            ("dashboard-phone", DASHBOARD, PHONE, 900, "light"),
            ("job", f"{LOG}{failed}/change/", WIDTH, 1180, "light"),
        ]
        for name, path, width, height, theme in pictures:
            context = browser.new_context(
                base_url=url,
                color_scheme=theme,
                viewport={"width": width, "height": height},
                timezone_id="UTC",
                storage_state=login,
            )
            page = context.new_page()
            if name == "dashboard":
                outside.submit(queue_up).result()
            page.goto(path)
            file = into / f"{name}.png"
            page.screenshot(path=file, animations="disabled")
            print(f"{file}: {width} x {height}, {file.stat().st_size / 1000:.0f} kB")
            context.close()
        browser.close()


def find_chromium() -> str:
    names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    return found or sys.exit("no Chromium on PATH; apt install chromium, or name one: CHROMIUM=/path/to/chrome")


if __name__ == "__main__":
    sys.exit(main())
