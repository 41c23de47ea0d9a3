"""Django's settings for the libraries that need them: PostgreSQL, connections that are kept, nothing to spare."""

import os
from urllib.parse import urlsplit

_database = urlsplit(os.environ["PEER_POSTGRES"])

SECRET_KEY = "for this measurement only"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = os.environ["PEER_VARIANT"].split(",")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database.path.strip("/"),
        "USER": _database.username,
        "PASSWORD": _database.password,
        "HOST": _database.hostname,
        "PORT": _database.port,
        "CONN_MAX_AGE": None,
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
# The producer of these rows is plain code; that it is called from a coroutine which waits for nothing else is no harm.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
Q_CLUSTER = {
    "name": "peers",
    "workers": 2,  # processes, one for each core
    "redis": os.environ["PEER_REDIS"],
    "timeout": 60,
    "retry": 120,  # longer than the timeout, as its page on configuration asks for
    "queue_limit": 50,  # as in that page's examples
    "save_limit": 0,  # keep all: with the default of 250 each job looks for one to delete
    "log_level": "WARNING",
    "scheduler": False,
}
CELERY_RESULT_BACKEND = "django-db"
