"""System checks: what ``manage.py check`` says of the configuration and the tasks, and with ``--deploy`` of Redis and
the workers.

The ids are stable, so that SILENCED_SYSTEM_CHECKS keeps working from one release to the next. Only what `deployment`
does opens a connection.
"""

from __future__ import annotations

from django.core import checks

from django_cfg_tasks.checks.configuration import check_configuration
from django_cfg_tasks.checks.deployment import check_deployment

__all__ = ["TAG", "check_configuration", "check_deployment", "register_checks"]

TAG = "django_cfg_tasks"


def register_checks() -> None:
    """Make Django run these checks; calling it twice does no harm."""
    checks.register(check_configuration, TAG)
    checks.register(check_deployment, TAG, deploy=True)
