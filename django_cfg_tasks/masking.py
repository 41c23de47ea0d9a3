"""Hides secrets in data that people will read: values under keys that sound like a password or a token.

Pure functions over JSON data, which they copy and never change. Everything that shows arguments (TaskLog,
admin, API, logs, export) takes them from here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

MASK = "********"
MAX_DEPTH = 90
"""Data nested deeper is hidden as a whole. (MySQL's JSON ends at 100 levels, Python's stack at about 1,000.)"""
MAX_KEY = 200
"""How much of a key is looked at."""

_SECRET_WORDS = frozenset(
    [
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "authorization",
        "credential",
        "privatekey",
        "cookie",
        "session",
        "sessionid",
        "sessionkey",
        "cardnumber",
        "cvv",
        "cvc",
    ]
)
_SECRET_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "credential")
"""Endings of words that were run together (csrftoken, dbpassword), chosen so that no ordinary word has one."""

_SEQUENCES = (list, tuple)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


def is_sensitive(key: object, extra_keys: Collection[str] = ()) -> bool:
    """Tell whether a value under ``key`` is to be hidden.

    Keys are compared word by word, whatever their case and however the words are joined: ``user_password``,
    ``X-Api-Key`` and ``accessToken`` are sensitive, ``tokenize`` and ``passenger`` are not.
    """
    name = str(key)[:MAX_KEY]
    if _is_secret(name):
        return True
    if not extra_keys:
        return False
    words = _words(name)
    return any(name.lower() == extra.lower() or _contains(words, _words(extra)) for extra in extra_keys)


def mask(data: Any, extra_keys: Collection[str] = ()) -> Any:
    """Return a copy of JSON ``data`` in which every value under a sensitive key, at any depth, is MASK."""
    return _mask(data, extra_keys, MAX_DEPTH)


def mask_arguments(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    parameters: Sequence[str] = (),
    extra_keys: Collection[str] = (),
) -> tuple[list[Any], dict[str, Any]]:
    """Return copies of a call's arguments with the secrets hidden.

    ``parameters`` are the names of the function's positional parameters: a positional argument is hidden
    where its parameter's name is sensitive. Those without a name are only searched.
    """
    masked = [
        MASK if index < len(parameters) and is_sensitive(parameters[index], extra_keys) else mask(value, extra_keys)
        for index, value in enumerate(args)
    ]
    return masked, mask(dict(kwargs), extra_keys)


def _mask(data: Any, extra_keys: Collection[str], depth: int) -> Any:
    is_dict = isinstance(data, dict)
    if not is_dict and not isinstance(data, _SEQUENCES):
        return data
    if not depth:
        return MASK
    if is_dict:
        return {
            key: MASK if is_sensitive(key, extra_keys) else _mask(value, extra_keys, depth - 1)
            for key, value in data.items()
        }
    return [_mask(value, extra_keys, depth - 1) for value in data]


@lru_cache(maxsize=4096)
def _words(key: str) -> tuple[str, ...]:
    """Split a key into its lower-case words; a plural's "s" and all digits are dropped."""
    return tuple(_singular(word.lower()) for word in _WORD.findall(key))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    words = _words(name)
    pairs = {first + second for first, second in itertools.pairwise(words)}
    return not _SECRET_WORDS.isdisjoint(pairs.union(words)) or any(
        word.endswith(_SECRET_ENDINGS) or word.startswith("password") for word in words
    )


def _contains(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return bool(part) and any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))
