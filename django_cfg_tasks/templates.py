"""Texts that are filled from a job's arguments, such as ``account:{account_id}``. Pure.

Only parameters and what lies in them (``{options[region]}``) can be named: the data decides what the text says, never
what is looked up.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping
from typing import Any

from django_cfg_tasks.exceptions import DeclarationError, InvalidOptionError


def check_template(name: str, template: str, parameters: Collection[str]) -> None:
    """Raise DeclarationError unless ``template``, the value of the option ``name``, names ``parameters`` only."""
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise DeclarationError(f"{name}={template!r}: {error}.") from None
    for field in fields:
        parameter = field.partition("[")[0]
        if "." in parameter:
            raise DeclarationError(f"{name}={template!r}: it can name arguments, not attributes of them: {{{field}}}.")
        if parameter not in parameters:
            known = ", ".join(parameters) or "none"
            raise DeclarationError(
                f"{name}={template!r}: the function has no parameter {parameter!r}. It has: {known}."
            )


def filled(name: str, template: str, arguments: Mapping[str, Any]) -> str:
    """Return ``template`` with ``arguments`` (JSON data) in it; InvalidOptionError where they lack what it asks for."""
    try:
        return template.format_map(arguments)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InvalidOptionError(
            f"{name}={template!r} can't be filled from these arguments: {type(error).__name__}: {error}."
        ) from None
