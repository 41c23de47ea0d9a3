"""How Redis is reached: plain, by Sentinel, or embedded; asyncio clients and blocking ones."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from django_cfg_tasks import embedded
from django_cfg_tasks.config import RearqConfig

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0

_OUTAGE_PREFIXES = (
    "LOADING",
    "READONLY",
    "MISCONF",
    "OOM",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY ",
)


def is_outage(error: BaseException) -> bool:
    """Tell whether Redis, and not the command, is at fault, so that trying again can help."""
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError | TimeoutError):
        return True
    return isinstance(error, exceptions.ResponseError) and str(error).startswith(_OUTAGE_PREFIXES)


def is_missing_group(error: BaseException) -> bool:
    """Tell whether a stream or its consumer group is gone (a wiped Redis)."""
    return isinstance(error, exceptions.ResponseError) and "NOGROUP" in str(error)


def async_client(config: RearqConfig, *, answer: float = ANSWER_SECONDS, most: int = 10) -> redis.asyncio.Redis:
    """Return a client for the home loop; it connects at its first command, ``most`` connections at once."""
    if config.sentinels:
        options = _options(config)
        sentinel = AsyncSentinel(config.sentinel_addresses, socket_connect_timeout=CONNECT_SECONDS)
        client: redis.asyncio.Redis = sentinel.master_for(config.sentinel_master, socket_timeout=answer, **options)
        return client
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        _url(config), max_connections=most, timeout=ANSWER_SECONDS, socket_timeout=answer, **_COMMON
    )
    return redis.asyncio.Redis(connection_pool=pool)


def blocking_client(config: RearqConfig) -> redis.Redis:
    """Return a client for a thread of its own."""
    if config.sentinels:
        sentinel = Sentinel(config.sentinel_addresses, socket_connect_timeout=CONNECT_SECONDS)
        client: redis.Redis = sentinel.master_for(
            config.sentinel_master, socket_timeout=ANSWER_SECONDS, **_options(config)
        )
        return client
    return redis.Redis.from_url(_url(config), socket_timeout=ANSWER_SECONDS, **_COMMON)


_COMMON: dict[str, Any] = {"decode_responses": True, "socket_connect_timeout": CONNECT_SECONDS}


def _url(config: RearqConfig) -> str:
    if config.redis_url.startswith("embedded://"):
        return embedded.ensure_running(config.redis_url)
    return config.redis_url


def _options(config: RearqConfig) -> dict[str, Any]:
    """Take database, user and password for a Sentinel's master from ``redis_url``."""
    options = dict(redis.connection.parse_url(config.redis_url))
    for name in ("host", "port", "path", "connection_class"):
        options.pop(name, None)
    return {**options, **_COMMON}
