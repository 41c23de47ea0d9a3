"""``rearq django_cfg_tasks.main:rearq worker``: for projects without a main.py of their own."""

import os

import django
from django.apps import apps

from django_cfg_tasks.client import get_rearq_client
from django_cfg_tasks.exceptions import ConfigurationError

if not os.environ.get("DJANGO_SETTINGS_MODULE"):
    raise ConfigurationError(
        "DJANGO_SETTINGS_MODULE is not set, so there is no project to run tasks of. "
        "Set it, as in: DJANGO_SETTINGS_MODULE=project.settings rearq django_cfg_tasks.main:rearq worker"
    )
if not apps.ready:
    django.setup()
rearq = get_rearq_client().rearq
