"""Django's door: what happens once, when the project's apps are ready.

Nothing is opened or started here. A configuration that can't be used is left to `checks`, and so is a task that can't
be declared, so that ``manage.py check`` can say what is wrong with it.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from django_cfg_tasks.exceptions import ConfigurationError, DeclarationError

BACKENDS = "django_cfg_tasks.contrib.django_tasks."


class TasksAppConfig(AppConfig):
    """The app ``tasks``: TaskLog, its admin and API, the checks and the task modules of the other apps."""

    name = "django_cfg_tasks"
    label = "tasks"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the recorder, register the checks and import the task modules of all installed apps."""
        from django_cfg_tasks import checks, conf, signals
        from django_cfg_tasks.acts import bulk  # noqa: F401 - declares the package's own task
        from django_cfg_tasks.registry import tasks

        _import_backends(conf.django_backends())
        signals.jobs_changed.connect(_on_jobs_changed, dispatch_uid="django_cfg_tasks.recorder")
        checks.register_checks()
        try:
            config = conf.get_config()
        except ConfigurationError:
            return  # checks report it; whoever enqueues gets the same error
        tasks.fault = None
        if config.enabled and config.auto_discover_tasks:
            try:
                autodiscover_modules(*config.task_modules)
            except DeclarationError as error:
                tasks.fault = error  # checks report it; whoever enqueues or starts a worker gets the same error


def _import_backends(backends: dict[str, dict[str, Any]]) -> None:
    """Make the backends of Django's task framework that are ours: a worker consumes their queues, and finds tasks."""
    if any(str(params.get("BACKEND", "")).startswith(BACKENDS) for params in backends.values()):
        from django_cfg_tasks.contrib.django_tasks import connect

        connect(backends)


def _on_jobs_changed(**change: Any) -> None:
    # The recorder is imported with the first job: most processes of a project have none.
    from django_cfg_tasks.recorder import on_jobs_changed

    on_jobs_changed(**change)
