"""What ReArq's command line loads: `rearq main:rearq worker --with-timer`, started in this folder."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django_cfg_tasks import get_rearq_client  # noqa: E402  (needs the settings)

rearq = get_rearq_client().rearq
