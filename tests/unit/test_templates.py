"""Texts that are filled from arguments: what they may name, and what becomes of arguments that don't fill them."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg_tasks.exceptions import DeclarationError, InvalidOptionError
from django_cfg_tasks.templates import check_template, filled

PARAMETERS = ["account", "options", "rest"]


@pytest.mark.parametrize(
    "template",
    ["all", "account:{account}", "{account}/{options[region]}", "{rest[0]}", "{{{account}}}", "{account:>8}"],
)
def test_parameters_and_what_lies_in_them_can_be_named(template: str) -> None:
    check_template("lock_key", template, PARAMETERS)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{acount}", "the function has no parameter 'acount'. It has: account, options, rest."),
        ("{}", "the function has no parameter ''. It has: account, options, rest."),
        ("{0}", "the function has no parameter '0'. It has: account, options, rest."),
        ("{account.pk}", "it can name arguments, not attributes of them: {account.pk}."),
        ("{account", "expected '}' before end of string."),
        ("account}", "Single '}' encountered in format string."),
    ],
)
def test_what_can_not_be_filled_is_refused_with_the_reason(template: str, reason: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        check_template("unique", template, PARAMETERS)
    assert str(caught.value) == f"unique={template!r}: {reason}"


def test_a_function_without_parameters() -> None:
    check_template("lock_key", "all", [])
    with pytest.raises(DeclarationError, match=r"no parameter 'a'\. It has: none\."):
        check_template("lock_key", "{a}", [])


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("all", "all"),
        ("account:{account}", "account:7"),
        ("{options[region]}-{rest[1]}", "eu-b"),
        ("{{{account}}}", "{7}"),
        ("{account:03}", "007"),
        ("{nothing}", "None"),
        ("{options}", "{'region': 'eu'}"),
    ],
)
def test_filling(template: str, text: str) -> None:
    arguments = {"account": 7, "options": {"region": "eu"}, "rest": ["a", "b"], "nothing": None}
    assert filled("lock_key", template, arguments) == text


def test_what_arguments_say_is_not_filled_in_turn() -> None:
    assert filled("lock_key", "{account}", {"account": "{secret}", "secret": "x"}) == "{secret}"


@pytest.mark.parametrize(
    ("template", "arguments", "reason"),
    [
        ("{options[region]}", {"options": {}}, "KeyError: 'region'."),
        ("{rest[3]}", {"rest": []}, "IndexError: list index out of range."),
        ("{options[region]}", {"options": None}, "TypeError: 'NoneType' object is not subscriptable."),
        ("{account:d}", {"account": "x"}, "ValueError: Unknown format code 'd' for object of type 'str'."),
    ],
)
def test_arguments_that_do_not_fill_it(template: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        filled("lock_key", template, arguments)
    assert str(caught.value) == f"lock_key={template!r} can't be filled from these arguments: {reason}"
