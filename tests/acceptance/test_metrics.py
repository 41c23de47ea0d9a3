"""Metrics of the whole system in the web process, and those of each worker on its own port."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import Process
from tests.project import TaskProject
from tests.redis_server import RedisServer
from tests.servers import free_port
from tests.waiting import wait_until

TOKEN = "a-token-of-the-tests"
PREFIX = "django_cfg_tasks_"
TASKS = """\
import time
from django_cfg_tasks import task

@task
async def good(number: int):
    return number

@task(queue="reports", job_retry=1, job_retry_after=0)
def bad():
    raise ValueError("no paper")

@task(queue="later")
async def later(): ...

@task(queue="slow", job_retry=0)
def slow():
    time.sleep(60)
"""
Samples = dict[str, float]


def ask(url: str, **headers: str) -> str:
    """Return what is answered; `urllib.error.HTTPError` for what is no 200."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode()


def samples(text: str) -> Samples:
    """Return values by name and labels, as in ``queue_jobs default ready``, without the prefix that all share."""
    return {
        " ".join(
            [sample.name.removeprefix(PREFIX), *(sample.labels[name] for name in sorted(sample.labels))]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_system(web: str) -> Samples:
    return samples(ask(web, Authorization=f"Bearer {TOKEN}"))


def of_process(port: int) -> Samples:
    try:
        return samples(ask(f"http://127.0.0.1:{port}/metrics"))
    except (OSError, http.client.HTTPException):
        return {}


@contextmanager
def served(project: TaskProject) -> Iterator[str]:
    """Run the project's web server; yields the address of its metrics."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/cfg/tasks/metrics"
    server = project.managed("runserver", "--noreload", f"127.0.0.1:{port}", name="web")
    try:
        wait_until(lambda: _answers(url), "the web server answers", 60)
        yield url
    finally:
        server.sigkill()


def _answers(url: str) -> bool:
    try:
        ask(url)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.long
def test_metrics_of_the_system_and_of_a_worker(
    make_project: Callable[..., TaskProject], redis_server: RedisServer
) -> None:
    port = free_port()
    project = make_project(TASKS, metrics_token=TOKEN, rearq={"lease": 2, "metrics_port": port})
    with served(project) as web:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask(web)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask(web, Authorization=f"Bearer {TOKEN}x")
        project.run(
            "from shop.tasks import *\nfrom django_cfg_tasks.recorder import recorder\n"
            "good.enqueue_many([[number] for number in range(20)])\nbad.enqueue()\n"
            "later.using(countdown=3600).enqueue()\nslow.enqueue()\nrecorder.flush()"
        )
        before = wait_until(
            lambda: (
                (now := of_system(web)).get("jobs_enqueued_total default")
                == now.get("queue_jobs default ready")
                == now.get("queue_jobs later deferred", 0) + 19
                and now
            ),
            "all is told",
            30,
        )
        assert before["jobs_enqueued_total default"] == 20
        assert before["queue_oldest_seconds default"] > 0
        assert (before["healthy"], before["timer_leads"], before["processes worker"]) == (0, 0, 0)
        assert before["jobs_finished_total success default"] == 0

        # It dies with a job in its hands, which another takes over.
        first = project.worker("--with-timer", name="first")
        counted = wait_until(
            lambda: (
                (now := of_process(port))
                and now.get("worker_slots_busy") == now.get("worker_runs_total failed reports bad") == 1
                and now.get("worker_runs_total success default good", 0) == 20
                and now
            ),
            "the slow job runs alone",
            60,
        )
        assert counted["worker_runs_total retried reports bad"] == 1
        assert counted["worker_jobs_started_total reports bad"] == 2
        assert counted["worker_job_duration_seconds_count default good"] == 20
        assert counted["worker_job_wait_seconds_bucket 3600.0 default"] == 20
        assert counted["worker_history_dropped"] == 0
        now = wait_until(
            lambda: (
                (now := of_system(web))["jobs_finished_total failed reports"] == 1
                and (now["healthy"], now["timer_leads"], now["processes worker"], now["slots_busy"]) == (1, 1, 1, 1)
                and now
            ),
            "the system has told it, and is well",
            30,
        )
        assert now["jobs_finished_total success default"] == 20
        assert (now["slots"], now["processes timer"]) == (10, 1)
        assert now["queue_jobs slow running"] == now["queue_workers slow"] == 1

        first.sigkill()
        redis_server.wipe()
        second = project.worker("--with-timer", name="second")
        taken = wait_until(
            lambda: (
                (now := of_process(port)).get("worker_takeovers_total") == 1
                and now["worker_sweeper_rings_total"] >= 1
                and now
            ),
            "the job is rung for, and taken over",
            60,
        )
        assert taken["worker_runs_total orphaned slow slow"] == 1
        after = of_system(web)
        assert {name: after[name] for name in now if name.startswith("jobs_")} == {
            name: now[name] for name in now if name.startswith("jobs_")
        }
        second.sigkill()

        # What retention deletes stays counted.
        project.run(
            "import datetime as dt\nfrom django_cfg_tasks import get_rearq_client\n"
            "from django_cfg_tasks.retention import purge\n"
            "assert purge(get_rearq_client(), dt.datetime.now(dt.UTC)).logs == 21"
        )
        wait_until(lambda: of_system(web)["queue_jobs default ready"] == 0, "the system is asked anew")
        after = of_system(web)
        assert after["jobs_enqueued_total default"] == after["jobs_finished_total success default"] == 20

        redis_server.stop()
        away = wait_until(lambda: (now := of_system(web))["store_up redis"] == 0 and now, "Redis is missed", 30)
        assert away["store_up sql"] == away["store_up task_log"] == 1
        assert away["jobs_finished_total failed reports"] == 1
        assert not any(name.startswith("queue_") for name in away), "what is not known is not told"


@pytest.mark.long
def test_a_port_that_is_taken_keeps_no_worker_from_its_jobs(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    port = free_port()

    def started(name: str) -> Process:
        return project.worker("--processes", "2", "--metrics-port", str(port), name=name)

    first = started("first")
    wait_until(lambda: of_process(port) and of_process(port + 1), "both processes serve theirs", 60)
    second = started("second")
    second.wait_for_log(r"Metrics can't be served at 127\.0\.0\.1:\d+ yet", count=2)
    second.wait_for_log(r"consumes", count=2)
    first.sigterm()
    assert first.wait(60) == 0
    second.wait_for_log(r"Metrics are served at http://127\.0\.0\.1:\d+/metrics", count=2, timeout=60)
    second.sigterm()
    assert second.wait(60) == 0
