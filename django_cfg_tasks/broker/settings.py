"""What a Redis server is set to that decides whether it keeps what it is given. It only asks."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from redis import exceptions


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """None is what the server does not tell this user."""

    eviction: str | None
    """``maxmemory-policy``: which keys it deletes when memory runs short."""
    appends: bool | None
    """Whether it writes down each change (``appendonly``)."""
    snapshots: bool | None
    """Whether it writes down everything from time to time (``save``)."""


async def settings_of(client: Any) -> ServerSettings:
    """Ask for them with CONFIG, and with INFO, as each of them may be forbidden, or be unknown to a hosted Redis."""
    told: dict[str, Any] = {}
    for name in ("maxmemory-policy", "appendonly", "save"):
        told |= await _answer(client.config_get(name))
    if "maxmemory-policy" not in told:
        told |= await _answer(client.info("memory"))
    if "appendonly" not in told:
        told |= await _answer(client.info("persistence"))
    appends = told.get("appendonly", told.get("aof_enabled"))
    return ServerSettings(
        eviction=told.get("maxmemory-policy", told.get("maxmemory_policy")),
        appends=None if appends is None else appends in ("yes", 1),
        snapshots=None if "save" not in told else bool(told["save"]),
    )


async def _answer(question: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await question
    except exceptions.ResponseError:  # it may not be asked, or knows no such command
        return {}
