"""``python -m chaos``: make a stage, draw a plan, let it happen, judge. Exit code 0 only if the promise was kept.

    python -m chaos --jobs 1000                   about 90 seconds
    python -m chaos --jobs 20000 --minutes 20     the long run
    python -m chaos --seed 7 --keep               the plan of seed 7, and keep its folder

It needs no server that runs beforehand. All that it writes is in one temporary folder, which is kept, and named, if
the promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from chaos import report
from chaos.audit import audit
from chaos.drive import Drive
from chaos.fleet import Fleet
from chaos.plan import FAULTS, draw
from chaos.scraper import Scraper
from chaos.stage import Stage


def main() -> int:
    """Run, and return the exit code."""
    options = parse_arguments()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    kept = False
    try:
        kept = run(options, folder)
    except KeyboardInterrupt:
        say("Interrupted.")
    except Exception:
        say(traceback.format_exc())
    if kept and not options.keep:
        shutil.rmtree(folder)
    else:
        say(f"The ledger and all logs are in {folder}")
    return 0 if kept else 1


def run(options: argparse.Namespace, folder: Path) -> bool:
    """Run in ``folder``; no process is left behind, whatever happens. Tell whether the promise was kept."""
    plan = draw(
        options.seed,
        jobs=options.jobs,
        seconds=options.minutes * 60,
        producers=options.producers,
        workers=options.workers,
        kinds=options.faults,
    )
    say(
        f"Seed {options.seed}: {plan.jobs:,} jobs in {plan.seconds:.0f} s, {len(plan.faults)} faults. "
        f"All is in {folder}"
    )
    for fault in plan.faults:
        say(f"  {fault.at:6.1f} s  {fault.kind} {fault.target}" + (f", {fault.seconds:g} s" if fault.seconds else ""))
    started = time.time()
    with contextlib.closing(Stage(folder)) as stage:
        project = stage.set_up()
        versions = stage.versions()
        fleet = Fleet(project, folder, plan, options.workers, options.timers)
        drive = Drive(plan, stage, fleet, Scraper(project), say)
        verdict = audit(drive.run())
    about = report.Run(
        command=f"python -m chaos --jobs {options.jobs} --minutes {options.minutes:g} --seed {options.seed}",
        seed=options.seed,
        seconds=time.time() - started,
        shape=(
            f"{options.producers} producers, {options.workers} workers on two hosts and {options.timers} timers; "
            f"{len(drive.events)} faults."
        ),
        versions=versions,
        events=drive.events,
        started=started,
    )
    text = report.write(about, verdict)
    say("\n" + text)
    (folder / "report.md").write_text(text)
    if options.report is not None:
        options.report.write_text(text)
    return verdict.kept


def parse_arguments() -> argparse.Namespace:
    """Return the options; ``faults`` as a list of kinds."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", type=int, default=1000, metavar="N", help="jobs to be accepted (default: 1000)")
    add("--minutes", type=float, default=0.75, metavar="M", help="how long faults and jobs come (default: 0.75)")
    add("--seed", type=int, default=secrets.randbelow(1_000_000), help="what decides it all (default: a new one)")
    add("--producers", type=int, default=3, metavar="N", help="producer processes (default: 3)")
    add("--workers", type=int, default=4, metavar="N", help="worker processes (default: 4)")
    add("--timers", type=int, default=2, metavar="N", help="timer processes (default: 2)")
    add("--faults", default="all", metavar="KINDS", help=f"all, none, or some of {','.join(FAULTS)}")
    add("--report", type=Path, metavar="FILE", help="write the report, as Markdown, to this file too")
    add("--keep", action="store_true", help="keep the folder in any case")
    options = parser.parse_args()
    chosen = {"all": ",".join(FAULTS), "none": ""}.get(options.faults, options.faults)
    options.faults = [kind for kind in chosen.split(",") if kind]
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"there is no fault {sorted(unknown)[0]!r}; there are: {', '.join(FAULTS)}")
    return options


def say(line: str) -> None:
    """Print at once: a pipe must not keep it back."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
