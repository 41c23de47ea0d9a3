"""How the values of query parameters are read: strictly, so that nothing that was asked for is passed over.

Each field knows its own JSON schema. They know nothing of what they filter.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from django_cfg_tasks.jobs import MAX_NAME
from django_cfg_tasks.models import TaskLog

MOST_VALUES = 50
"""Values that one parameter takes, between commas."""
MAX_INTEGER = 2**31 - 1
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


class Parameter(forms.Field):
    """One value, not empty where it is given."""

    schema: dict[str, Any] = {"type": "string"}

    def validate(self, value: Any) -> None:
        """Refuse nothing more; `TextParameter` and others say what fits."""


class TextParameter(Parameter, forms.CharField):
    """A text as it stands, of at most 200 characters."""

    schema = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": r"^[^\x00]*$"}

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_NAME, strip=False, **options)


class AnyOfParameter(TextParameter):
    """One or several values between commas; ``choices`` are those that there are."""

    schema = {"type": "string", "minLength": 1}

    def __init__(self, choices: Collection[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self.max_length = None
        self.validators = self.validators[1:]  # the length is each value's own
        self.choices = tuple(choices)
        if choices:
            one = f"({'|'.join(choices)})"
            self.schema = {"type": "string", "pattern": f"^{one}( *, *{one})*$"}

    def clean(self, value: Any) -> list[str]:
        """Return the values, each once."""
        text = super().clean(value)
        if not text:
            return []
        values = list(dict.fromkeys(part.strip() for part in text.split(",")))
        if len(values) > MOST_VALUES:
            raise ValidationError(f"At most {MOST_VALUES} values.")
        if not all(values):
            raise ValidationError("A value between two commas is missing.")
        if any(len(one) > MAX_NAME for one in values):
            raise ValidationError(f"Each value has at most {MAX_NAME} characters.")
        if unknown := [one for one in values if self.choices and one not in self.choices]:
            raise ValidationError(f"Unknown: {', '.join(unknown)}. There are: {', '.join(self.choices)}.")
        return values


class FlagParameter(Parameter):
    """``true`` or ``false`` (also 1 and 0, yes and no)."""

    schema = {"type": "boolean"}

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        text = str(value).lower()
        if text not in _YES + _NO:
            raise ValidationError("true or false.")
        return text in _YES


class MomentParameter(Parameter):
    """A moment in ISO 8601; without an offset, in Django's time zone."""

    schema = {"type": "string", "format": "date-time"}

    def to_python(self, value: Any) -> dt.datetime | None:
        if value in self.empty_values:
            return None
        from rest_framework import ISO_8601, serializers  # not with this module: the admin needs it for this alone

        try:
            moment: dt.datetime = serializers.DateTimeField(input_formats=[ISO_8601]).run_validation(value)
        except serializers.ValidationError as error:
            raise ValidationError([str(detail) for detail in error.detail]) from None
        if not 1900 <= moment.year < 9000:  # beyond, databases and time zones give up in ways of their own
            raise ValidationError("A year from 1900 to 8999.")
        return moment


class NumberParameter(Parameter, forms.IntegerField):
    """A whole number from ``least`` to ``most``."""

    def __init__(self, least: int = 0, most: int = MAX_INTEGER, **options: Any) -> None:
        super().__init__(min_value=least, max_value=most, **options)
        self.schema = {"type": "integer", "minimum": least, "maximum": most}

    def to_python(self, value: Any) -> int | None:
        """Return digits as a number: no sign but a minus, no blanks, no point."""
        if value not in self.empty_values and not (str(value).isascii() and str(value).removeprefix("-").isdigit()):
            raise ValidationError(self.error_messages["invalid"])
        if len(str(value)) > 20:
            raise ValidationError(self.error_messages["invalid"])
        return super().to_python(value)


class ChoiceParameter(Parameter):
    """One of ``choices``, which maps what may be said to what it means."""

    def __init__(self, choices: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.choices = choices
        self.schema = {"type": "string", "enum": list(choices)}

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        if value not in self.choices:
            raise ValidationError(f"One of {', '.join(self.choices)}.")
        return self.choices[value]


class UserParameter(Parameter):
    """The primary key of a user."""

    schema = {"type": "string", "minLength": 1}

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        if "\x00" in value:
            raise ValidationError("No key of a user.")
        key = TaskLog._meta.get_field("user").target_field
        return key.clean(value, None)


def refuse_empty(data: dict[str, str], form: forms.Form) -> None:
    """Add an error for each parameter that is given without a value: a slip must not widen what is found."""
    for name in form.fields:
        if data.get(name) == "" and name not in form.errors:
            form.add_error(name, "Empty.")
