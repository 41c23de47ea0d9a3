"""What can be said of the settings and the declared tasks alone, without a connection to anything."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core import checks
from django.utils.module_loading import import_string

import django_cfg_tasks
from django_cfg_tasks import conf
from django_cfg_tasks.config import TaskConfig, mask_url
from django_cfg_tasks.exceptions import ConfigurationError, DeclarationError, EmbeddedRedisError
from django_cfg_tasks.registry import tasks

BAD_CONFIGURATION = "django_cfg_tasks.E001"
BAD_API_CLASS = "django_cfg_tasks.E002"
BAD_DECLARATION = "django_cfg_tasks.E003"
BAD_DATABASE = "django_cfg_tasks.E004"
MISSING_PACKAGE = "django_cfg_tasks.E005"
EMBEDDED_REDIS = "django_cfg_tasks.W001"
LOCAL_TIMES = "django_cfg_tasks.W002"
DJANGOS_DATABASE = "django_cfg_tasks.W003"
SHARED_WITH_CACHE = "django_cfg_tasks.W004"
NOBODY_LOGGED_IN = "django_cfg_tasks.W012"

_PACKAGE = Path(django_cfg_tasks.__file__).parent
_MIDDLEWARE = "django_cfg_tasks.middleware.UserMiddleware"
_LOOPBACK = {"", "localhost", "127.0.0.1", "::1"}


def check_configuration(app_configs: Iterable[Any] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Report what can't be used (E…), and what is usable but doubtful (W…)."""
    try:
        config = conf.get_config()
    except ConfigurationError as error:
        return [
            checks.Error(
                line,
                hint=f"Correct {conf.SETTING} in the settings (the tasks attribute in a django-cfg project).",
                id=BAD_CONFIGURATION,
            )
            for line in str(error).splitlines()
        ]
    found = list(_api_classes(config))
    if config.enabled:
        used = _OF_WHAT_IS_USED if config.backend == "rearq" else _OF_ALL_BACKENDS
        found += [message for check in used for message in check(config)]
    return found


def _api_classes(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    fields = (("api_permission_classes", "has_permission"), ("api_authentication_classes", "authenticate"))
    for field, method in fields:
        names = getattr(config, field)
        # Our own are known to be right, and REST framework is not imported where nothing uses it.
        if names == type(config).model_fields[field].get_default():
            continue
        for name in names:
            if (fault := _fault_of_class(name, method)) is not None:
                yield checks.Error(
                    f"TaskConfig.{field} names {name!r}, and {fault}.",
                    hint="Until that is corrected the REST API lets nobody in.",
                    id=BAD_API_CLASS,
                )


def _fault_of_class(name: str, method: str) -> str | None:
    """Say why ``name`` is no class with ``method``; what DRF makes of ``A | B`` is callable, and no class."""
    try:
        found = import_string(name)
    except Exception as error:  # whatever the module does when it is imported
        return f"it can't be imported: {type(error).__name__}: {error}"
    if isinstance(found, type):
        return None if callable(getattr(found, method, None)) else f"it has no method {method}()"
    return None if callable(found) else "it is no class"


def _declarations(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    if (fault := tasks.fault) is not None:
        yield checks.Error(
            f"{_place_of(fault)}{type(fault).__name__}: {fault}",
            hint="Until that is corrected no worker starts and nothing can be enqueued: a task that is not declared "
            "would be missed.",
            id=BAD_DECLARATION,
        )


def _place_of(error: DeclarationError) -> str:
    """Say where somebody else's code called ours; nothing where that can't be told."""
    frames = traceback.extract_tb(error.__traceback__)
    calls = [caller for caller, called in pairwise(frames) if _is_ours(called) and not _is_ours(caller)]
    return f"{calls[-1].filename}:{calls[-1].lineno}: " if calls else ""


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return _PACKAGE in Path(frame.filename).parents


def _database(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    db_url, django = config.rearq.db_url, conf.django_database()
    if db_url is None and "sqlite" in str(django["ENGINE"]):
        return  # Python brings all that it takes, and most projects need nothing of the store to be checked
    from django_cfg_tasks.store import missing_driver, target_of_django, target_of_url

    try:
        target = target_of_django(django, conf.DATABASE_ALIAS) if db_url is None else target_of_url(db_url)
    except ConfigurationError as error:
        yield checks.Error(str(error), hint="Until then nothing can be enqueued.", id=BAD_DATABASE)
        return
    except OSError as error:  # a certificate that is to be read
        where = f"DATABASES[{conf.DATABASE_ALIAS!r}]" if db_url is None else "RearqConfig.db_url"
        yield checks.Error(
            f"{where} names a file that can't be read: {type(error).__name__}: {error}.",
            hint="Correct its path (sslrootcert, sslcert, sslkey), or its rights.",
            id=BAD_DATABASE,
        )
        return
    if (missing := missing_driver(target)) is not None:
        yield checks.Error(missing, hint="Until then nothing can be enqueued.", id=MISSING_PACKAGE)
    if db_url is None:
        return
    try:
        djangos = target_of_django(django, conf.DATABASE_ALIAS)
    except (ConfigurationError, OSError):
        return  # no database that jobs could be kept in
    if _place_of_database(target.vendor, target.credentials) == _place_of_database(djangos.vendor, djangos.credentials):
        yield checks.Warning(
            f"RearqConfig.db_url = {mask_url(db_url)!r} is Django's own database, DATABASES[{conf.DATABASE_ALIAS!r}].",
            hint="Leave db_url out: jobs are then written in the transaction that enqueues them, so that a rollback "
            "takes them along, and migrate makes the tables.",
            id=DJANGOS_DATABASE,
        )


def _place_of_database(vendor: str, credentials: dict[str, Any]) -> tuple[Any, ...]:
    if vendor == "sqlite":
        return vendor, Path(credentials["file_path"]).resolve()
    host = str(credentials.get("host") or "")
    return vendor, _one_name(host), credentials.get("port"), credentials.get("database")


def _one_name(host: str) -> str:
    """Return one name for all the ways to say: this machine."""
    return "localhost" if host in _LOOPBACK or host.startswith("/") else host.lower()


def _metrics(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    wanted = {"RearqConfig.metrics_port": config.rearq.metrics_port, "TaskConfig.metrics_token": config.metrics_token}
    for field, value in wanted.items():
        if value is not None and find_spec("prometheus_client") is None:
            yield checks.Error(
                f"{field} needs prometheus-client: pip install 'django-cfg-tasks[metrics]'.",
                hint="Until then there are no metrics; with a metrics_port, no worker starts.",
                id=MISSING_PACKAGE,
            )


def _embedded_redis(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    if not config.rearq.redis_url.startswith("embedded://"):
        return
    from django_cfg_tasks.embedded import find_server  # it needs redis-py, which checks do without

    try:
        find_server()
    except EmbeddedRedisError as error:
        yield checks.Error(
            f"RearqConfig.redis_url = {config.rearq.redis_url!r}: {error}",
            hint="Or give the URL of a Redis that runs.",
            id=MISSING_PACKAGE,
        )
    if not conf.debug():
        yield checks.Warning(
            "RearqConfig.redis_url starts an embedded Redis, and DEBUG is off: it serves this one machine only, "
            "without a password, replication or supervision.",
            hint="Run a Redis of your own in production: redis_url='redis://your-host:6379/0'.",
            id=EMBEDDED_REDIS,
        )


def _local_times(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    if not conf.uses_time_zones():
        yield checks.Warning(
            "USE_TZ = False: the history shows what a clock on the wall showed, and in the hour that comes twice in "
            "autumn not which of the two it was.",
            hint="Set USE_TZ = True. When jobs are due is reckoned in UTC in any case.",
            id=LOCAL_TIMES,
        )


def _shared_with_cache(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    ours = _place_of_redis(config.rearq.redis_url, {})
    if config.rearq.sentinels or ours is None:
        return
    for alias, cache in conf.caches().items():
        locations = cache.get("LOCATION") or ()
        urls = locations.replace(";", ",").split(",") if isinstance(locations, str) else locations
        options = cache.get("OPTIONS") or {}
        if "Redis" in str(cache.get("BACKEND")) and ours in [
            _place_of_redis(str(url).strip(), options) for url in urls
        ]:
            host, port, database = ours
            yield checks.Warning(
                f"RearqConfig.redis_url and CACHES[{alias!r}] name the same database, {host}:{port}/{database}: "
                "to clear the cache is to delete locks, limits, and which jobs are due.",
                hint=f"Give each a database of its own: redis_url='redis://{host}:{port}/{int(database) + 1}'. A cache "
                "that may evict keys needs a server of its own.",
                id=SHARED_WITH_CACHE,
            )


def _place_of_redis(url: str, options: dict[str, Any]) -> tuple[str, int, str] | None:
    """Return host, port and database of a URL; None where it is of another kind, or can't be read."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        return None
    if parts.scheme not in ("redis", "rediss"):
        return None
    asked = dict(parse_qsl(parts.query)).get("db") or parts.path.strip("/") or str(options.get("db", 0))
    return (_one_name(parts.hostname or ""), port, asked) if asked.isdigit() else None


def _middleware(config: TaskConfig) -> Iterator[checks.CheckMessage]:
    names = conf.middleware()
    if _MIDDLEWARE not in names:
        return
    outer = names[: names.index(_MIDDLEWARE)]
    if any(_logs_in(name) for name in outer):
        return
    inner = [name for name in names[len(outer) + 1 :] if _logs_in(name)]
    yield checks.Warning(
        f"{_MIDDLEWARE} stands before {inner[0]} in MIDDLEWARE: what stands between them enqueues for nobody."
        if inner
        else f"{_MIDDLEWARE} stands in MIDDLEWARE, and no AuthenticationMiddleware: jobs are for nobody, but where a "
        "view sets request.user.",
        hint="Put it after django.contrib.auth.middleware.AuthenticationMiddleware.",
        id=NOBODY_LOGGED_IN,
    )


def _logs_in(name: str) -> bool:
    from django.contrib.auth.middleware import AuthenticationMiddleware

    try:
        found = import_string(name)
    except Exception:  # Django says so at the first request
        return False
    return isinstance(found, type) and issubclass(found, AuthenticationMiddleware)


_OF_ALL_BACKENDS = (_declarations, _local_times, _middleware)
_OF_WHAT_IS_USED = (
    _declarations,
    _database,
    _metrics,
    _embedded_redis,
    _local_times,
    _shared_with_cache,
    _middleware,
)
