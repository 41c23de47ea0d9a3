"""Django settings of the tests that run in pytest's own process.

SQLite in a file (several connections must see the same rows), or a private PostgreSQL or MariaDB with
``TEST_DATABASE=postgres`` or ``mysql``. Redis is the test's own: see the fixture `tasks_config`.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

SECRET_KEY = "tests-only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "django_cfg_tasks",
    "tests.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _database() -> dict[str, Any]:
    match os.environ.get("TEST_DATABASE", "sqlite"):
        case "sqlite":
            # The test database is this file; pytest-django makes it and removes it.
            file = Path(tempfile.gettempdir()) / f"django_cfg_tasks-{os.getpid()}.sqlite3"
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "TEST": {"NAME": str(file)}}
        case "postgres":
            from tests.postgres_server import process_postgres

            return process_postgres().django()
        case "mysql":
            from tests.mysql_server import process_mysql

            return process_mysql().django()
        case other:
            raise ValueError(f"TEST_DATABASE={other}: choose sqlite, postgres or mysql")


DATABASES = {"default": _database()}

# No Redis listens on this port: a test that forgot to ask for one fails instead of finding someone else's.
DJANGO_CFG_TASKS = {"rearq": {"redis_url": "redis://127.0.0.1:1/0"}}
