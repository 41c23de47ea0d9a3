"""The task log in the admin: to find jobs and to see how they went. Nothing can be changed here."""

from __future__ import annotations

from django.contrib import admin

from django_cfg_tasks.admin.job.page import JobPage
from django_cfg_tasks.admin.joblist.page import LogListPage
from django_cfg_tasks.models import TaskLog


@admin.register(TaskLog)
class TaskLogAdmin(LogListPage, JobPage):
    """Lists and shows jobs to those who may view task logs."""
