"""Scrapes a web server's metrics all the while, and holds them against what is in SQL at the end."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from chaos.stage import TOKEN
from chaos.witness import FINAL, JobRow
from tests.processes import Process
from tests.project import TaskProject
from tests.servers import free_port
from tests.waiting import wait_until

EVERY = 0.5
KEPT = 2.0
"""Longer than an answer is kept by the server."""
ENQUEUED = "django_cfg_tasks_jobs_enqueued_total"
ENDED = "django_cfg_tasks_jobs_finished_total"

Counters = dict[tuple[str, ...], float]
"""Values of counters, by name and labels."""


class Scraper:
    """A web server that no fault strikes, and a thread that asks it for metrics."""

    def __init__(self, project: TaskProject) -> None:
        self._port = free_port()
        self._web: Process = project.managed("runserver", "--noreload", f"127.0.0.1:{self._port}", name="web")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scraper", daemon=True)
        self._last: Counters = {}
        self.scrapes = self.unanswered = self.blind = 0
        """How many there were; how many got no answer; how many were told that Redis or SQL are away."""
        self.fallen: list[str] = []
        """Counters that were lower than before."""

    def start(self) -> None:
        """Return when the server answers."""
        wait_until(self._scrape, "the web server tells metrics", 60)
        self._thread.start()

    def stop(self, jobs: Mapping[str, JobRow]) -> tuple[list[str], str]:
        """End, while all is quiet; return in what a last scrape differs from ``jobs``, and what there was to see."""
        self._stopping.set()
        self._thread.join()
        time.sleep(KEPT)
        wrong = [] if self._scrape() else ["the last scrape got no answer"]
        told: Counter[str] = Counter()
        for (name, *labels), value in self._last.items():
            told["enqueued" if name == ENQUEUED else dict(zip(labels[::2], labels[1::2], strict=True))["outcome"]] += (
                int(value)
            )
        truth = Counter(job.status for job in jobs.values())
        expected = {"enqueued": len(jobs), **{status: truth[status] for status in FINAL}}
        wrong += [
            f"{name}: told {told[name]}, in SQL {number}" for name, number in expected.items() if told[name] != number
        ]
        self._web.sigkill()
        numbers = ", ".join(f"{number:,} {name}" for name, number in sorted(told.items()) if number)
        about = (
            f"{self.scrapes} scrapes, {self.blind} of them while Redis or SQL were away, {self.unanswered} without an "
            f"answer; the last one tells {numbers}."
        )
        return wrong, about

    def _run(self) -> None:
        while not self._stopping.wait(EVERY):
            self._scrape()

    def _scrape(self) -> bool:
        url = f"http://127.0.0.1:{self._port}/cfg/tasks/metrics"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        self.scrapes += 1
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310 - our own
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            self.unanswered += 1
            return False
        counters: Counters = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in (ENQUEUED, ENDED):
                    key = (sample.name, *(word for pair in sorted(sample.labels.items()) for word in pair))
                    counters[key] = sample.value
                elif sample.name == "django_cfg_tasks_store_up" and not sample.value:
                    self.blind += 1
        self.fallen += [
            f"{' '.join(key)}: {self._last[key]:.0f}, then {value:.0f}"
            for key, value in counters.items()
            if value < self._last.get(key, 0)
        ]
        self._last |= counters
        return True
