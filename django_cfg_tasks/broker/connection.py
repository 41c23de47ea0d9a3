"""How Redis is reached: plain, by TLS, by Sentinel, or embedded; asyncio clients and blocking ones.

A connection whose Redis says that it is a replica closes itself, so that its next use finds the master: behind
Sentinels by asking them, else by the host's name, which managed Redis gives to the new master.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis import exceptions

from django_cfg_tasks import embedded
from django_cfg_tasks.broker.faults import is_demotion
from django_cfg_tasks.broker.sentinel import Sentinels, check_role
from django_cfg_tasks.config import RearqConfig
from django_cfg_tasks.exceptions import ConfigurationError

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
SENTINEL_SECONDS = 2.0
"""How long a Sentinel may take to let us in, and to answer: the next one is asked then."""


def async_client(config: RearqConfig, *, answer: float = ANSWER_SECONDS, most: int = 10) -> redis.asyncio.Redis:
    """Return a client for the home loop; it connects at its first command, ``most`` connections at once.

    ConfigurationError where a file of TLS can't be read.
    """
    pool = redis.asyncio.BlockingConnectionPool(
        **_way(config, _ASYNCIO), max_connections=most, timeout=ANSWER_SECONDS, socket_timeout=answer
    )
    return redis.asyncio.Redis(connection_pool=pool)


def blocking_client(config: RearqConfig) -> redis.Redis:
    """Return a client for a thread of its own; errors as `async_client`."""
    return redis.Redis(connection_pool=redis.ConnectionPool(**_way(config, _BLOCKING), socket_timeout=ANSWER_SECONDS))


def master_of(config: RearqConfig) -> str | None:
    """Return where the Sentinels last said that the master is, as ``host:port``; None without Sentinels."""
    found = _sentinels(config.model_dump_json()).found if config.sentinels else None
    return f"{found[0]}:{found[1]}" if found else None


async def has_moved(pubsub: Any) -> bool:
    """Tell whether the master is elsewhere than where this subscription is, as far as Sentinels say."""
    connection = pubsub.connection
    sentinels = getattr(connection, "_sentinels", None)
    return sentinels is not None and await sentinels.has_moved((connection.host, connection.port))


async def close_client(client: Any) -> None:
    """Close a client of any redis-py: ``aclose`` came with 5.0."""
    close = getattr(client, "aclose", None) or client.close
    await close()
    pool = getattr(client, "connection_pool", None)
    if pool is not None and not hasattr(client, "subscribe"):
        await pool.disconnect()


# Connections

if TYPE_CHECKING:
    from redis import Connection as _BlockingBase
    from redis.asyncio import Connection as _AsyncBase
else:
    _AsyncBase = _BlockingBase = object


class _Asyncio(_AsyncBase):  # type: ignore[misc]  # redis-py 4 is not typed
    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except exceptions.ResponseError as error:
            if is_demotion(error):
                await self.disconnect(nowait=True)
                raise _demoted(error) from error
            raise


class _Blocking(_BlockingBase):  # type: ignore[misc]
    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)
        except exceptions.ResponseError as error:
            if is_demotion(error):
                self.disconnect()
                raise _demoted(error) from error
            raise


class _SoughtAsyncio(_Asyncio):
    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(redis_connect_func=_enter_asyncio, **options)

    async def connect(self) -> None:
        if self.is_connected and await self._sentinels.has_moved((self.host, self.port)):
            await self.disconnect(nowait=True)
        await super().connect()

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinels.afind()
        await super()._connect()


class _SoughtBlocking(_Blocking):
    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(redis_connect_func=_enter_blocking, **options)

    def connect(self) -> None:
        if self._sentinels.found != (self.host, self.port):  # the asyncio ones ask
            self.disconnect()
        super().connect()

    def _connect(self) -> Any:
        self.host, self.port = self._sentinels.find()
        return super()._connect()


async def _enter_asyncio(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("ROLE", check_health=False)
    check_role(connection, await connection.read_response())


def _enter_blocking(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("ROLE", check_health=False)
    check_role(connection, connection.read_response())


def _demoted(error: BaseException) -> exceptions.ConnectionError:
    return exceptions.ConnectionError(f"the master has become a replica ({error})")


def _kinds(module: Any, plain: type, sought: type) -> dict[str, type]:
    """Return the classes of connections of redis-py's asyncio or blocking half, by what they are for."""
    return {
        "redis": type("Connection", (plain, module.Connection), {}),
        "rediss": type("TLSConnection", (plain, module.SSLConnection), {}),
        "unix": type("UnixConnection", (plain, module.UnixDomainSocketConnection), {}),
        "redis by sentinel": type("SoughtConnection", (sought, module.Connection), {}),
        "rediss by sentinel": type("SoughtTLSConnection", (sought, module.SSLConnection), {}),
    }


_ASYNCIO = _kinds(redis.asyncio, _Asyncio, _SoughtAsyncio)
_BLOCKING = _kinds(redis, _Blocking, _SoughtBlocking)


# What they are told


def _way(config: RearqConfig, kinds: dict[str, type]) -> dict[str, Any]:
    """Return the class of the connections to Redis, and what they are made with."""
    scheme, options = _options(config)
    if config.sentinels:
        scheme += " by sentinel"
        options["sentinels"] = _sentinels(config.model_dump_json())
        for name in ("host", "port"):
            options.pop(name, None)
    return {"connection_class": kinds[scheme], **options}


def _options(config: RearqConfig) -> tuple[str, dict[str, Any]]:
    url = config.redis_url
    if url.startswith("embedded://"):
        url = embedded.ensure_running(url)
    options = dict(redis.connection.parse_url(url))
    # Set by us, for every kind of use another.
    for name in ("connection_class", "max_connections", "timeout"):
        options.pop(name, None)
    scheme = url.partition("://")[0]
    if scheme == "rediss":
        options |= _tls(options)
    return scheme, {**options, "decode_responses": True, "socket_connect_timeout": CONNECT_SECONDS}


def _tls(options: dict[str, Any]) -> dict[str, Any]:
    """Return what every redis-py is to be told alike: 4 compares no names unless told to, and 6 does."""
    told = {name: value for name, value in options.items() if name.startswith("ssl_")}
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in told:
            _check_file(name, told[name])
    if "ssl_certfile" in told:
        told.setdefault("ssl_keyfile", told["ssl_certfile"])  # one file may hold both
    checked = told.get("ssl_cert_reqs", "required") != "none"
    told["ssl_check_hostname"] = checked and told.get("ssl_check_hostname", True)
    return told


def _check_file(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"RearqConfig.redis_url: {name}={path} can't be read by this process ({error.strerror}, current folder "
            f"{Path.cwd()}). Correct the path, or give the user that runs it the right to read the file."
        ) from error


@functools.lru_cache(maxsize=8)
def _sentinels(config_json: str) -> Sentinels:
    """Return the one that all connections of a process share."""
    config = RearqConfig.model_validate_json(config_json)
    scheme, all_options = _options(config)
    options = {
        **{name: value for name, value in all_options.items() if name.startswith("ssl_")},
        "username": config.sentinel_username,
        "password": config.sentinel_password,
        "decode_responses": True,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "socket_timeout": SENTINEL_SECONDS,
    }
    return Sentinels(
        config.sentinel_addresses,
        config.sentinel_master,
        connect=lambda address: _BLOCKING[scheme](host=address[0], port=address[1], **options),
        aconnect=lambda address: _ASYNCIO[scheme](host=address[0], port=address[1], **options),
    )
