"""Which database holds the jobs: from a URL or one of Django's DATABASES to what its driver wants. No connection."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django_cfg_tasks.exceptions import ConfigurationError

SQLITE_BUSY_SECONDS = 20
DRIVERS = {"postgresql": ("asyncpg", "postgres"), "sqlite": ("aiosqlite", None), "mysql": ("asyncmy", "mysql")}
"""By the kind of database: the package by which the engine talks to it, and the extra that has it."""
# None is kept open for its own sake: a pool that restores a floor during an outage logs tracebacks.
_POOL = {"minsize": 0, "maxsize": 5}


@dataclass(frozen=True)
class Target:
    """A database that holds jobs: its kind, and how Tortoise connects to it."""

    vendor: str
    credentials: dict[str, Any] = field(repr=False)
    name: str
    in_django: bool


def target_of_url(url: str) -> Target:
    """Read ``RearqConfig.db_url``; ConfigurationError where the database is of no known kind."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "sqlite":
        path = unquote(parts.netloc + parts.path)
        # "sqlite:///./x.db" is the current folder; "sqlite:///x.db" the root, as it is to Tortoise.
        for relative in ("/./", "/../"):
            if path.startswith(relative):
                path = path[1:]
        if path.startswith("//"):  # "sqlite:////var/x.db", as SQLAlchemy and django-environ write it
            path = path[1:]
        return _sqlite(Path(path), options, in_django=False)
    vendor = "mysql" if parts.scheme == "mysql" else "postgresql"
    credentials = {
        "host": parts.hostname,
        "port": parts.port or _PORTS[vendor],
        "user": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "database": unquote(parts.path.strip("/")),
        **_POOL,
        **_OPTIONS[vendor](options),
    }
    return Target(vendor, credentials, f"{vendor}://{credentials['host']}/{credentials['database']}", False)


def target_of_django(settings: Mapping[str, Any], alias: str) -> Target:
    """Read one of Django's DATABASES; ConfigurationError where jobs can't be kept in it."""
    engine, name = str(settings["ENGINE"]), settings["NAME"]
    options = dict(settings.get("OPTIONS") or {})
    if "sqlite" in engine:
        if not name or ":memory:" in str(name) or "mode=memory" in str(name):
            raise ConfigurationError(
                f"DATABASES[{alias!r}] is an in-memory SQLite database, which workers can't share. "
                "Give it a file, or set RearqConfig.db_url."
            )
        pragmas = dict(re.findall(r"(?i)pragma\s+(\w+)\s*=\s*(-?\w+)", str(options.get("init_command") or "")))
        if "timeout" in options:
            pragmas["busy_timeout"] = int(float(options["timeout"]) * 1000)
        return _sqlite(Path(name), pragmas, in_django=True)
    vendor = next((vendor for part, vendor in _ENGINES_OF_DJANGO.items() if part in engine), None)
    if vendor is None:
        raise ConfigurationError(
            f"DATABASES[{alias!r}] uses {engine}, which can't hold jobs. "
            "Set RearqConfig.db_url to a PostgreSQL, MySQL or SQLite database."
        )
    credentials = {
        "host": settings.get("HOST") or None,
        "port": int(settings.get("PORT") or _PORTS[vendor]),
        "user": settings.get("USER") or None,
        "password": settings.get("PASSWORD") or None,
        "database": name,
        **_POOL,
        **_OPTIONS[vendor](options),
    }
    if vendor == "postgresql" and settings.get("DISABLE_SERVER_SIDE_CURSORS"):
        # Django's way to say that a transaction pooler stands in front: prepared statements don't survive it.
        credentials["statement_cache_size"] = 0
    if vendor == "mysql" and str(credentials["host"] or "").startswith("/"):  # as Django has it
        credentials["unix_socket"] = credentials["host"]
    return Target(vendor, credentials, f"DATABASES[{alias!r}]", True)


def missing_driver(target: Target) -> str | None:
    """Say what is to be installed before ``target`` can be reached; None where nothing is."""
    driver, _ = DRIVERS[target.vendor]
    return what_is_needed(target) if find_spec(driver) is None else None


def what_is_needed(target: Target) -> str:
    """Say what a target's driver is and how to get it."""
    driver, extra = DRIVERS[target.vendor]
    return f"Jobs are kept in {target.name}, which needs {driver}: pip install 'django-cfg-tasks[{extra}]'."


def _sqlite(path: Path, pragmas: dict[str, Any], *, in_django: bool) -> Target:
    # A file of the folder that is current now, whatever is current when the connection is opened.
    file = str(path.absolute())
    # "keep" is no mode, so that SQLite leaves it as it is: `_prefer_wal` changes it when nobody is in the way.
    pragmas = {"busy_timeout": SQLITE_BUSY_SECONDS * 1000, "journal_mode": "keep", **pragmas}
    return Target("sqlite", {"file_path": file, **pragmas}, file, in_django)


def _postgres_options(options: dict[str, Any]) -> dict[str, Any]:
    """Translate libpq's options, which Django and URLs use, into asyncpg's."""
    result: dict[str, Any] = {}
    settings = dict(re.findall(r"-c\s+([\w.]+)=(\S+)", str(options.get("options") or "")))
    if settings:
        result["server_settings"] = settings
    if options.get("application_name"):
        result["application_name"] = options["application_name"]
    if options.get("connect_timeout"):
        result["timeout"] = float(options["connect_timeout"])
    for name in ("host", "user", "password"):
        if options.get(name):
            result[name] = options[name]
    for name in ("port", "minsize", "maxsize", "statement_cache_size"):
        if name in options:
            result[name] = int(options[name])
    mode = options.get("sslmode")
    if options.get("sslrootcert"):
        context = ssl.create_default_context(cafile=options["sslrootcert"])
        context.check_hostname = mode == "verify-full"
        if options.get("sslcert"):
            context.load_cert_chain(options["sslcert"], options.get("sslkey"))
        result["ssl"] = context
    elif mode:
        result["ssl"] = mode
    return result


def _mysql_options(options: dict[str, Any]) -> dict[str, Any]:
    """Translate the options of mysqlclient, which Django and URLs use, into asyncmy's."""
    result: dict[str, Any] = {
        name: options[name] for name in ("unix_socket", "read_default_file", "read_default_group") if options.get(name)
    }
    for theirs, ours in (("host", "host"), ("user", "user"), ("password", "password"), ("passwd", "password")):
        if options.get(theirs):
            result[ours] = options[theirs]
    for name in ("port", "minsize", "maxsize", "connect_timeout"):
        if name in options:
            result[name] = int(options[name])
    given, mode = options.get("ssl"), str(options.get("ssl_mode") or "").upper()
    if isinstance(given, ssl.SSLContext):
        result["ssl"] = given
        return result
    files = dict(given) if isinstance(given, Mapping) else {}
    files |= {name: options[f"ssl_{name}"] for name in ("ca", "cert", "key") if options.get(f"ssl_{name}")}
    if mode in _TLS_MODES or files or given in (True, "true", "1"):
        context = ssl.create_default_context(cafile=files.get("ca"), capath=files.get("capath"))
        context.check_hostname = mode == "VERIFY_IDENTITY"
        # As mysqlclient has it: who the server is, is looked at where a CA is given.
        context.verify_mode = ssl.CERT_REQUIRED if files.get("ca") or mode in _VERIFYING else ssl.CERT_NONE
        if files.get("cert"):
            context.load_cert_chain(files["cert"], files.get("key"))
        result["ssl"] = context
    return result


_VERIFYING = ("VERIFY_CA", "VERIFY_IDENTITY")
_TLS_MODES = ("REQUIRED", *_VERIFYING)
_PORTS = {"postgresql": 5432, "mysql": 3306}
_OPTIONS = {"postgresql": _postgres_options, "mysql": _mysql_options}
_ENGINES_OF_DJANGO = {"postgres": "postgresql", "postgis": "postgresql", "mysql": "mysql"}
