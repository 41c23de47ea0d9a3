"""A backend for ``django.tasks``, the task framework of Django 6, and for the package django-tasks on Django 5.2.

Named in the setting ``TASKS``: ``{"default": {"BACKEND": "django_cfg_tasks.contrib.django_tasks.ReArqBackend"}}``.
"""

from django_cfg_tasks.contrib.django_tasks.backend import ReArqBackend, connect

__all__ = ["ReArqBackend", "connect"]
