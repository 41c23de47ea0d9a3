"""What commands that act on jobs have in common: in whose name, and whether they are sure."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from django_cfg_tasks.exceptions import TasksError


def add_user(parser: CommandParser) -> None:
    """Let it be said in whose name something is done."""
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="The Django user in whose name it is done: the admin's history keeps it. Default: who is logged in to the "
        "system, for the log alone.",
    )


def add_no_input(parser: CommandParser) -> None:
    """Let the question be left out."""
    parser.add_argument(
        "--no-input", "--noinput", action="store_false", dest="interactive", help="Do it without asking."
    )


def actor(name: str | None) -> Any:
    """Return who acts: the Django user called ``name``, else the system's user by name."""
    if name is None:
        return f"{_system_user()} on the command line"
    users = get_user_model()
    try:
        return users.objects.get_by_natural_key(name)
    except users.DoesNotExist:
        raise CommandError(f"--user {name!r}: there is no such user.") from None


def confirm(question: str) -> None:
    """Return if the answer is yes; CommandError if it is not, or if nobody is there to answer."""
    try:
        answer = input(f"{question} Type 'yes' to go on: ")
    except EOFError:
        raise CommandError("Nobody answers here. With --no-input it is done without asking.") from None
    if answer.strip().lower() not in ("yes", "y"):
        raise CommandError("Nothing was done.")


@contextmanager
def in_plain_words() -> Iterator[None]:
    """Say in a line why something can't be done."""
    try:
        yield
    except TasksError as error:
        raise CommandError(str(error)) from error
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    except DatabaseError as error:
        raise CommandError(
            f"The task log can't be reached: {error} Is the database up, and was 'manage.py migrate' run?"
        ) from error


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return "somebody"
