"""Arguments and results: stored as plain JSON, back as what they were where annotations say so, else refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional, Union

import pydantic
import pytest
from django.contrib.auth.models import User

from django_cfg_tasks import serialization
from django_cfg_tasks.exceptions import ArgumentsError, DeclarationError, SerializationError
from django_cfg_tasks.serialization import Codec, encode_result

if TYPE_CHECKING:
    from somewhere_else import Unknown  # type: ignore[import-not-found]

NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 123_456, tzinfo=dt.UTC)
KEY = uuid.UUID("12345678-1234-5678-1234-567812345678")
BYTES = b"\x00\xff\xfe/+"


class Color(enum.Enum):
    RED = "red"
    ONE = 1


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal
    data: bytes = b""


@dataclasses.dataclass
class Order:
    lines: list[Line]
    at: dt.datetime
    tags: frozenset[str] = frozenset()


class Invoice(pydantic.BaseModel):
    number: int
    due: dt.date
    amount: decimal.Decimal
    color: Color = Color.RED


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    net: int = pydantic.Field(alias="netAmount")

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def gross(self) -> int:
        return self.net * 2


class Point(NamedTuple):
    x: int
    day: dt.date


@dataclasses.dataclass
class HalfKnown:
    """Of a type that exists for type checkers only."""

    value: Unknown


def task_with(annotation: Any, name: str = "value") -> Callable[..., None]:
    """A function of one parameter that is annotated so."""

    def function(value: Any) -> None: ...

    function.__annotations__ = {name: annotation}
    return function


def through_the_store(codec: Codec, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """What the function would get: encoded, written as text, read, decoded."""
    encoded = codec.encode(args, kwargs)
    stored_args, stored_kwargs = json.loads(json.dumps(encoded, allow_nan=False))
    assert [stored_args, stored_kwargs] == list(encoded), "only plain JSON data is stored"
    return codec.decode(stored_args, stored_kwargs)


ROUND_TRIPS: list[tuple[Any, Any]] = [
    (dt.datetime, NOON),
    (dt.datetime, NOON.replace(tzinfo=None)),
    (dt.datetime, NOON.astimezone(zoneinfo.ZoneInfo("Asia/Kolkata"))),
    (dt.datetime, dt.datetime.min),
    (dt.datetime, dt.datetime.max),
    (dt.date, dt.date(2026, 2, 28)),
    (dt.time, dt.time(23, 59, 59, 999_999)),
    (dt.time, dt.time(1, 2, tzinfo=dt.UTC)),
    (dt.timedelta, dt.timedelta(days=400, microseconds=1)),
    (dt.timedelta, -dt.timedelta(seconds=1.5)),
    (dt.timedelta, dt.timedelta.max),
    (uuid.UUID, KEY),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (decimal.Decimal, decimal.Decimal("-1E+400")),
    (Color, Color.RED),
    (Color, Color.ONE),
    (Level, Level.HIGH),
    (Line, Line("a", decimal.Decimal("0.10"), BYTES)),
    (Order, Order([Line("a", decimal.Decimal(1), BYTES)], NOON, frozenset("xy"))),
    (Invoice, Invoice(number=1, due=dt.date(2026, 1, 1), amount=decimal.Decimal("9.90"), color=Color.ONE)),
    (Strict, Strict(netAmount=2)),
    (Point, Point(1, dt.date(2026, 1, 1))),
    (set[int], {1, 2, 3}),
    (set, {1, 2}),
    (frozenset[str], frozenset("ab")),
    (frozenset, frozenset({1})),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[int, dt.date], (1, dt.date(2026, 1, 1))),
    (tuple, (1, "a")),
    (tuple[()], ()),
    (bytes, BYTES),
    (bytes, b""),
    (list[dt.date], [dt.date(2026, 1, 1)]),
    (list[bytes], [BYTES]),
    (list[Line], [Line("a", decimal.Decimal(1), BYTES)]),
    (list[Invoice], [Invoice(number=1, due=dt.date(2026, 1, 1), amount=decimal.Decimal(1))]),
    (list[tuple[int, set[dt.date]]], [(1, {dt.date(2026, 1, 1)})]),
    (dict[str, uuid.UUID], {"a": KEY}),
    (dict[str, list[Color]], {"a": [Color.RED]}),
    (dict[int, str], {1: "a"}),
    (dict[uuid.UUID, dt.timedelta], {KEY: dt.timedelta(1)}),
    (dict[dt.date, None], {dt.date(2026, 1, 1): None}),
    (dict[bytes, int], {BYTES: 1}),
    (Optional[dt.date], None),  # noqa: UP045
    (Optional[dt.date], dt.date(2026, 1, 1)),  # noqa: UP045
    (dt.date | None, dt.date(2026, 1, 1)),
    (Union[int, uuid.UUID], KEY),  # noqa: UP007
    (int | uuid.UUID, 5),
    (int | str, "5"),
    (int | str | None, 5),
    (dt.datetime | dt.date, dt.date(2026, 1, 1)),
    (list[int] | Line, Line("a", decimal.Decimal(1))),
    (Annotated[dt.date, "when"], dt.date(2026, 1, 1)),
    (Literal["a", 1], 1),
    (Mapping[str, dt.date], {"a": dt.date(2026, 1, 1)}),
    (Sequence[dt.date], [dt.date(2026, 1, 1)]),
    (Iterable[int], [1, 2]),
    (Iterable, [1, 2]),
    (Iterable[dt.date], [dt.date(2026, 1, 1)]),
    (Iterator[dt.date], [dt.date(2026, 1, 1)]),
    (Collection[dt.date] | None, [dt.date(2026, 1, 1)]),
    (typing.Dict, {"a": 1}),  # noqa: UP006
    (typing.List, [1]),  # noqa: UP006
    (str, "\\ud800 \\u0000 ✓ 😀"),
    (int, 10**100),
    (int, True),
    (float, 1),
    (float, 0.1),
    (bool, False),
    (Any, {"a": [1, None, True, "x", 0.5]}),
    (object, "x"),
]


class TestRoundTrips:
    @pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS, ids=[str(part) for part, _ in ROUND_TRIPS])
    def test_as_a_positional_and_as_a_keyword(self, annotation: Any, value: Any) -> None:
        codec = Codec(task_with(annotation))
        [positional], _ = through_the_store(codec, value)
        _, keywords = through_the_store(codec, value=value)
        assert positional == value
        assert type(positional) is type(value)
        assert keywords == {"value": value}

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [(list[bytes], [BYTES]), (Order, Order([Line("a", decimal.Decimal(1), BYTES)], NOON))],
    )
    def test_parts_have_their_types(self, annotation: Any, value: Any) -> None:
        [back], _ = through_the_store(Codec(task_with(annotation)), value)
        part = back[0] if isinstance(back, list) else back.lines[0].data
        assert (part, type(part)) == (BYTES, bytes)

    def test_a_moment_keeps_its_offset(self) -> None:
        moment = NOON.astimezone(zoneinfo.ZoneInfo("Asia/Kolkata"))
        [back], _ = through_the_store(Codec(task_with(dt.datetime)), moment)
        assert back.utcoffset() == dt.timedelta(hours=5, minutes=30)

    def test_a_naive_moment_stays_naive(self) -> None:
        [back], _ = through_the_store(Codec(task_with(dt.datetime)), NOON.replace(tzinfo=None))
        assert back.tzinfo is None

    def test_a_generator_is_stored_as_a_list(self) -> None:
        assert through_the_store(Codec(task_with(list[int])), (n for n in (1, 2))) == ([[1, 2]], {})

    def test_args_and_kwargs_of_any_number(self) -> None:
        def function(first: int, *days: dt.date, last: uuid.UUID | None = None, **prices: decimal.Decimal) -> None: ...

        args = (1, dt.date(2026, 1, 1), dt.date(2026, 1, 2))
        kwargs = {"last": KEY, "a": decimal.Decimal("1.0"), "b": decimal.Decimal(2)}
        assert through_the_store(Codec(function), *args, **kwargs) == ([*args], kwargs)

    def test_positional_only_and_keyword_only(self) -> None:
        def function(day: dt.date, /, *, until: dt.date) -> None: ...

        day = dt.date(2026, 1, 1)
        assert through_the_store(Codec(function), day, until=day) == ([day], {"until": day})

    def test_the_context_is_left_out(self) -> None:
        def function(context: int, day: dt.date) -> None: ...

        codec = Codec(function, skip_first=True)
        assert codec.parameters == ("day",)
        assert through_the_store(codec, dt.date(2026, 1, 1)) == ([dt.date(2026, 1, 1)], {})

    def test_the_context_may_be_taken_by_star_args(self) -> None:
        def function(*args: Any) -> None: ...

        assert through_the_store(Codec(function, skip_first=True), 1, 2) == ([1, 2], {})


class TestWithoutHelpFromAnnotations:
    @pytest.mark.parametrize(
        ("value", "stored"),
        [
            (NOON, "2026-01-02T12:00:00.123456Z"),
            (dt.date(2026, 1, 1), "2026-01-01"),
            (KEY, str(KEY)),
            (decimal.Decimal("1.10"), "1.10"),
            (Color.RED, "red"),
            ((1, 2), [1, 2]),
            ({1}, [1]),
            (BYTES, "AP_-Lys="),
            (Line("a", decimal.Decimal(1)), {"sku": "a", "price": "1", "data": ""}),
            (Strict(netAmount=2), {"netAmount": 2}),
            ({1: {2: KEY}}, {"1": {"2": str(KEY)}}),
        ],
    )
    def test_values_stay_json(self, value: Any, stored: Any) -> None:
        def bare(value) -> None: ...  # type: ignore[no-untyped-def]

        for codec in (Codec(bare), Codec(task_with(Any)), Codec(task_with(object))):
            assert codec.encode([value], {}) == ([stored], {})
            assert through_the_store(codec, value) == ([stored], {})

    @pytest.mark.parametrize(
        ("annotation", "value", "raw"),
        [
            (dt.date, None, None),
            (dt.date, "tomorrow", "tomorrow"),
            (uuid.UUID, 7, 7),
            (Invoice, {"number": "x"}, {"number": "x"}),
            (tuple[int, int], (1, 2, 3), [1, 2, 3]),
            (int, "5", "5"),
            (str, NOON, "2026-01-02T12:00:00.123456Z"),
            (User, 1, 1),
            (Callable[[], int], "x", "x"),
            (HalfKnown, {"value": 1}, {"value": 1}),
            ("nonsense", 1, 1),
            (print, 1, 1),
        ],
    )
    def test_a_wrong_or_odd_annotation_leaves_the_raw_value(self, annotation: Any, value: Any, raw: Any) -> None:
        assert through_the_store(Codec(task_with(annotation)), value) == ([raw], {})

    def test_one_unknown_annotation_does_not_cost_the_others_theirs(self) -> None:
        def function(context: Unknown, day: dt.date, *, other: Unknown | None = None) -> Unknown: ...

        codec = Codec(function, skip_first=True)
        assert through_the_store(codec, dt.date(2026, 1, 1), other=1) == ([dt.date(2026, 1, 1)], {"other": 1})
        assert codec.decode_result({"x": 1}) == {"x": 1}

    def test_annotations_are_read_at_the_first_use(self) -> None:
        def function(value: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

        codec = Codec(function)
        globals()["Later"] = dt.date
        try:
            assert through_the_store(codec, dt.date(2026, 1, 1)) == ([dt.date(2026, 1, 1)], {})
        finally:
            del globals()["Later"]

    def test_stored_arguments_that_todays_function_does_not_take(self) -> None:
        """The function changed since: the call itself will say so."""
        codec = Codec(task_with(dt.date))
        assert codec.decode(["2026-01-01", "more"], {"gone": 1}) == ([dt.date(2026, 1, 1), "more"], {"gone": 1})

    def test_decoding_leaves_what_is_stored_alone(self) -> None:
        stored: dict[str, Any] = {"value": [1]}
        _, kwargs = Codec(task_with(Any)).decode([], stored)
        kwargs["more"] = 2
        assert stored == {"value": [1]}


class Callback:
    def __call__(self) -> None: ...


SELF_CONTAINED: list[Any] = []
SELF_CONTAINED.append(SELF_CONTAINED)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (User(pk=1), "User is a model instance. Pass its primary key and load it in the task."),
            (lambda: 1, "it holds a function. Pass data, or the name of another task."),
            (print, "it holds a function."),
            (Callback(), "it holds a function."),
            (object(), "it holds a value of type object. Pass what JSON knows, a date, UUID, "),
            (int, "it holds a value of type type."),
            (ValueError("x"), "it holds a value of type ValueError."),
            (range(3), "it holds a value of type range."),
            (math.nan, "Out of range float values are not JSON compliant"),
            (math.inf, "Out of range float values are not JSON compliant"),
            (-math.inf, "Out of range float values are not JSON compliant"),
            (10**5000, "Exceeds the limit (4300 digits)"),
            (SELF_CONTAINED, "Circular reference detected"),
        ],
        ids=lambda part: type(part).__name__,
    )
    @pytest.mark.parametrize(
        "wrap",
        [lambda v: v, lambda v: [1, v], lambda v: {"a": {"b": v}}, lambda v: (v,), lambda v: Line("a", v)],
        ids=["bare", "in a list", "in a dict", "in a tuple", "in a dataclass"],
    )
    def test_what_is_no_json(self, value: Any, reason: str, wrap: Callable[[Any], Any]) -> None:
        with pytest.raises(SerializationError) as caught:
            Codec(task_with(Any)).encode([wrap(value)], {})
        assert str(caught.value).startswith("The argument 'value' can't be stored as JSON: ")
        assert reason in str(caught.value)

    @pytest.mark.parametrize("depth", [300, 2_000, 20_000])
    def test_what_is_nested_too_deeply(self, depth: int) -> None:
        with pytest.raises(SerializationError, match="The argument 'value' can't be stored as JSON: "):
            Codec(task_with(Any)).encode([nested(depth)], {})

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("a\x00b", "holds a NUL character, which SQL databases can't store."),
            ("a\ud800b", "holds a lone surrogate (broken Unicode), which can't be stored."),
            ("\udfff", "holds a lone surrogate"),
        ],
        ids=["nul", "high surrogate", "low surrogate"],
    )
    @pytest.mark.parametrize(
        "wrap",
        [lambda v: v, lambda v: [v], lambda v: {"a": [v]}, lambda v: {v: 1}, lambda v: Line(v, decimal.Decimal(1))],
        ids=["bare", "in a list", "in a dict", "as a key", "in a dataclass"],
    )
    def test_text_that_databases_refuse(self, value: str, reason: str, wrap: Callable[[Any], Any]) -> None:
        with pytest.raises(SerializationError) as caught:
            Codec(task_with(Any)).encode([], {"value": wrap(value)})
        assert str(caught.value).startswith("The argument 'value' ")
        assert reason in str(caught.value) or "surrogates not allowed" in str(caught.value)

    def test_the_argument_is_named(self) -> None:
        def function(first: Any, *more: Any, named: Any = None, **others: Any) -> None: ...

        bad, codec = object(), Codec(function)
        calls: list[tuple[list[Any], dict[str, Any], str]] = [
            ([bad], {}, "first"),
            ([1, 2, bad], {}, "more"),
            ([1], {"named": bad}, "named"),
            ([1], {"other": bad}, "other"),
        ]
        for args, kwargs, name in calls:
            with pytest.raises(SerializationError, match=f"^The argument '{name}' "):
                codec.encode(args, kwargs)

    def test_large_arguments(self) -> None:
        codec = Codec(task_with(str))
        at_the_limit = "x" * 998  # and two quotation marks
        assert codec.encode([at_the_limit], {}, limit=1_000) == ([at_the_limit], {})
        with pytest.raises(SerializationError) as caught:
            codec.encode([at_the_limit + "x"], {}, limit=1_000)
        assert str(caught.value) == (
            "The argument 'value' takes 1,001 bytes of JSON; at most 1,000 are taken "
            "(RearqConfig.max_argument_bytes). Store it and pass its key instead."
        )
        assert codec.encode([at_the_limit * 2], {}) == ([at_the_limit * 2], {})

    def test_the_limit_is_for_each_argument(self) -> None:
        def function(one: str, two: str) -> None: ...

        assert Codec(function).encode(["x" * 90], {"two": "y" * 90}, limit=100) == (["x" * 90], {"two": "y" * 90})


class TestSignature:
    @pytest.mark.parametrize(
        ("args", "kwargs", "reason"),
        [
            ([], {}, "missing a required argument: 'to'"),
            (["a"], {"to": "b"}, "multiple values for argument 'to'"),
            (["a", "b", "c"], {}, "too many positional arguments"),
            (["a"], {"subjekt": "x"}, "got an unexpected keyword argument 'subjekt'"),
        ],
    )
    def test_a_mismatch_shows_signature_and_reason(self, args: list[Any], kwargs: dict[str, Any], reason: str) -> None:
        def send(to: str, subject: str = "") -> None: ...

        with pytest.raises(ArgumentsError) as caught:
            Codec(send).encode(args, kwargs)
        message = str(caught.value)
        assert message.startswith("send(to: 'str', subject: 'str' = '') -> 'None' can't be called like this: ")
        assert reason in message

    def test_the_context_is_not_an_argument(self) -> None:
        def function(context: Any, value: int) -> None: ...

        with pytest.raises(ArgumentsError, match="too many positional"):
            Codec(function, skip_first=True).encode([None, 1], {})

    def test_defaults_are_not_stored(self) -> None:
        def function(a: int = 1, *, b: int = 2) -> None: ...

        assert Codec(function).encode([], {}) == ([], {})

    def test_bind_needs_a_parameter_for_the_context(self) -> None:
        def nothing() -> None: ...
        def keywords(*, context: Any) -> None: ...

        for function in (nothing, keywords):
            with pytest.raises(DeclarationError, match=r"bind=True, so its first parameter must take the context"):
                Codec(function, skip_first=True)


def resize() -> None: ...


class TestArguments:
    """Stored arguments by the names of their parameters."""

    def test_by_name_with_the_defaults_of_those_not_given(self) -> None:
        def order(sku: str, count: int = 1, *, gift: bool = False) -> None: ...

        codec = Codec(order)
        expected = {"sku": "a", "count": 1, "gift": False}
        assert codec.arguments(["a"], {}) == codec.arguments([], {"sku": "a"}) == codec.arguments(["a", 1], {})
        assert codec.arguments(["a"], {}) == expected
        assert list(codec.arguments([], {"gift": True, "sku": "a"})) == ["sku", "count", "gift"]

    def test_what_collects_the_rest(self) -> None:
        def call(first: int, *args: int, **kwargs: int) -> None: ...

        assert Codec(call).arguments([1, 2, 3], {"b": 4}) == {"first": 1, "args": (2, 3), "kwargs": {"b": 4}}

    def test_a_default_is_written_as_a_given_value_is(self) -> None:
        for default in (NOON, KEY, BYTES, Color.RED, dt.timedelta(hours=1), Strict(netAmount=3), {"a": (1,)}):

            def report(value: Any = default) -> None: ...

            codec = Codec(report)
            given = json.loads(json.dumps(codec.encode([default], {})[0]))
            assert codec.arguments([], {}) == codec.arguments(given, {}), default

    def test_a_default_that_is_no_data_is_the_same_in_every_process(self) -> None:
        nothing = object()

        def report(how: Any = resize, missing: Any = nothing, kind: Any = Color, most: float = math.inf) -> None: ...

        assert Codec(report).arguments([], {}) == {
            "how": f"<{__name__}.resize>", "missing": "<builtins.object>", "kind": f"<{__name__}.Color>",
            "most": "Infinity",
        }  # fmt: skip

    def test_the_context_is_none_of_them(self) -> None:
        def pay(context: Any, payment: int) -> None: ...

        assert Codec(pay, skip_first=True).arguments([7], {}) == {"payment": 7}

    def test_arguments_that_do_not_fit_today(self) -> None:
        def order(sku: str) -> None: ...

        with pytest.raises(ArgumentsError, match=r"order\(sku: 'str'\) -> 'None' was called otherwise: too many"):
            Codec(order).arguments(["a", "b"], {})


class TestResults:
    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (Invoice, Invoice(number=1, due=dt.date(2026, 1, 1), amount=decimal.Decimal(1))),
            (dt.date | None, NOON.date()),
            (set[bytes], {BYTES}),
            (None, None),
            (dict[str, Any], {"a": 1}),
        ],
    )
    def test_back_as_the_return_annotation_wants(self, annotation: Any, value: Any) -> None:
        codec = Codec(task_with(annotation, "return"))
        assert codec.decode_result(json.loads(json.dumps(encode_result(value)))) == value

    def test_computed_fields_are_told(self) -> None:
        assert encode_result(Strict(netAmount=2)) == {"netAmount": 2, "gross": 4}

    def test_without_an_annotation_plain_json(self) -> None:
        assert Codec(lambda: None).decode_result(encode_result((NOON.date(), KEY))) == ["2026-01-02", str(KEY)]

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (object(), "The result can't be stored as JSON: it holds a value of type object."),
            ([User(pk=1)], "The result can't be stored as JSON: User is a model instance."),
            ({"a": math.nan}, "The result can't be stored as JSON: Out of range float values"),
            ("\x00", "The result holds a NUL character"),
        ],
    )
    def test_refusals(self, value: Any, reason: str) -> None:
        with pytest.raises(SerializationError) as caught:
            encode_result(value)
        assert str(caught.value).startswith(reason)


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class TestShortcuts:
    """What most calls are is told at once; it is what the long way would say of them."""

    VALUES: list[Any] = [
        *("", "plain", "naïve", "日本", "🎉" * 3, 'quo"ted', "back\\slash", "new\nline", "\x1f\x7f\u2028"),
        *("nul\x00", "\x00", "lone \ud800", "\udfff", "a" * 30, "é" * 30, "🎉" * 30),
        *(0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**40, True, False, None),
        *(0.0, -0.0, 1.5, 1e308, 5e-324, -1.7976931348623157e308, math.inf, -math.inf, math.nan),
        *([], {}, [1, "a"], {"a": None}, (1,), {1}, b"x", KEY, NOON, Color.RED, Level.HIGH, decimal.Decimal("1.5")),
        *(Text("a"), Text("\x00"), Whole(7), Real(2.5)),
    ]

    @pytest.mark.parametrize("limit", [None, 2, 5, 20, 24, 25, 26, 60, 100, 366, 100_000])
    def test_values(self, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        codec = Codec(task_with(Any))
        short = [outcome(lambda value=value: codec.encode([value], {}, limit=limit)) for value in self.VALUES]
        monkeypatch.setattr(serialization, "_is_plain", lambda value, limit: value is None or isinstance(value, bool))
        assert short == [outcome(lambda value=value: codec.encode([value], {}, limit=limit)) for value in self.VALUES]

    @pytest.mark.parametrize(
        "signature",
        [
            *("()", "(a)", "(a, b)", "(a, b=1)", "(a=1, b=2)", "(a, /)", "(a, /, b)", "(a, b, /, c=1)", "(a=1, /)"),
            *("(*, a)", "(*, a=1)", "(a, *, b)", "(a, *, b=1)", "(a=1, *, b)", "(a, /, b, *, c, d=1)"),
            *("(*a)", "(**a)", "(a, *b)", "(a, **b)", "(a, *b, c, **d)", "(a, /, **b)"),
        ],
    )
    def test_signatures(self, signature: str) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def function{signature}: ...", namespace)
        codec = Codec(namespace["function"])
        names = [(), ("a",), ("b",), ("c",), ("d",), ("a", "b"), ("b", "c"), ("c", "d"), ("a", "b", "c"), ("e",)]
        calls = [(list(range(count)), dict.fromkeys(keywords, 0)) for count in range(5) for keywords in names]
        short = [outcome(lambda call=call: codec.encode(*call)) for call in calls]
        assert codec._shape is None or "*a" not in signature
        codec._shape = None
        assert short == [outcome(lambda call=call: codec.encode(*call)) for call in calls]

    def test_keywords_that_are_no_texts_are_refused(self) -> None:
        with pytest.raises(ArgumentsError):
            Codec(task_with(int)).encode((), {1: 2})  # type: ignore[dict-item]
        with pytest.raises(ArgumentsError):
            Codec(task_with(int)).encode((1,), {1: 2})  # type: ignore[dict-item]


def outcome(call: Callable[[], Any]) -> str:
    """What a call gives, with the types in it, or how it is refused."""
    try:
        return repr(call())
    except (ArgumentsError, SerializationError) as error:
        return f"{type(error).__name__}: {error}"
