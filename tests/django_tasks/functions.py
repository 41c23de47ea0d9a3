"""``shop/tasks.py`` of the project in which the cases run: tasks as a user of Django's framework writes them."""

import sys

try:
    from django.tasks import TaskContext, task
except ImportError:
    from django_tasks import TaskContext, task


@task
def nothing(*args, **kwargs):
    return None


@task()
async def nothing_async(*args, **kwargs):
    return None


@task()
def answer():
    return 42


@task()
async def echo_async(value, *, key=None):
    return {"value": value, "key": key}


@task()
def typed(day: "object", amount: float = 1.5) -> tuple:
    return type(day).__name__, amount


@task()
def value_error():
    raise ValueError("no such order")


@task()
def system_exit():
    raise SystemExit("leaving")


@task()
def nested_error():
    raise ValueError(ValueError("inner"))


@task()
def no_json():
    return lambda: True


@task(takes_context=True)
def own_id(context):
    assert isinstance(context, TaskContext)
    assert context.task_result.status == "RUNNING"
    assert context.attempt == len(context.task_result.worker_ids) == 1
    return context.task_result.id


@task(takes_context=True)
async def third_time(context, *, least=3):
    if context.attempt < least:
        raise OSError(f"attempt {context.attempt}")
    return [context.attempt, len(set(context.task_result.worker_ids)), len(context.task_result.errors)]


@task()
async def long():
    import asyncio

    await asyncio.sleep(300)


@task()
def process_id():
    return sys.argv[0]
