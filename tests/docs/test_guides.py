"""The guides for those who come from another queue: what their tables put in an old name's place exists."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from django_cfg_tasks import Job, RearqConfig, Retry, TaskConfig, cron_task, task
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.options import CallOptions, TaskOptions
from tests.docs import pages

GUIDES = sorted((pages.ROOT / "docs" / "howto").glob("from-*.md"))
_CODE = re.compile(r"`([^`]+)`")
_KEYWORD = re.compile(r"\b([a-z]\w*)=(?!=)")


def known_keywords() -> set[str]:
    """Return every option, setting, filter and parameter that the last column of a table may name."""
    declared = {field.name for kind in (TaskOptions, CallOptions) for field in dataclasses.fields(kind)}
    settings = {*TaskConfig.model_fields, *RearqConfig.model_fields}
    calls = {name for call in (task, cron_task, Job.wait, Retry) for name in inspect.signature(call).parameters}
    filters = {name for field in TaskLog._meta.get_fields() for name in (field.name, f"{field.name}__in")}
    return declared | settings | calls | filters | {"args", "kwargs", "a"}


@pytest.mark.parametrize("page", GUIDES, ids=pages.name)
def test_options_in_the_last_column_exist(page: Path) -> None:
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)\|", row)[-2] for row in rows]
    named = {name for cell in cells for code in _CODE.findall(cell) for name in _KEYWORD.findall(code)}
    assert len(named) > 15
    assert named - known_keywords() == set()
