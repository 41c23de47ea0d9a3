"""The command line of workers, timers and the monitoring server: their options, and what they start.

Declared once, for ReArq's own command and for ``manage.py rearq``, which differ in how they are found and in nothing
else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.worker import logs, metrics
from django_cfg_tasks.worker.supervisor import NUMBER, Child, OnError, Supervisor
from django_cfg_tasks.worker.timer import Timer
from django_cfg_tasks.worker.worker import Worker

if TYPE_CHECKING:
    from django_cfg_tasks.worker.rearq_app import DjangoReArq

logger = logging.getLogger("django_cfg_tasks.worker")

STDIN = 0
MOST_PROCESSES = 256


@click.pass_obj
def _worker(
    obj: Mapping[str, Any],
    queue: Sequence[str],
    group_name: str | None,
    consumer_name: str | None,
    with_timer: bool,
    profile: bool,
    processes: int | None,
    reload: bool,
    metrics_port: int | None,
) -> None:
    rearq: DjangoReArq = obj["rearq"]
    number = _own_number()
    if number is not None and processes is not None:
        with_timer = with_timer and number == 1
        consumer_name = f"{consumer_name}-{number}" if consumer_name else None
    rearq.process.profiled = profile
    with _in_one_line():
        # Made by a supervisor too, so that what is wrong with an option is said once.
        parts: list[Worker | Timer] = [Worker(rearq, queues=queue, group_name=group_name, consumer_name=consumer_name)]
        if with_timer:
            parts.append(Timer(rearq))
        rearq.process.metrics = metrics.prepared(rearq.client, metrics_port, number or 1)
    if number is None and (processes is not None or reload):
        _supervise("worker", processes or 1, reload, obj)
        return
    _run(rearq, _all_of(parts), supervised=number is not None)


@click.pass_obj
def _timer(obj: Mapping[str, Any], metrics_port: int | None) -> None:
    rearq: DjangoReArq = obj["rearq"]
    with _in_one_line():
        rearq.process.metrics = metrics.prepared(rearq.client, metrics_port, 1)
    supervised = _own_number() is not None
    _run(rearq, _all_of([Timer(rearq)]), supervised=supervised)


@click.pass_obj
def _server(obj: Mapping[str, Any], host: str, port: int | None) -> None:
    rearq: DjangoReArq = obj["rearq"]
    config = rearq.client.rearq_config
    if not config.server_enabled:
        raise click.ClickException(
            "The monitoring server is off. RearqConfig(server_enabled=True) in DJANGO_CFG_TASKS lets it serve, on "
            f"port {config.server_port} (server_port) of this machine, to Django's staff."
        )
    # Its rooms are this process's alone: nobody else has a use for a web server's.
    from django_cfg_tasks.monitor import serving

    logs.configure("server", None)
    if obj["verbose"]:
        logs.ROOT.setLevel("DEBUG")
    with _in_one_line():
        serving.check()
        listener = serving.listen(host, config.server_port if port is None else port)
    rearq.client.home.start().run_until_complete(serving.serve(rearq.client, listener, rearq.shutdown))


METRICS_PORT = click.Option(
    ["--metrics-port"],
    type=click.IntRange(1, 65_535),
    metavar="INTEGER",
    help="Port of the process's own metrics, instead of the configuration's.",
)
WORKER = click.Command(
    "worker",
    help="Start a worker.",
    callback=_worker,
    params=[
        click.Option(["-q", "--queue"], multiple=True, help="Queue to consume; may be repeated, the first one first."),
        click.Option(["--group-name"], help="Group name."),
        click.Option(["--consumer-name"], help="Consumer name."),
        click.Option(["-t", "--with-timer"], is_flag=True, help="Start with timer."),
        click.Option(
            ["--profile"], is_flag=True, help="Print what jobs cost, by stage, every ten seconds and at the end."
        ),
        click.Option(
            ["--processes"],
            type=click.IntRange(1, MOST_PROCESSES),
            metavar="INTEGER",
            help="Start so many worker processes, and start those again that die. One of them has the timer.",
        ),
        click.Option(["--reload"], is_flag=True, help="Start again when code changes."),
        METRICS_PORT,
    ],
)
TIMER = click.Command("timer", help="Start a timer.", callback=_timer, params=[METRICS_PORT])
SERVER = click.Command(
    "server",
    help="Serve the monitoring pages, for Django's staff.",
    callback=_server,
    params=[
        click.Option(["--host"], default="127.0.0.1", show_default=True, help="The address to listen on."),
        click.Option(["--port"], type=click.IntRange(0, 65_535), help="The port, instead of server_port."),
    ],
)


def stand_in() -> Any:
    """Return what stands for the module ``rearq.cli`` where that is not running: its commands, by their names."""
    return SimpleNamespace(
        worker=click.Command("worker"),
        timer=click.Command("timer"),
        server=click.Command("server"),
    )


def invoke(command: click.Command, given: Mapping[str, Any], obj: dict[str, Any]) -> None:
    """Run ``command`` with the values that were ``given`` for its options, by their names.

    ClickException says what is wrong with one of them, or why it ended; Exit has a code that is not 0.
    """
    words: list[str] = []
    for option in command.params:
        value = given.get(str(option.name))
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                words.append(option.opts[-1])
            elif one is not None:
                words.append(f"{option.opts[-1]}={one}")
    with command.make_context(command.name, words, obj=obj) as context:
        command.invoke(context)


def program(arguments: Sequence[str]) -> list[str]:
    """Return how this process was started, without the ``arguments`` that its command line ends with."""
    words = sys.orig_argv
    end = len(words) - len(arguments)
    if end < 1 or words[end:] != list(arguments):
        raise click.ClickException("This starts its own command line again, and was not started from one.")
    return [sys.executable, *words[1:end]]


def _run(rearq: DjangoReArq, work: Coroutine[Any, Any, None], *, supervised: bool) -> None:
    """Run ``work`` on the home loop, which `init` has made of the command's own."""
    loop = rearq.client.home.start()
    if supervised:
        loop.add_reader(STDIN, _supervisor_gone, loop)
    with _in_one_line():
        loop.run_until_complete(work)


async def _all_of(parts: Sequence[Worker | Timer]) -> None:
    await asyncio.gather(*(part.run() for part in parts))


def _supervise(name: str, processes: int, reload: bool, obj: Mapping[str, Any]) -> None:
    from django_cfg_tasks.worker import sources

    logs.configure("supervisor", None)
    command = obj.get("command") or program([])
    code = Supervisor(
        [
            Child(
                f"{name} {number}" if processes > 1 else name,
                command,
                {NUMBER: str(number)},
                on_error=OnError.AWAIT_CHANGE if reload else OnError.RETRY,
                reloads=reload,
            )
            for number in range(1, processes + 1)
        ],
        tell=_tell,
        watch=sources.watch if reload else None,
    ).run()
    if code:
        raise click.exceptions.Exit(code)


def _tell(text: str, alarming: bool) -> None:
    logger.log(logging.WARNING if alarming else logging.INFO, "%s", text)


def _own_number() -> int | None:
    """Return which child of a supervisor this is, if any. A job that starts workers of its own does not pass it on."""
    number = os.environ.pop(NUMBER, None)
    return int(number) if number is not None else None


def _supervisor_gone(loop: asyncio.AbstractEventLoop) -> None:
    loop.remove_reader(STDIN)
    logger.warning("The process that started this one is gone.")
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Show our errors as the command line shows errors: one line, exit code 1."""
    try:
        yield
    except TasksError as error:
        raise click.ClickException(str(error)) from error
