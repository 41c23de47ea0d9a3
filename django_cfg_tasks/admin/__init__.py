"""The pages under ``/admin/tasks/``."""

from __future__ import annotations

from django_cfg_tasks.admin.dashboard.page import DashboardAdmin
from django_cfg_tasks.admin.tasklog import TaskLogAdmin

__all__ = ["DashboardAdmin", "TaskLogAdmin"]
