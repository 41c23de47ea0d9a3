"""A worker's options, what its tasks see of it, and ReArq's own producers beside ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.project import TaskProject
from tests.waiting import wait_until

TASKS = """\
import asyncio
from django_cfg_tasks import task

@task
async def add(a: int, b: int) -> int:
    return a + b

@task(bind=True, queue="watched")
async def watched(ctx, steps: int):
    from loguru import logger
    logger.info("a line of loguru's")
    for step in range(steps):
        ctx.progress(step / steps, f"step {step}")
        await asyncio.sleep(0.6)
    return [ctx.job_id, ctx.attempt, ctx.task.name, ctx.queue]
"""

# ReArq as it is without us: its own class, its own models, its own delay().
VANILLA = """
import asyncio
from rearq import ReArq
from tortoise import Tortoise

async def produce():
    models = {{"rearq": ["rearq.server.models"]}}
    await Tortoise.init(db_url="sqlite://{path}", modules=models, _enable_global_fallback=True)
    rearq = ReArq(db_url="unused", redis_url="{redis}")
    @rearq.task(queue="default")
    async def add(a, b): ...
    job = await add.delay(40, 2)
    await Tortoise.close_connections()
    return job.job_id

print(asyncio.run(produce()), flush=True)
"""


def test_logs_group_and_consumer(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS, rearq={"logs_dir": "logs"})
    worker = project.worker(
        "--group-name", "blue", "--consumer-name", "one", "--queue", "watched", "--queue", "default"
    )
    worker.wait_for_log(r"Worker blue-one-\w{6} .* consumes watched, default with 10 slots")
    answer = project.json(
        "from shop.tasks import watched\njob = watched.enqueue(2)\nemit([job.job_id, job.wait(20).result])"
    )
    job_id, result = answer
    assert result == [job_id, 1, "watched", "watched"]
    with redis_server.client() as redis:
        (group,) = redis.xinfo_groups("rearq:queue:watched")
        assert group["name"] == "blue"
        (consumer,) = redis.xinfo_consumers("rearq:queue:watched", "blue")
        # A name of its own each time it starts: what a dead one of that name left is not taken for this one's.
        assert re.fullmatch(r"one-\w{6}", consumer["name"])
    worker.sigterm()
    assert worker.wait() == 0
    (file,) = (project.folder / "logs").iterdir()
    assert file.name == "worker-blue-one.log"
    text = file.read_text()
    assert "django_cfg_tasks.rearq: a line of loguru's" in text
    assert f"watched {job_id} in" in text


def test_progress_shows_while_the_job_runs(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    project.worker()
    job_id = project.json("from shop.tasks import watched\nemit(watched.enqueue(20).job_id)")
    read = f"""
from django_cfg_tasks.models import TaskLog
emit(list(TaskLog.objects.filter(job_id="{job_id}").values_list("status", "progress", "progress_message")))
"""
    wait_until(lambda: (project.json(read) or [[0, 0]])[0][1], "progress in the history", timeout=20)
    status, progress, message = project.json(read)[0]
    assert status == "in_progress"
    assert 0 < progress < 1
    assert message == f"step {round(progress * 20)}"


def test_rearqs_own_producer_is_served(make_project: Callable[..., TaskProject], redis_server: Any) -> None:
    project = make_project(TASKS)
    vanilla = VANILLA.format(path=project.databases["default"]["NAME"], redis=redis_server.url)
    job_id = project.run(vanilla, setup=False).strip().splitlines()[-1]
    project.worker()
    read = f"from django_cfg_tasks import get_rearq_client\nemit(get_rearq_client().wait_final('{job_id}', 15).result)"
    assert project.json(read) == 42
    logged = (
        "from django_cfg_tasks.models import TaskLog\n"
        f"emit(list(TaskLog.objects.filter(job_id='{job_id}').values_list('status', 'queue_name', 'args')))"
    )
    wait_until(lambda: project.json(logged) == [["success", "default", [40, 2]]], "its history")


def test_rearqs_registry_holds_our_tasks(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(TASKS)
    answer = project.json(
        "from main import rearq\n"
        "emit([sorted(rearq.task_map), rearq.task_map['watched'].queue, rearq.get_queue_tasks('default'),\n"
        "      type(rearq).__mro__[1].__name__])"
    )
    assert answer == [["add", "watched"], "rearq:queue:watched", ["add"], "ReArq"]


def test_queues_are_drained_in_the_order_given_but_for_a_share(make_project: Callable[..., TaskProject]) -> None:
    tasks = TASKS + '@task\nasync def note(queue: str): print(f"<{queue}>", flush=True)\n'
    project = make_project(tasks, rearq={"max_jobs": 1})
    project.run(
        "from shop.tasks import note\n"
        "for queue, number in (('low', 40), ('default', 40), ('high', 160)):\n"
        "    note.using(queue=queue).enqueue_many([(queue,)] * number)\n"
    )
    worker = project.worker("--queue", "high", "--queue", "default", "--queue", "low")
    worker.wait_for_log(r"<\w+>", count=240, timeout=60)
    order = re.findall(r"<(\w+)>", worker.output)
    urgent = order[: len(order) - order[::-1].index("high")]
    # One of sixteen is for the others, in turn; the rest keeps the order.
    assert 4 <= urgent.count("default") + urgent.count("low") <= 16
    assert abs(urgent.count("default") - urgent.count("low")) <= 2
    assert order[-20:] == ["low"] * 20
