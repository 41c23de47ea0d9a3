"""What can be configured: two frozen pydantic models, and nothing that reads them.

Importable from a ``settings.py``: no Django, no ReArq, no I/O. `conf.py` decides which object is in force.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from django_cfg_tasks.exceptions import ConfigurationError

REDIS_SCHEMES = ("redis", "rediss", "unix", "embedded")
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql", "mysql")
TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_data", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
"""What the query of a ``rediss://`` URL may say of TLS: what every redis-py takes, in asyncio and without it."""

# Up to the last @: a password that was not percent-encoded may hold any of / ? # @.
_CREDENTIALS = re.compile(r"(?s)(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<userinfo>.*)@")
# What stands where a port belongs may be the password of a URL whose host was forgotten.
_NO_PORT = re.compile(r"(://(?:\[[^\]]*\]|[^/?#:@\[]*):)(?!\d*(?:[/?#]|$)|\*\*\*@)[^/?#]*")
_SECRET_QUERY = re.compile(r"(?i)([?&][^=&#]*(?:password|passwd|pwd|token|secret)[^=&#]*=)[^&#]*")
_RATE = re.compile(r"[1-9][0-9]{0,8}/[smhd]")
_SENTINEL_PORT = re.compile(r"[0-9]{1,5}")

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\s:]+$")]
_DOTTED = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


def mask_url(url: str) -> str:
    """Return ``url`` with any password replaced by ``***``, fit for logs and error texts."""

    def hide(match: re.Match[str]) -> str:
        user, colon, _password = match["userinfo"].partition(":")
        return f"{match['scheme']}{user}{':***' if colon else ''}@"

    return _SECRET_QUERY.sub(r"\1***", _NO_PORT.sub(r"\1***", _CREDENTIALS.sub(hide, url)))


class _Settings(BaseModel):
    """A frozen model whose errors name field, value and what is allowed, and show no password."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            # `from None`: pydantic's own report would print the values, passwords included.
            raise ConfigurationError("\n".join(_explanations(cls, error))) from None

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            # Not left to pydantic, whose error would print the value.
            raise ConfigurationError(
                f"{type(self).__name__}.{name} can't be changed: the configuration is frozen. Make a new one."
            )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if _is_secret(name) and value is not None:
                yield name, "***"
            else:
                yield name, mask_url(value) if isinstance(value, str) else value


def _is_secret(name: str | None) -> bool:
    return name is not None and ("password" in name or "token" in name)


def _explanations(model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            known = ", ".join(sorted(model.model_fields))
            yield f"{model.__name__} has no setting {path!r}. It has: {known}."
            continue
        value = detail["input"]
        shown = repr(mask_url(value)) if isinstance(value, str) else mask_url(repr(value))
        if isinstance(value, dict | BaseModel):
            shown = type(value).__name__
        if _is_secret(path) and value is not None:
            shown = "***"
        where = f"{model.__name__}.{path}" if path else model.__name__
        yield f"{where} = {shown}: {detail['msg'].removeprefix('Value error, ')}."


class RearqConfig(_Settings):
    """Where jobs are kept and how workers run them. Times are seconds unless a name says otherwise."""

    redis_url: str = "redis://localhost:6379/0"
    """The doorbell: ``redis://``, ``rediss://``, ``unix://`` or ``embedded://./folder``."""
    db_url: str | None = None
    """The truth. Unset: Django's own database. Else ``sqlite://``, ``postgres(ql)://`` or ``mysql://``."""
    max_jobs: int = Field(10, ge=1, le=10_000)
    """Jobs that one worker process runs at the same time."""
    job_timeout: Seconds = 300
    """How long a job may run before it counts as failed (and may be retried)."""
    job_retry: int = Field(3, ge=0, le=10_000)
    """How often a failed job is run again; 0 means never."""
    job_retry_after: int = Field(60, ge=0, le=31_536_000)
    """The pause before a retry."""
    keep_job_days: int | None = Field(7, ge=1, le=36_500)
    """Days after which finished jobs are deleted; None keeps them for ever."""
    delay_queue_num: int = Field(1, ge=1, le=1_024)
    """Redis sorted sets that delayed jobs are spread over."""
    logs_dir: str | None = None
    """A folder for one rotating log file per worker; None writes none."""
    server_enabled: bool = False
    """Whether ``rearq main:rearq server`` may serve the monitoring pages."""
    server_port: int = Field(8001, ge=1, le=65_535)
    """The port of the monitoring pages."""
    sentinels: list[str] = []
    """``"host:port"`` of each Redis Sentinel; empty means a plain Redis at ``redis_url``."""
    sentinel_master: str = Field("mymaster", min_length=1)
    """The name under which the Sentinels know the master."""
    sentinel_username: str | None = Field(None, min_length=1)
    """Who logs in to the Sentinels themselves; the master's user is the one of ``redis_url``."""
    sentinel_password: str | None = Field(None, min_length=1)
    """The Sentinels' own password; the master's is the one of ``redis_url``."""
    group_name: Name = "rearq"
    """The consumer group that all workers of all hosts share."""
    shutdown_timeout: float = Field(25, ge=0, le=86_400, allow_inf_nan=False)
    """How long running jobs may go on after SIGTERM before they are put back in the queue."""
    lease: float = Field(30, ge=2, le=3_600, allow_inf_nan=False)
    """How long a worker is believed alive without a sign of life."""
    max_deliveries: int = Field(3, ge=1, le=1_000)
    """How many workers may die over a job before it is failed as poison."""
    max_argument_bytes: int = Field(1_048_576, ge=1_024, le=104_857_600)
    """How large one argument may be, as JSON."""
    metrics_port: int | None = Field(None, ge=1, le=65_535)
    """The port where each worker and timer process serves its own metrics; None: it serves none."""
    metrics_host: str = Field("127.0.0.1", min_length=1)
    """The address that they are served at."""

    @field_validator("logs_dir", mode="before")
    @classmethod
    def _logs_dir(cls, folder: Any) -> Any:
        return os.fspath(folder) if isinstance(folder, os.PathLike) else folder

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, url: str) -> str:
        parts = _split(url, REDIS_SCHEMES)
        if parts.scheme in ("unix", "embedded") and not (parts.netloc + parts.path).strip("/"):
            raise ValueError(f"a path is missing after {parts.scheme}://")
        if parts.scheme in ("redis", "rediss"):
            if not parts.hostname:
                raise ValueError("a host is missing, as in redis://localhost:6379/0")
            _port(parts)
            database = parts.path.strip("/")
            if database and not (database.isascii() and database.isdigit()):
                raise ValueError("the database must be a number, as in redis://localhost:6379/0")
        _check_tls(parts)
        return url

    @field_validator("db_url")
    @classmethod
    def _db_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = _split(url, DATABASE_SCHEMES)
        if parts.scheme == "sqlite":
            path = unquote(parts.netloc + parts.path)
            if not path.strip("/") or ":memory:" in path:
                raise ValueError("a file is needed, as in sqlite:///./rearq.db (memory is not shared with workers)")
            return url
        if not parts.hostname and "host=" not in parts.query:
            raise ValueError(f"a host is missing, as in {parts.scheme}://user:password@localhost/tasks")
        if not parts.path.strip("/"):
            raise ValueError(f"a database name is missing, as in {parts.scheme}://user:password@localhost/tasks")
        _port(parts)
        return url

    @field_validator("sentinels")
    @classmethod
    def _sentinels(cls, sentinels: list[str], info: ValidationInfo) -> list[str]:
        for sentinel in sentinels:
            sentinel_address(sentinel)
        if sentinels and not info.data.get("redis_url", "redis://").startswith(("redis://", "rediss://")):
            raise ValueError(
                "they know the master's host; redis_url gives the rest (user, password, database, TLS) and must start "
                "with redis:// or rediss://"
            )
        return sentinels

    @field_validator("sentinel_password")
    @classmethod
    def _sentinel_password(cls, password: str | None, info: ValidationInfo) -> str | None:
        if password is None and info.data.get("sentinel_username") is not None:
            raise ValueError("a sentinel_username needs a password")
        return password

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """The Sentinels as (host, port) pairs, as redis-py wants them."""
        return [sentinel_address(sentinel) for sentinel in self.sentinels]


class TaskConfig(_Settings):
    """The one object of settings: ``DJANGO_CFG_TASKS = TaskConfig(...)``."""

    enabled: bool = True
    """False: tasks stay callable as plain functions, enqueueing raises TasksDisabledError."""
    backend: Literal["rearq", "immediate", "memory"] = "rearq"
    """What runs the jobs: ReArq's workers; or, in tests and without Redis, the process that enqueues them, at once or
    when it is told to."""
    rearq: RearqConfig = Field(default_factory=RearqConfig)
    """The engine's own settings."""
    auto_discover_tasks: bool = True
    """Whether the task modules of all installed apps are imported at start."""
    task_modules: list[Annotated[str, Field(pattern=_DOTTED)]] = ["tasks"]
    """The names of the modules looked for in each app."""
    public_health: bool = False
    """Whether ``health/`` answers without login, then without details: for load balancers."""
    api_permission_classes: list[Annotated[str, Field(pattern=_DOTTED)]] = Field(
        ["django_cfg_tasks.api.permissions.IsPermittedStaff"], min_length=1
    )
    """The dotted names of what decides who may use the REST API; all of them must agree."""
    api_authentication_classes: list[Annotated[str, Field(pattern=_DOTTED)]] = Field(
        ["rest_framework.authentication.SessionAuthentication", "rest_framework.authentication.BasicAuthentication"],
        min_length=1,
    )
    """The dotted names of how users of the REST API say who they are."""
    api_aggregate_rate: str | None = "120/m"
    """How often one user may ask for each of statistics, timeline, overview and export; None: without limit."""

    metrics_token: str | None = Field(None, min_length=16, max_length=1_000, pattern=r"^[!-~]+$")
    """Who sends it as a bearer token may read ``metrics`` without login; None: only users of the API may."""

    @field_validator("api_aggregate_rate")
    @classmethod
    def _api_aggregate_rate(cls, rate: str | None) -> str | None:
        if rate is not None and not _RATE.fullmatch(rate):
            raise ValueError('it takes a number and a time, as in "10/s", "100/m", "1000/h" or "5000/d"')
        return rate


def sentinel_address(text: str) -> tuple[str, int]:
    """Split ``"host:port"`` (or ``"[v6]:port"``); ValueError says what is wrong."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not _SENTINEL_PORT.fullmatch(port) or not 0 < int(port) < 65_536 or not _is_host(host):
        raise ValueError(f"a sentinel is given as 'host:port', as in 's1.example.com:26379', not {mask_url(text)!r}")
    return host, int(port)


def _is_host(text: str) -> bool:
    if ":" not in text:
        return not any(character.isspace() or character in "/@" for character in text)
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _split(url: str, schemes: tuple[str, ...]) -> SplitResult:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"the URL must start with {', '.join(f'{scheme}://' for scheme in schemes)}")
    try:
        return urlsplit(url)
    except ValueError:
        # Its own message quotes the part it can't read, which may be the password.
        raise ValueError(
            f"the URL can't be read; special characters in user and password are written as %40 and the like, "
            f"an IPv6 host as in {scheme}://[::1]"
        ) from None


def _check_tls(parts: SplitResult) -> None:
    given = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl")}
    if unknown := given.keys() - set(TLS_OPTIONS):
        raise ValueError(f"it takes no {', '.join(sorted(unknown))}; of TLS it takes {', '.join(TLS_OPTIONS)}")
    if given and parts.scheme != "rediss":
        raise ValueError(f"{', '.join(sorted(given))} is for TLS, and the URL must then start with rediss://")
    if given.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise ValueError("ssl_cert_reqs is required, optional or none")
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ValueError("ssl_keyfile is the key of a certificate: name that too, with ssl_certfile")


def _port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("the port must be a number from 1 to 65535") from error
    if port == 0:
        raise ValueError("the port must be a number from 1 to 65535")


__all__ = ["RearqConfig", "TaskConfig", "mask_url", "sentinel_address"]
