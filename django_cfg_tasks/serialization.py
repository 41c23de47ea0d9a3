"""Arguments and results as JSON, and back to what they were where annotations say so.

What is stored is plain, readable JSON: no pickle, no type tags, nothing that is imported by a name from data.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from django_cfg_tasks.exceptions import ArgumentsError, DeclarationError, SerializationError

_NATIVE = (str, int, float, bool, type(None), Any, object, dict, list, Mapping, Sequence, inspect.Parameter.empty)
_CONTAINERS = (dict, list, Mapping, Sequence, typing.Union, types.UnionType)
_DEEPEST = 250
"""Where pydantic gives up too; a value that holds itself has no bottom."""


class Codec:
    """Encodes and decodes the arguments and the result of one function.

    Made once per task, from its signature; ``skip_first`` leaves out the context of a ``bind=True`` task.
    Annotations are read at the first use, so that a tasks module may name types that are imported later.
    """

    def __init__(self, function: Callable[..., Any], *, skip_first: bool = False) -> None:
        self._function = function
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        if skip_first:
            if not parameters or parameters[0].kind not in (
                inspect.Parameter.POSITIONAL_ONLY,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                inspect.Parameter.VAR_POSITIONAL,
            ):
                raise DeclarationError(
                    f"{function.__qualname__}() is declared with bind=True, "
                    "so its first parameter must take the context."
                )
            if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
                parameters = parameters[1:]
        self.signature = signature.replace(parameters=parameters)
        self.parameters = tuple(p.name for p in parameters if p.kind not in _VARIADIC)
        self._shape = None if len(self.parameters) < len(parameters) else _Shape(parameters)

    def encode(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, limit: int | None = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return ``args`` and ``kwargs`` as JSON data.

        ArgumentsError where they don't fit the signature, SerializationError (naming the argument) where one
        is no JSON or takes more than ``limit`` bytes of it.
        """
        if self._shape is not None and self._shape.takes(args, kwargs):
            names: Sequence[str] = self._shape.positional[: len(args)]
        else:
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise ArgumentsError(
                    f"{self._function.__name__}{self.signature} can't be called like this: {error}."
                ) from None
            names = self._positional_names(len(args))
        return (
            [_encode(value, name, limit) for name, value in zip(names, args, strict=True)],
            {name: _encode(value, name, limit) for name, value in kwargs.items()},
        )

    def decode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return stored arguments as the annotations want them; what fits no annotation stays as it is."""
        adapters = self._adapters
        if not adapters:
            return list(args), dict(kwargs)
        names = self._positional_names(len(args))
        return (
            [_decode(value, adapters.get(self._collector(name))) for name, value in zip(names, args, strict=True)],
            {name: _decode(value, adapters.get(self._collector(name))) for name, value in kwargs.items()},
        )

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise ArgumentsError, which names it, for JSON data that is not what its parameter's annotation says.

        As JSON is read: a date is a text, and "5" is a number. What pydantic knows nothing of may be anything.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(
                f"{self._function.__name__}{self.signature} can't be called like this: {error}."
            ) from None
        for name, value in bound.arguments.items():
            adapter = self._checkers.get(name)
            kind = self.signature.parameters[name].kind
            if adapter is None:
                continue
            several = value.values() if kind is inspect.Parameter.VAR_KEYWORD else value
            for each in several if kind in _VARIADIC else (value,):
                try:
                    adapter.validate_json(dumps([each]))
                except (ValueError, RecursionError) as error:
                    why = (
                        error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
                    )
                    raise ArgumentsError(f"The argument {name!r}: {why}.") from None

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return stored arguments by the names of their parameters, with the defaults of those that were not given.

        All of it JSON data, the same in every process; a default that is none is written by its name, or its type's.
        ArgumentsError where the arguments don't fit today's signature.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(f"{self._function.__name__}{self.signature} was called otherwise: {error}.") from None
        given = set(bound.arguments)
        bound.apply_defaults()
        return {name: value if name in given else _encode_default(value) for name, value in bound.arguments.items()}

    def decode_result(self, value: Any) -> Any:
        """Return a stored result as the function's return annotation wants it, else as it is."""
        return _decode(value, self._adapters.get("return"))

    def _positional_names(self, count: int) -> list[str]:
        names: list[str] = []
        for parameter in self.signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                names += [parameter.name] * (count - len(names))
            elif parameter.kind in (
                inspect.Parameter.POSITIONAL_ONLY,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
            ):
                names.append(parameter.name)
        # A stored job may have more arguments than today's function: the call itself will say so.
        names += ["*"] * (count - len(names))
        return names[:count]

    def _collector(self, name: str) -> str:
        """The parameter that takes ``name``: itself, or the ``**kwargs`` that collects it."""
        if name in self.signature.parameters:
            return name
        for parameter in self.signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                return parameter.name
        return name

    @functools.cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        hints = _hints(self._function)
        wanted = {*self.signature.parameters, "return"}
        adapters = {name: _adapter(hint) for name, hint in hints.items() if name in wanted}
        return {name: adapter for name, adapter in adapters.items() if adapter is not None}

    @functools.cached_property
    def _checkers(self) -> dict[str, TypeAdapter[Any]]:
        hints = {name: hint for name, hint in _hints(self._function).items() if name in self.signature.parameters}
        adapters = {name: _built(_concrete(hint)) for name, hint in hints.items()}
        return {name: adapter for name, adapter in adapters.items() if adapter is not None}


class _Shape:
    """What a signature without ``*args`` and ``**kwargs`` takes. It asks ten times faster than ``bind`` does."""

    def __init__(self, parameters: Sequence[inspect.Parameter]) -> None:
        by_position = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        needed = [p for p in parameters if p.default is inspect.Parameter.empty]
        self.positional = tuple(p.name for p in by_position)
        self._keywords = {p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
        # Those with a default come last.
        self._needed = tuple(p.name for p in needed if p.kind is not inspect.Parameter.KEYWORD_ONLY)
        self._needed_keywords = tuple(p.name for p in needed if p.kind is inspect.Parameter.KEYWORD_ONLY)

    def takes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether a call fits; why it does not, ``bind`` can say."""
        count = len(args)
        if count > len(self.positional):
            return False
        for name in kwargs:
            if name not in self._keywords or name in self.positional[:count]:
                return False
        return all(name in kwargs for name in self._needed[count:]) and all(
            name in kwargs for name in self._needed_keywords
        )


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_RESULT = "the result"
_AS_JSON: Any = {"bytes_mode": "base64", "timedelta_mode": "iso8601"}


def encode_result(value: Any) -> Any:
    """Return a task's result as JSON data; SerializationError says why it can't be."""
    return _encode(value, _RESULT, None)


def encode_argument(value: Any, name: str) -> Any:
    """Return the argument ``name`` as JSON data, as `Codec.encode` does; SerializationError says why it can't be."""
    return _encode(value, name, None)


_SHORTEST = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_SORTED = json.JSONEncoder(separators=(",", ":"), allow_nan=False, sort_keys=True)


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """Write JSON data in its shortest form."""
    return (_SORTED if sort_keys else _SHORTEST).encode(value)


def _encode(value: Any, name: str, limit: int | None) -> Any:
    if _is_plain(value, _ENDLESS if limit is None else limit):
        return value
    what = name if name == _RESULT else f"the argument {name!r}"
    try:
        data = to_jsonable_python(
            value,
            **_AS_JSON,
            inf_nan_mode="constants",
            # Computed fields are told to those who read a result, and not to a model that is made again.
            round_trip=name != _RESULT,
        )
        data = _in_order(value, data)
        text = dumps(data)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise SerializationError(f"{_capital(what)} can't be stored as JSON: {_reason(value, error)}") from None
    if limit is not None and len(text) > limit:
        raise SerializationError(
            f"{_capital(what)} takes {len(text):,} bytes of JSON; at most {limit:,} are taken "
            "(RearqConfig.max_argument_bytes). Store it and pass its key instead."
        )
    if "\\u0000" in text and _holds(data, "\x00"):
        raise SerializationError(f"{_capital(what)} holds a NUL character, which SQL databases can't store.")
    if "\\ud" in text and _has_surrogate(data):
        raise SerializationError(f"{_capital(what)} holds a lone surrogate (broken Unicode), which can't be stored.")
    return data


_ENDLESS = 2**62
_LONGEST_NUMBER = 25  # as JSON writes a float; whole numbers are asked for 64 bits


def _is_plain(value: Any, limit: int) -> bool:
    """Tell at once of what most arguments are that it is JSON, short enough and storable. False: look closer."""
    kind = type(value)
    if kind is str:
        # The longest that a character is written is a pair of six each.
        return 12 * len(value) + 2 <= limit and "\x00" not in value and (value.isascii() or _is_unicode(value))
    if kind is int:
        return -(2**63) <= value < 2**63 and limit >= _LONGEST_NUMBER
    if kind is float:
        return math.isfinite(value) and limit >= _LONGEST_NUMBER
    return kind is bool or value is None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encode_default(value: Any) -> Any:
    return _in_order(value, json.loads(to_json(value, **_AS_DEFAULT)))


def _in_order(value: Any, data: Any) -> Any:
    """A set has another order in every process; equal ones are to give equal texts."""
    return sorted(data, key=dumps) if isinstance(value, set | frozenset) else data


def _named(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"<{named.__module__}.{named.__qualname__}>"


_AS_DEFAULT: Any = {**_AS_JSON, "inf_nan_mode": "strings", "round_trip": True, "fallback": _named}


def _reason(value: Any, error: Exception) -> str:
    culprit = _find_culprit(value)
    if hasattr(type(culprit), "_meta") and hasattr(culprit, "pk"):
        return f"{type(culprit).__name__} is a model instance. Pass its primary key and load it in the task."
    if callable(culprit) and not isinstance(culprit, type):
        return "it holds a function. Pass data, or the name of another task."
    if isinstance(error, PydanticSerializationError):
        return (
            f"it holds a value of type {type(culprit).__name__}. "
            "Pass what JSON knows, a date, UUID, Decimal, dataclass or pydantic model."
        )
    return f"{error}."


def _find_culprit(value: Any) -> Any:
    """Return the first innermost part of ``value`` that can't be written, else ``value``."""
    for _ in range(_DEEPEST):
        for child in _children(value):
            try:
                to_jsonable_python(child)
            except (PydanticSerializationError, ValueError, RecursionError):
                value = child
                break
        else:
            return value
    return value


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return ()


def _holds(data: Any, text: str) -> bool:
    if isinstance(data, str):
        return text in data
    if isinstance(data, dict):
        return any(_holds(part, text) for pair in data.items() for part in pair)
    return isinstance(data, list) and any(_holds(part, text) for part in data)


def _has_surrogate(data: Any) -> bool:
    if isinstance(data, str):
        return any("\ud800" <= character <= "\udfff" for character in data)
    if isinstance(data, dict):
        return any(_has_surrogate(part) for pair in data.items() for part in pair)
    return isinstance(data, list) and any(_has_surrogate(part) for part in data)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations; one that can't be resolved (imported for type checkers only) is left out."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        hints: dict[str, Any] = {}
        names = getattr(inspect.unwrap(function), "__globals__", {})
        for name, annotation in getattr(function, "__annotations__", {}).items():
            alone = types.SimpleNamespace(__annotations__={name: annotation})
            with suppress(Exception):
                hints |= typing.get_type_hints(alone, names, include_extras=True)
        return hints


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    hint = _concrete(hint)
    return None if _is_native(hint) else _built(hint)


def _built(hint: Any) -> TypeAdapter[Any] | None:
    try:
        # In a tuple, so that the configuration reaches dataclasses, which refuse one of their own from outside.
        adapter = TypeAdapter(tuple[hint], config=ConfigDict(val_json_bytes="base64"))
    except Exception:  # whatever a type's own schema raises: an odd annotation only costs us the decoding
        return None
    # Not so for a type of which a part is not defined yet.
    return adapter if adapter.pydantic_complete else None


def _concrete(hint: Any) -> Any:
    """Name a list where an annotation leaves the kind of collection open; pydantic would give a one-way iterator."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if (origin or hint) in (Iterable, Iterator, Collection):
        return list[_concrete(parts[0])] if parts else list  # type: ignore[misc]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_concrete(part) for part in parts)]  # noqa: UP007 - its members are computed
    return hint


def _is_native(hint: Any) -> bool:
    """Tell whether JSON alone brings values of this annotation back as they were."""
    if hint in _NATIVE:
        return True
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_native(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return all(type(value) in (str, int, bool, type(None)) for value in typing.get_args(hint))
    if origin in (dict, Mapping) and typing.get_args(hint):
        # JSON turns other keys into text.
        return typing.get_args(hint)[0] is str and _is_native(typing.get_args(hint)[1])
    return origin in _CONTAINERS and all(_is_native(part) for part in typing.get_args(hint))


def _decode(value: Any, adapter: TypeAdapter[Any] | None) -> Any:
    if adapter is None:
        return value
    try:
        return adapter.validate_json(dumps([value]))[0]
    except ValidationError:
        # Annotations inform, they don't enforce: `def f(day: date = None)` is called with None every day.
        return value
