"""The only reader of ``django.conf.settings``: which configuration is in force.

In this order: the setting ``DJANGO_CFG_TASKS`` (a TaskConfig, or a dict of its shape), the ``tasks``
attribute of the current django-cfg ``DjangoConfig`` if that holds a TaskConfig, the defaults.
"""

from __future__ import annotations

import sys
import threading
import zoneinfo
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from django_cfg_tasks.config import TaskConfig
from django_cfg_tasks.exceptions import ConfigurationError

SETTING = "DJANGO_CFG_TASKS"
DATABASE_ALIAS = "default"
"""The Django database that holds the jobs where ``db_url`` is not set."""

_lock = threading.Lock()
_config: TaskConfig | None = None
_on_reset: list[Callable[[], None]] = []


def get_config() -> TaskConfig:
    """Return the configuration in force, read once; ConfigurationError where it can't be used."""
    global _config
    config = _config
    if config is None:
        with _lock:
            config = _config = _config or _read()
    return config


def reset_config() -> None:
    """Forget what was read, and let those who built on it start anew (tests change settings)."""
    global _config
    with _lock:
        _config = None
    for callback in _on_reset:
        callback()


def on_reset(callback: Callable[[], None]) -> None:
    """Call ``callback`` whenever the configuration changes under the process's feet."""
    _on_reset.append(callback)


def django_database() -> dict[str, Any]:
    """Return the settings of the Django database that holds the jobs where ``db_url`` is not set.

    Read from the live connection, so that a test runner's database is the one that is used.
    """
    from django.db import connections

    return dict(connections[DATABASE_ALIAS].settings_dict)


def current_timezone() -> zoneinfo.ZoneInfo:
    """Return Django's ``TIME_ZONE``, in which cron expressions and naive times are read."""
    return zoneinfo.ZoneInfo(settings.TIME_ZONE)


def uses_time_zones() -> bool:
    """Tell whether Django's ``USE_TZ`` is on."""
    return bool(settings.USE_TZ)


def caches() -> dict[str, dict[str, Any]]:
    """Return Django's ``CACHES``."""
    return dict(settings.CACHES)


def middleware() -> list[str]:
    """Return Django's ``MIDDLEWARE``, from the outermost to the view."""
    return list(settings.MIDDLEWARE)


def django_backends() -> dict[str, dict[str, Any]]:
    """Return Django's ``TASKS``: the backends of its own task framework."""
    return dict(getattr(settings, "TASKS", None) or {})


def root_urlconf() -> str:
    """Return the name of the module of Django's ``ROOT_URLCONF``; an empty text where there is none."""
    urls = getattr(settings, "ROOT_URLCONF", None)
    return urls if isinstance(urls, str) else ""


def debug() -> bool:
    """Tell whether Django runs with ``DEBUG`` on."""
    return bool(settings.DEBUG)


def _read() -> TaskConfig:
    value = getattr(settings, SETTING, None)
    if value is None:
        return _from_django_cfg() or TaskConfig()
    if isinstance(value, TaskConfig):
        return value
    if isinstance(value, dict):
        return TaskConfig.model_validate(value)
    raise ConfigurationError(
        f"settings.{SETTING} is a {type(value).__name__}; "
        "it must be a django_cfg_tasks.TaskConfig or a dict of its shape."
    )


def _from_django_cfg() -> TaskConfig | None:
    # A django-cfg project has imported django_cfg to build its settings; where nobody did, we need not.
    if "django_cfg" not in sys.modules:
        return None
    from django_cfg.core.state import get_current_config

    tasks = getattr(get_current_config(), "tasks", None)
    return tasks if isinstance(tasks, TaskConfig) else None


def _setting_changed(*, setting: str, **_: Any) -> None:
    if setting in (SETTING, "DATABASES", "TIME_ZONE"):
        reset_config()


setting_changed.connect(_setting_changed, dispatch_uid="django_cfg_tasks.conf")
