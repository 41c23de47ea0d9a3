"""``manage.py check`` of whole projects: tasks that can't be declared, and workers that don't consume each queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.project import CommandFailed, TaskProject
from tests.waiting import wait_until

SHOP = """\
from django_cfg_tasks import task

@task
async def send(to: str) -> None: ...
"""
MAIL = """\
from django_cfg_tasks import cron_task, task

@task(queue="mail")
def send(to: str) -> None: ...
"""
NEVER = """\
from django_cfg_tasks import cron_task

@cron_task("0 0 30 2 *")
def leap() -> None: ...
"""
ENQUEUE = """\
from shop.tasks import send
from django_cfg_tasks.exceptions import ConfigurationError
try:
    send.enqueue("a")
except ConfigurationError as error:
    emit(str(error))
"""
DEPLOYED = """\
from django.core.checks import run_checks
found = run_checks(tags=["django_cfg_tasks"], include_deployment_checks=True)
emit({message.id.partition(".")[2]: [message.msg, message.hint] for message in found})
"""


def failed(project: TaskProject) -> str:
    with pytest.raises(CommandFailed) as caught:
        project.manage("check")
    return str(caught.value)


def test_e003_says_where_a_task_can_t_be_declared(make_project: Callable[..., TaskProject]) -> None:
    """And no worker starts, nothing is enqueued: the job of a task that is missing would fail."""
    project = make_project(
        SHOP,
        files={"mail/__init__.py": "", "mail/tasks.py": MAIL},
        settings="INSTALLED_APPS += ['mail']\n",
        migrate=False,
    )
    said = failed(project)
    assert "(django_cfg_tasks.E003)" in said
    assert "mail/tasks.py:3: DuplicateTaskError: " in said
    assert "Two tasks are called 'send': shop.tasks.send and mail.tasks.send." in said
    assert "Traceback" not in said

    assert "shop.tasks.send and mail.tasks.send" in project.json(ENQUEUE)
    worker = project.worker()
    assert worker.wait(timeout=60) != 0
    assert "shop.tasks.send and mail.tasks.send" in worker.output

    project.write("mail/tasks.py", NEVER)
    said = failed(project)
    assert "mail/tasks.py:3: InvalidCronError: '0 0 30 2 *' is never due" in said
    assert "Traceback" not in said


def test_deploy_names_the_queues_that_nobody_consumes(make_project: Callable[..., TaskProject]) -> None:
    tasks = SHOP + MAIL.replace("def send", "def mail") + NEVER.replace("30 2", "29 2")
    project = make_project(tasks)
    alone = project.json(DEPLOYED)
    assert {"W007", "W009"} <= set(alone)
    assert "--queue default --queue mail" in alone["W007"][1]

    worker = project.worker("--with-timer", "--queue", "default")
    worker.wait_for_log("leads", timeout=60)
    wait_until(lambda: "W007" not in (found := project.json(DEPLOYED)) and "W009" not in found, "it is seen", 60)
    served = project.json(DEPLOYED)
    assert "'mail'" in served["W008"][0]
    assert "jobs of mail wait" in served["W008"][0]
    assert "rearq main:rearq worker --queue mail" in served["W008"][1]
    assert not {"W007", "W009"} & set(served)
