"""How bells are written down for ``ring.lua``, and ``settle.lua`` among other things; and the scripts' texts."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from importlib.resources import files

from django_cfg_tasks.broker import keys
from django_cfg_tasks.broker.messages import Bell


def ringing(bells: Iterable[Bell], shards: int) -> dict[str, list[list[str]]]:
    """Return what ``ring.lua`` takes, where delayed jobs are spread over so many sets."""
    now: dict[str, list[str]] = {}
    later: list[list[str]] = []
    earliest: int | None = None
    for bell in bells:
        if bell.due_ms is None:
            now.setdefault(bell.queue, []).append(bell.job_id)
            continue
        member = keys.delayed_member(bell.queue, bell.job_id)
        # As text: of a number Lua would keep fourteen digits only.
        later.append([keys.delay_shard(member, shards), str(bell.due_ms), member])
        earliest = bell.due_ms if earliest is None else min(earliest, bell.due_ms)
    messages = [] if earliest is None else [[keys.CHANNEL, _delay_changed(earliest)]]
    return {
        "now": [[keys.stream(queue), *ids] for queue, ids in now.items()],
        "later": later,
        "messages": messages,
    }


def _delay_changed(due_ms: int) -> str:
    """The timer sleeps until the earliest due time that it knows of: tell it of an earlier one."""
    return json.dumps({"type": "delay_changed", "ms": due_ms})


@functools.cache
def script(name: str) -> str:
    """Return the text of one of the Lua files beside this."""
    return files("django_cfg_tasks.broker").joinpath(f"{name}.lua").read_text(encoding="utf-8")
