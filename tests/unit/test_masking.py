"""Secrets are hidden by the words of their keys, wherever they are."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg_tasks.masking import MASK, MAX_DEPTH, is_sensitive, mask, mask_arguments


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "user_password", "password1", "new-password", "passwordHash", "passwords", "dbpassword",
        "passwd", "secret", "client_secret", "clientSecret", "SECRET_KEY", "token", "accessToken", "refresh_tokens",
        "csrfmiddlewaretoken", "X-Auth-Token", "api_key", "apikey", "APIKey", "X-Api-Key", "stripe.api.key",
        "Authorization", "HTTP_AUTHORIZATION", "credential", "aws_credentials", "private_key", "sshPrivateKey",
        "Cookie", "Set-Cookie", "session", "sessionid", "session_key", "card_number", "cardNumber", "cvv",
    ],
)  # fmt: skip
def test_sensitive_keys(key: str) -> None:
    assert is_sensitive(key)


@pytest.mark.parametrize(
    "key",
    [
        "tokenize", "tokenizer", "passenger", "passenger_name", "compass", "author", "authors", "authorized_by",
        "secretary", "possession", "obsession", "key", "keys", "card", "number", "number_card", "private", "api",
        "to", "subject", "", "123", "_", "é",
    ],
)  # fmt: skip
def test_ordinary_keys(key: str) -> None:
    assert not is_sensitive(key)


def test_masks_at_any_depth_and_copies() -> None:
    data: dict[str, Any] = {
        "user": {"name": "Ann", "password": "p", "cards": [{"card_number": "4111", "cvv": 123, "holder": "Ann"}]},
        "headers": [{"Authorization": "Bearer x"}, ["plain", {"token": None}]],
        "credentials": {"user": "u", "pass": "p"},
    }
    masked = mask(data)

    assert masked == {
        "user": {"name": "Ann", "password": MASK, "cards": [{"card_number": MASK, "cvv": MASK, "holder": "Ann"}]},
        "headers": [{"Authorization": MASK}, ["plain", {"token": MASK}]],
        "credentials": MASK,
    }
    assert data["user"]["password"] == "p"
    assert data["headers"][1][1] == {"token": None}


def test_masks_positional_arguments_by_their_parameters() -> None:
    args, kwargs = mask_arguments(
        ["ann", "hunter2", {"api_key": "k", "a": 1}, "more"],
        {"new_password": "x", "subject": "Hi"},
        ["user", "old_password", "options"],
    )
    assert args == ["ann", MASK, {"api_key": MASK, "a": 1}, "more"]
    assert kwargs == {"new_password": MASK, "subject": "Hi"}


def test_extra_keys() -> None:
    args, kwargs = mask_arguments(
        ["DE89", 7], {"customerIBAN": "DE89", "tax-id": 1, "nested": [{"TAX_ID": 2, "taxi": 3}]}, ["iban", "n"],
        ["iban", "tax_id"],
    )  # fmt: skip
    assert args == [MASK, 7]
    assert kwargs == {"customerIBAN": MASK, "tax-id": MASK, "nested": [{"TAX_ID": MASK, "taxi": 3}]}
    assert is_sensitive("2", ["2"])
    assert not is_sensitive("3", ["2"])


def test_what_is_nested_too_deeply_is_hidden_as_a_whole() -> None:
    data: Any = {"password": "p"}
    for _ in range(5_000):
        data = [data]
    masked, depth = mask(data), 0
    while isinstance(masked, list):
        masked, depth = masked[0], depth + 1
    assert masked == MASK
    assert depth == MAX_DEPTH


def test_a_huge_key_costs_little() -> None:
    assert mask({"a" * 1_000_000: 1, "password" + "_x" * 500_000: 2}) == {
        "a" * 1_000_000: 1,
        "password" + "_x" * 500_000: MASK,
    }
