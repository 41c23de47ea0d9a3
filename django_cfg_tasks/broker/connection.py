"""How Redis is reached: plain, by Sentinel, or embedded; asyncio clients and blocking ones."""

from __future__ import annotations

import re
from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from django_cfg_tasks import embedded
from django_cfg_tasks.config import RearqConfig, mask_url
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0

_OUTAGES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    # Answers whose code redis-py turns into a type, and strips from the text.
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    # The script was forgotten between being loaded and being called, in a failover or a restart.
    exceptions.NoScriptError,
    OSError,
)
_NO_ACCESS = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
# A failover ends a read that waits with UNBLOCKED.
_OUTAGE_CODES = {
    *("BUSY", "LOADING", "MISCONF", "OOM"),
    *("CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "READONLY", "TRYAGAIN", "UNBLOCKED"),
}
# Where the code of Redis's answer stands: first; behind the command, in the error of a pipeline; behind the reason
# for which EXEC was refused; behind the line of the script, in Redis before 7.
_CODE = re.compile(r"""(?:^|of pipeline caused error: \(?["']|because of: |@user_script: ?\d+: )-?([A-Z]+)\b""")


def is_outage(error: BaseException) -> bool:
    """Tell whether Redis, and not the command, is at fault, so that trying again can help.

    A login that is refused is none: it needs another password, not another try.
    """
    if is_refusal(error):
        return False
    return isinstance(error, _OUTAGES) or not _OUTAGE_CODES.isdisjoint(_codes(error))


def is_refusal(error: BaseException) -> bool:
    """Tell whether Redis will not have us until somebody changes a setting."""
    return isinstance(error, _NO_ACCESS)


def is_missing_group(error: BaseException) -> bool:
    """Tell whether a stream or its consumer group is gone (a wiped Redis)."""
    return "NOGROUP" in _codes(error)


def _codes(error: BaseException) -> list[str]:
    return _CODE.findall(str(error)) if isinstance(error, exceptions.ResponseError) else []


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


def explained(config: RearqConfig, error: BaseException) -> BrokerUnavailableError | ConfigurationError | None:
    """Return what to raise instead, where Redis and not the command is at fault. It tells no password."""
    where = ", ".join(config.sentinels) or mask_url(config.redis_url)
    what = f"{type(error).__name__}: {error}"
    if is_outage(error):
        return BrokerUnavailableError(f"Redis ({where}) can't be used now: {what}")
    if is_refusal(error):
        return ConfigurationError(
            f"Redis ({where}) refuses access: {what} Check the user, the password and the rights in redis_url."
        )
    return None


async def close_client(client: Any) -> None:
    """Close a client of any redis-py: ``aclose`` came with 5.0."""
    close = getattr(client, "aclose", None) or client.close
    await close()
    pool = getattr(client, "connection_pool", None)
    if pool is not None and not hasattr(client, "subscribe"):
        await pool.disconnect()
