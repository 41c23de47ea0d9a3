"""What goes wrong gets a clear word: outages, unknown tasks, switched-off tasks, missing tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
from django_cfg_tasks import task

@task
async def greet(name: str):
    return name
"""


def test_enqueueing_with_redis_down_keeps_the_job(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., Any]
) -> None:
    redis = make_redis(appendonly=True)
    project = make_project(TASKS, redis_url=redis.url)
    redis.stop()
    producer = project.start_code(
        "import time\nfrom shop.tasks import greet\njob = greet.enqueue('x')\nprint('stored', job.job_id, flush=True)\n"
        "result = job.wait(timeout=30)\nprint('result', result and result.result, flush=True)",
        name="producer",
    )
    producer.wait_for_log("stored")
    assert "will be run once Redis is back" in producer.output
    assert "Traceback" not in producer.output
    worker = project.worker()
    worker.wait_for_log("Waiting for Redis; trying again in", count=2)
    assert "Traceback" not in worker.output
    redis.start()
    producer.wait_for_log("result x", timeout=30)
    worker.sigterm()
    assert worker.wait() == 0


def test_a_worker_survives_a_restart_of_redis(
    make_project: Callable[..., TaskProject], make_redis: Callable[..., Any]
) -> None:
    redis = make_redis(appendonly=True)
    project = make_project(TASKS, redis_url=redis.url)
    worker = project.worker("--with-timer")
    worker.wait_for_log("leads")
    redis.restart(kill=True)
    assert project.json("from shop.tasks import greet\nemit(greet.enqueue('x').wait(timeout=15).result)") == "x"
    redis.wipe()
    assert project.json("from shop.tasks import greet\nemit(greet.enqueue('y').wait(timeout=15).result)") == "y"
    assert "Traceback" not in worker.output
    worker.sigterm()
    assert worker.wait() == 0


def test_enqueueing_with_sql_down_raises(make_project: Callable[..., TaskProject], postgres_server: Any) -> None:
    url = "postgresql://someone:s3cret@127.0.0.1:1/nowhere"
    project = make_project(TASKS, rearq={"db_url": url})
    answer = project.json(
        "from shop.tasks import greet\nfrom django_cfg_tasks.exceptions import EnqueueError\n"
        "try: greet.enqueue('x')\nexcept EnqueueError as error: emit([type(error).__name__, str(error)])"
    )
    assert answer[0] == "EnqueueError"
    assert "can't be used now" in answer[1]
    assert "s3cret" not in answer[1]
    worker = project.worker()
    worker.wait_for_log("Waiting for SQL; trying again in", count=2)
    worker.sigterm()
    assert worker.wait() == 0
    assert "s3cret" not in worker.output
    assert "Traceback" not in worker.output


def test_outcomes_wait_for_sql(make_project: Callable[..., TaskProject], postgres_server: Any) -> None:
    tasks = TASKS + (
        "\nimport asyncio\nfrom pathlib import Path\n"
        "@task\nasync def slow():\n"
        "    print('slow runs', flush=True)\n"
        "    while not Path('go').exists():\n        await asyncio.sleep(0.05)\n    return 'done'\n"
    )
    project = make_project(tasks, database="postgres")
    worker = project.worker()
    job_id = project.json("from shop.tasks import slow\nemit(slow.enqueue().job_id)")
    worker.wait_for_log("slow runs")
    postgres_server.stop()
    project.write("go", "")
    worker.wait_for_log("wait to be recorded")
    postgres_server.start()
    worker.wait_for_log("being recorded again", timeout=30)
    status = (
        "from django_cfg_tasks import get_rearq_client\n"
        f"record = get_rearq_client().load(['{job_id}'])['{job_id}']\n"
        "emit([record.status, record.result, record.attempt])"
    )
    assert project.json(status) == ["success", "done", 1]
    worker.sigterm()
    assert worker.wait() == 0


def test_an_unknown_task_is_failed_with_that_reason(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    job_id = project.json("from shop.tasks import greet\nemit(greet.enqueue('x').job_id)")
    project.write("shop/tasks.py", TASKS.replace("greet", "welcome"))
    worker = project.worker()
    worker.wait_for_log("This worker knows no task 'greet'")
    read = (
        "from django_cfg_tasks.models import TaskLog\n"
        f"emit(list(TaskLog.objects.filter(job_id='{job_id}').values_list('status', 'error_message')))"
    )
    wait_until(lambda: project.json(read)[0][0] == "failed", "the job is failed in the history")
    assert "Known: welcome" in project.json(read)[0][1]


def test_switched_off_tasks_stay_callable(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, enabled=False)
    answer = project.json(
        "import asyncio\nfrom shop.tasks import greet\nfrom django_cfg_tasks.exceptions import TasksDisabledError\n"
        "try: greet.enqueue('x')\nexcept TasksDisabledError as error: emit([asyncio.run(greet('y')), str(error)])"
    )
    assert answer[0] == "y"
    assert "TaskConfig(enabled=False)" in answer[1]


def test_missing_tables_name_the_command(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS, migrate=False)
    worker = project.worker()
    assert worker.wait() == 1
    assert "python manage.py migrate tasks" in worker.output
    assert "Traceback" not in worker.output


def test_a_blocking_call_on_the_workers_loop_names_the_way_out(make_project: Callable[..., TaskProject]) -> None:
    tasks = TASKS + "\n@task(job_retry=0)\nasync def parent():\n    greet.enqueue('child')\n"
    project = make_project(tasks)
    project.worker()
    error = project.json("from shop.tasks import parent\nemit(parent.enqueue().wait(timeout=15).error)")
    assert "await task.delay(...)" in error
