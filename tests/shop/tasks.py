"""Tasks for tests in pytest's own process; autodiscovered, so they must only declare."""

from django_cfg_tasks import task


@task()
async def add(first: int, second: int) -> int:
    return first + second


@task()
def add_in_thread(first: int, second: int) -> int:
    return first + second
