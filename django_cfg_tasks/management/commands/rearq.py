"""``manage.py rearq worker|timer|server|dev``: ReArq's command line without ``main.py``, and all of it to develop.

Options and what they start are `worker.commands`' to say; here they are only read from another command line.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import TasksError
from django_cfg_tasks.management import dev
from django_cfg_tasks.worker import commands
from django_cfg_tasks.worker.rearq_app import DjangoReArq, take_over


class Command(BaseCommand):
    """Runs a worker, a timer or the monitoring server as ``rearq main:rearq`` does, or all that a developer needs."""

    help = "Run a worker, a timer or the monitoring server; or, for development, all of it beside the web server."
    requires_system_checks = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cli = commands.stand_in()
        take_over(self._cli)
        self._arguments: list[str] | None = None

    def run_from_argv(self, argv: list[str]) -> None:
        """Remember the command line, which is started again for each process of several."""
        self._arguments = argv[1:]
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True, metavar="worker|timer|server|dev")
        for name in ("worker", "timer", "server"):
            command: click.Command = getattr(self._cli, name)
            part = parts.add_parser(name, help=command.help, description=command.help)
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    _add(part, parameter)
            _add_djangos(part)
        text = "Run web server, worker, timer, and Redis where none answers, in one terminal; started again on changes."
        part = parts.add_parser("dev", help=text, description=text)
        dev.add_arguments(part)
        _add_djangos(part)

    def handle(self, *args: Any, **options: Any) -> None:
        part = options["part"]
        try:
            if part == "dev":
                code = dev.run(self._program(), options, self.stdout, color=_colored(self, options))
            else:
                code = self._run(getattr(self._cli, part), options)
        except click.ClickException as error:
            raise CommandError(error.format_message(), returncode=error.exit_code) from error
        except TasksError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)

    def _program(self) -> list[str]:
        """Return how ``manage.py`` was started."""
        if self._arguments is None:
            raise CommandError("This starts its own command line again, and was not started from one.")
        return commands.program(self._arguments)

    def _run(self, command: click.Command, options: dict[str, Any]) -> int:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            rearq = get_rearq_client().rearq
            loop.run_until_complete(_begin(rearq))
            given = {
                parameter.name: options[parameter.name] for parameter in command.params if parameter.name in options
            }
            obj = {"rearq": rearq, "verbose": options["verbosity"] > 1}
            if self._arguments is not None:
                obj["command"] = [*self._program(), *self._arguments]
            commands.invoke(command, given, obj)
        except click.exceptions.Exit as end:
            return end.exit_code
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        return 0


async def _begin(rearq: DjangoReArq) -> None:
    """Do what ReArq's command does before its subcommands."""
    await rearq.init()
    await rearq.startup()


def _add(parser: argparse.ArgumentParser, option: click.Option) -> None:
    """Give ``parser`` an option that click declares; what its value may be is click's to check."""
    how: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": option.help}
    if option.is_flag:
        how["action"] = "store_true"
    else:
        how["metavar"] = option.metavar or option.type.name.upper()
        if option.multiple:
            how["action"] = "append"
    parser.add_argument(*option.opts, **how)


def _add_djangos(parser: argparse.ArgumentParser) -> None:
    """Take Django's own options after the name of a part as well."""
    for name in ("--settings", "--pythonpath"):
        parser.add_argument(name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbosity", default=argparse.SUPPRESS, type=int, help=argparse.SUPPRESS)
    for name in ("--traceback", "--no-color", "--force-color"):
        parser.add_argument(name, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _colored(command: BaseCommand, options: dict[str, Any]) -> bool:
    return not options["no_color"] and (options["force_color"] or command.stdout.isatty())
