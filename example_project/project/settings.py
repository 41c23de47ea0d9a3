"""Settings of the example shop: everything that it writes lies in one folder, `SHOP_VAR`.

Without any environment variable it runs on SQLite and on an embedded Redis. To try the servers that you run
in production, set SHOP_DATABASE_URL=postgresql://user:password@host/name, SHOP_REDIS_URL=redis://host:6379/0.
"""

import os
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from django_cfg_tasks import RearqConfig, TaskConfig

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("SHOP_VAR", BASE_DIR / "var")).resolve()
VAR_DIR.mkdir(parents=True, exist_ok=True)  # SQLite makes the file, not the folder

# Good for a demo on a loopback address only: a known key, and DEBUG, for Django to serve the admin's styles.
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "insecure-key-of-the-example-shop")
DEBUG = os.environ.get("SHOP_DEBUG", "1") == "1"
ALLOWED_HOSTS = os.environ.get("SHOP_ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_cfg_tasks",
    "shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def database(url: str | None) -> dict[str, object]:
    """SQLite in VAR_DIR, or the PostgreSQL database that `url` names."""
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": VAR_DIR / "shop.sqlite3",
            # Several processes write here. WAL lets them read meanwhile; IMMEDIATE takes the write lock when
            # a transaction starts, where SQLite still waits for it: in the middle it could only fail.
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ValueError("SHOP_DATABASE_URL must look like postgresql://user:password@host:5432/name")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),  # or the folder of a socket, as %2Frun%2Fpostgresql
        "PORT": parts.port or "",
    }


DATABASES = {"default": database(os.environ.get("SHOP_DATABASE_URL"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# No db_url: the jobs live in the database above, so that an order and its job are saved in one transaction.
DJANGO_CFG_TASKS = TaskConfig(
    enabled=True,
    metrics_token=os.environ.get("SHOP_METRICS_TOKEN"),
    rearq=RearqConfig(
        redis_url=os.environ.get("SHOP_REDIS_URL", f"embedded://{quote(str(VAR_DIR / 'redis'))}"),
        max_jobs=20,
        job_timeout=60,
        job_retry=3,
        job_retry_after=1,  # seconds; a demo shouldn't keep you waiting
    ),
)

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = VAR_DIR / "mail"
DEFAULT_FROM_EMAIL = "Leaf & Kettle <orders@shop.example>"

MEDIA_ROOT = VAR_DIR / "media"
MEDIA_URL = "media/"
STATIC_URL = "static/"

SHOP_IMPORT_DIR = BASE_DIR / "data"  # import_orders reads files below this folder, and no others
SHOP_REPORT_DIR = VAR_DIR / "reports"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
