#!/usr/bin/env python
"""Runs the shop with real processes, gives it a month's orders in a minute, and checks that no job was lost.

    python example_project/demo.py           work, print a summary, stop; exit code 0 only if all went well
    python example_project/demo.py --keep    leave it running for browsing, until Ctrl-C

It needs no server that runs beforehand. All that it writes is in one folder, `var/` beside this file.
"""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

import django

HERE = Path(__file__).resolve().parent
VAR = HERE / "var"
ADMIN = "admin"  # name and password: good enough where only this machine can ask


def main() -> int:
    options = parse_arguments()
    options.var = options.var.resolve()
    os.environ["SHOP_VAR"] = str(options.var)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    django.setup()

    from driver.folder import FolderRefused, claim, empty
    from driver.stage import set_up, stop_redis

    try:
        lock = claim(options.var, ours=options.var == VAR)
        stop_redis()  # of an earlier run that was killed
        empty(options.var)
        set_up(ADMIN, ADMIN)
        faults = open_shop(options, lock)
    except FolderRefused as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 1 if faults else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--keep", action="store_true", help="leave it running, with an order every few seconds")
    add("--var", type=Path, default=VAR, metavar="FOLDER", help="where everything is written")
    add("--port", type=int, help="port of the web server (default: a free one)")
    add("--workers", type=int, default=2, metavar="N", help="worker processes (default: 2)")
    add("--web-orders", type=int, default=200, metavar="N", help="orders over HTTP (default: 200)")
    add("--timeout", type=float, default=110, metavar="SECONDS", help="give up after (default: 110)")
    return parser.parse_args()


def open_shop(options: argparse.Namespace, lock: int) -> list[str]:
    """Start the shop, let it work, and stop it again whatever happens. Returns what went wrong."""
    from django_cfg_tasks import get_rearq_client

    from driver.load import Accepted, Customers
    from driver.report import print_verdict
    from driver.servers import ServerDied, Servers
    from driver.stage import stop_redis
    from driver.work import TooSlow, browse, work

    faults: list[str] = []
    with contextlib.ExitStack() as closing:
        closing.callback(stop_redis)
        closing.callback(get_rearq_client().close)
        servers = Servers(options.var / "logs", lock, options.port)
        closing.callback(lambda: faults.extend(servers.stop()))
        accepted = Accepted()
        customers = Customers(servers.port, accepted)
        closing.callback(customers.close)
        try:
            print(f"Starting a web server, {options.workers} worker(s), a timer and Redis ...", flush=True)
            servers.start(options.workers)
            faults += work(servers, customers, accepted, options.web_orders, options.timeout)
            if options.keep:
                print_verdict(faults)
                browse(servers, customers, ADMIN)
            else:
                print("\nTo look at it all in the admin, run `make dev`.")
        except (ServerDied, TooSlow) as reason:
            faults.append(str(reason))
        finally:
            print("Stopping ...", flush=True)
    if faults or not options.keep:
        print_verdict(faults)
    return faults


if __name__ == "__main__":
    sys.exit(main())
