"""Who did what: in the log, and in the admin's history where the admin is installed."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps
from django.db import DatabaseError

from django_cfg_tasks.models import TaskLog

logger = logging.getLogger("django_cfg_tasks.acts")


def record(user: Any, act: str, subject: str, log: TaskLog | None = None) -> None:
    """Keep that ``user`` did ``act`` to ``subject``, a job or a task; ``log`` is the job's row.

    The act has happened by then, and nothing takes it back: a database that refuses the note costs a line in the log.
    """
    logger.info("%s: %s, by %s.", subject, act, user)
    if not apps.is_installed("django.contrib.admin") or getattr(user, "pk", None) is None:
        return
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.contenttypes.models import ContentType

    try:
        LogEntry.objects.create(
            user_id=user.pk,
            content_type=ContentType.objects.get_for_model(TaskLog),
            object_id=None if log is None else str(log.pk),
            object_repr=subject[:200],
            action_flag=CHANGE,
            change_message=act,
        )
    except DatabaseError:
        logger.exception("The admin's history can't keep what %s did: %s: %s.", user, subject, act)
