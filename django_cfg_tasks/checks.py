"""System checks: what ``manage.py check`` says about the configuration.

The ids are stable, so that SILENCED_SYSTEM_CHECKS keeps working from one release to the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.utils.module_loading import import_string

from django_cfg_tasks import conf
from django_cfg_tasks.config import TaskConfig
from django_cfg_tasks.exceptions import ConfigurationError

TAG = "django_cfg_tasks"

BAD_CONFIGURATION = "django_cfg_tasks.E001"
BAD_API_CLASS = "django_cfg_tasks.E002"
EMBEDDED_REDIS = "django_cfg_tasks.W001"


def register_checks() -> None:
    """Make Django run these checks; calling it twice does no harm."""
    checks.register(check_configuration, TAG)


def check_configuration(app_configs: Iterable[Any] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Report a configuration that can't be used (E001), or one that is usable but doubtful (W…)."""
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
    return [message for check in _CONFIGURATION_CHECKS for message in check(config)]


def _embedded_redis(config: TaskConfig) -> list[checks.CheckMessage]:
    if conf.debug() or not config.enabled or not config.rearq.redis_url.startswith("embedded://"):
        return []
    return [
        checks.Warning(
            "RearqConfig.redis_url starts an embedded Redis, and DEBUG is off: it serves this one machine only, "
            "without a password, replication or supervision.",
            hint="Run a Redis of your own in production: redis_url='redis://your-host:6379/0'.",
            id=EMBEDDED_REDIS,
        )
    ]


def _api_classes(config: TaskConfig) -> list[checks.CheckMessage]:
    fields = (("api_permission_classes", "has_permission"), ("api_authentication_classes", "authenticate"))
    return [
        checks.Error(
            f"TaskConfig.{field} names {name!r}, and {fault}.",
            hint="Until that is corrected the REST API lets nobody in.",
            id=BAD_API_CLASS,
        )
        for field, method in fields
        # Our own are known to be right, and REST framework is not imported where nothing uses it.
        if (names := getattr(config, field)) != type(config).model_fields[field].get_default()
        for name in names
        if (fault := _fault_of_class(name, method)) is not None
    ]


def _fault_of_class(name: str, method: str) -> str | None:
    """Say why ``name`` is no class with ``method``; what DRF makes of ``A | B`` is callable, and no class."""
    try:
        found = import_string(name)
    except Exception as error:  # whatever the module does when it is imported
        return f"it can't be imported: {type(error).__name__}: {error}"
    if isinstance(found, type):
        return None if callable(getattr(found, method, None)) else f"it has no method {method}()"
    return None if callable(found) else "it is no class"


_CONFIGURATION_CHECKS = (_api_classes, _embedded_redis)
