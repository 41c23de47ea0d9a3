"""Another backend for a while: for a block, for each test of a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from unittest import TestCase

from django.test import override_settings

from django_cfg_tasks import conf

Backend = Literal["immediate", "memory"]


@contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Keep jobs in memory while the block runs, or the function that this decorates, and begin with none.

    All else stays as it is configured.
    """
    config = conf.get_config().model_copy(update={"backend": backend})
    with override_settings(**{conf.SETTING: config}):
        yield


if TYPE_CHECKING:
    _Case = TestCase
else:
    _Case = object


class TaskTestMixin(_Case):
    """For test cases of unittest and Django: each test has a backend in memory, and no job of another test.

    Write it before the test case: ``class OrderTest(TaskTestMixin, TestCase)``.
    """

    tasks_backend: Backend = "immediate"

    def run(self, result: Any = None) -> Any:
        """Run the test with the backend that the class names."""
        with use_backend(self.tasks_backend):
            return super().run(result)


__all__ = ["TaskTestMixin", "use_backend"]
