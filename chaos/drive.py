"""Drives one run: lets the plan happen, waits until all is final and quiet, and collects the evidence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import psycopg
import redis

from chaos.audit import Evidence
from chaos.faults import Event, Faults
from chaos.fleet import Fleet
from chaos.ledger import load
from chaos.plan import Plan
from chaos.scraper import Scraper
from chaos.stage import Stage
from chaos.witness import FINAL, listed_pids, read_jobs, read_redis

TICK = 0.03
LOOK_EVERY = 0.5
SAY_EVERY = 5.0
FINAL_SECONDS = 120.0
"""How long after the last fault and the last accepted job all may take to be final: a sweep or two."""
QUIET_SECONDS = 60.0
"""How long the history and the lists in Redis may take to catch up after that."""


class Drive:
    """One run."""

    def __init__(self, plan: Plan, stage: Stage, fleet: Fleet, scraper: Scraper, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._fleet = fleet
        self._scraper = scraper
        self._say = say
        self._planned, self._planned_seconds = plan.jobs, plan.seconds
        self._faults = Faults(plan, stage, fleet, lambda line: say(f"{self._seconds:6.1f} s  {line}"))
        self._complaints: list[str] = []
        self._began = 0.0
        self._next_line = 0.0

    @property
    def events(self) -> list[Event]:
        """What was inflicted."""
        return self._faults.events

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def run(self) -> Evidence:
        """Let it all happen, stop everything, and return the evidence."""
        self._fleet.start()
        self._scraper.start()
        self._began = time.monotonic()
        self._fleet.start_producers()
        self._until(self._all_accepted, "all is accepted, and the last fault is over", self._planned_seconds * 2 + 60)
        self._until(self._all_final, "all jobs are final", FINAL_SECONDS)
        self._until(self._quiet, "the history is complete, and Redis has forgotten the dead", QUIET_SECONDS)
        told_wrong, about = self._scraper.stop(read_jobs(self._stage))
        self._say(f"{self._seconds:6.1f} s  metrics: {about}")
        self._say(f"{self._seconds:6.1f} s  stopping all")
        self._fleet.stop()
        return Evidence(
            ledger=load(self._stage.folder),
            jobs=read_jobs(self._stage),
            doorbell=read_redis(self._stage),
            lives=self._fleet.lives,
            events=self._faults.events,
            left_out=self._faults.left_out,
            told_wrong=told_wrong,
            told_less=self._scraper.fallen,
            complaints=[*self._complaints, *self._fleet.faults],
        )

    def _until(self, condition: Callable[[], bool], what: str, limit: float) -> None:
        began = self._seconds
        next_look = began
        while True:
            self._fleet.supervise()
            self._faults.act(self._seconds)
            self._follow()
            if self._seconds >= next_look:
                if condition():
                    self._say(f"{self._seconds:6.1f} s  {what}")
                    return
                next_look = self._seconds + LOOK_EVERY
            if self._seconds > began + limit:
                self._complaints.append(f"waited {limit:g} s in vain until {what}")
                self._say(f"{self._seconds:6.1f} s  {self._complaints[-1]}")
                return
            time.sleep(TICK)

    def _statuses(self) -> Counter[str] | None:
        if not self._stage.postgres.running:
            return None
        try:
            return self._stage.statuses()
        except psycopg.Error:
            return None

    def _all_accepted(self) -> bool:
        return not self._fleet.producing and not self._faults.pending

    def _all_final(self) -> bool:
        statuses = self._statuses()
        return statuses is not None and all(status in FINAL for status in statuses)

    def _quiet(self) -> bool:
        try:
            strangers = listed_pids(self._stage) - {life.pid for life in self._fleet.now.values()}
            return not strangers and all(job.history == job.status for job in read_jobs(self._stage).values())
        except (psycopg.Error, redis.RedisError):
            return False

    def _follow(self) -> None:
        if self._seconds < self._next_line:
            return
        self._next_line = self._seconds + SAY_EVERY
        statuses = self._statuses()
        if statuses is None:
            self._say(f"{self._seconds:6.1f} s  PostgreSQL does not answer")
            return
        final = sum(statuses[status] for status in FINAL)
        others = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status not in FINAL)
        self._say(
            f"{self._seconds:6.1f} s  {statuses.total():,} of {self._planned:,} stored, {final:,} final; {others}"
        )
