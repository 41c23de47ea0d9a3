"""Which database holds the jobs: URLs and Django's settings, told to Tortoise in its drivers' words."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from django_cfg_tasks.exceptions import ConfigurationError
from django_cfg_tasks.store import Target, target_of_django, target_of_url

SECRET = "hunter2"
BUSY = {"busy_timeout": 20_000}


def django(engine: str, name: Any, **settings: Any) -> dict[str, Any]:
    """An entry of DATABASES with the keys that Django fills in."""
    empty = {"USER": "", "PASSWORD": "", "HOST": "", "PORT": "", "OPTIONS": {}, "DISABLE_SERVER_SIDE_CURSORS": False}
    return empty | {"ENGINE": f"django.db.backends.{engine}", "NAME": name} | settings


def sqlite_options(target: Target) -> dict[str, Any]:
    """The pragmas that somebody asked for."""
    return {k: v for k, v in target.credentials.items() if k not in ("file_path", "journal_mode")}


class TestSqliteUrl:
    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///./rearq.db", "{cwd}/rearq.db"),
            ("sqlite:///./data/rearq.db", "{cwd}/data/rearq.db"),
            ("sqlite:///../rearq.db", "{cwd}/../rearq.db"),
            ("sqlite://rearq.db", "{cwd}/rearq.db"),
            ("sqlite://./rearq.db", "{cwd}/rearq.db"),
            ("sqlite:///var/lib/rearq.db", "/var/lib/rearq.db"),
            ("sqlite:////var/lib/rearq.db", "/var/lib/rearq.db"),
            ("sqlite:///./with%20space%23.db", "{cwd}/with space#.db"),
        ],
    )
    def test_file(self, url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        target = target_of_url(url)
        assert (target.vendor, target.in_django) == ("sqlite", False)
        assert target.credentials["file_path"] == target.name == path.format(cwd=tmp_path)

    def test_the_folder_is_the_one_of_that_moment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        target = target_of_url("sqlite:///./rearq.db")
        monkeypatch.chdir("/")
        assert target.credentials["file_path"] == str(tmp_path / "rearq.db")

    def test_waits_for_other_writers_unless_told_how_long(self) -> None:
        assert sqlite_options(target_of_url("sqlite:///./x.db")) == BUSY
        pragmas = sqlite_options(target_of_url("sqlite:///./x.db?busy_timeout=5&synchronous=NORMAL"))
        assert pragmas == {"busy_timeout": "5", "synchronous": "NORMAL"}

    def test_a_journal_mode_that_was_asked_for(self) -> None:
        assert target_of_url("sqlite:///./x.db?journal_mode=DELETE").credentials["journal_mode"] == "DELETE"


def without_pool(target: Target) -> dict[str, Any]:
    """The credentials, where the pool is no larger than a process needs."""
    credentials = dict(target.credentials)
    assert 0 <= credentials.pop("minsize") <= credentials.pop("maxsize") <= 5
    return credentials


class TestPostgresUrl:
    def credentials(self, url: str) -> dict[str, Any]:
        target = target_of_url(url)
        assert (target.vendor, target.in_django) == ("postgresql", False)
        return without_pool(target)

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
    def test_parts(self, scheme: str) -> None:
        url = f"{scheme}://user%40x:p%2Fw%23@db.example.com:6543/tasks%2D1"
        assert self.credentials(url) == {
            "host": "db.example.com", "port": 6543, "user": "user@x", "password": "p/w#", "database": "tasks-1"
        }  # fmt: skip

    def test_what_is_left_out(self) -> None:
        assert self.credentials("postgres://localhost/tasks") == {
            "host": "localhost", "port": 5432, "user": None, "password": None, "database": "tasks"
        }  # fmt: skip

    def test_as_libpq_takes_them_from_the_query(self) -> None:
        url = f"postgresql:///tasks?host=/run/postgresql&port=6543&user=me&password={SECRET}"
        assert self.credentials(url) == {
            "host": "/run/postgresql", "port": 6543, "user": "me", "password": SECRET, "database": "tasks"
        }  # fmt: skip

    def test_the_name_says_where_and_nothing_secret(self) -> None:
        assert target_of_url(f"postgres://user:{SECRET}@db:5433/tasks").name == "postgresql://db/tasks"
        assert target_of_url(f"postgres:///tasks?host=/run&password={SECRET}").name == "postgresql:///run/tasks"

    def test_the_size_of_the_pool(self) -> None:
        credentials = target_of_url("postgres://db/tasks?minsize=2&maxsize=20").credentials
        assert (credentials["minsize"], credentials["maxsize"]) == (2, 20)


LIBPQ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"sslmode": "require"}, {"ssl": "require"}),
    ({"sslmode": "disable"}, {"ssl": "disable"}),
    ({"connect_timeout": "5"}, {"timeout": 5.0}),
    ({"connect_timeout": 5}, {"timeout": 5.0}),
    ({"application_name": "shop"}, {"application_name": "shop"}),
    ({"statement_cache_size": "0"}, {"statement_cache_size": 0}),
    (
        {"options": "-c search_path=jobs,public -c statement_timeout=5s"},
        {"server_settings": {"search_path": "jobs,public", "statement_timeout": "5s"}},
    ),
    ({"pool": True, "server_side_binding": True, "isolation_level": 2, "assume_role": "x"}, {}),
]


class TestPostgresOptions:
    """What libpq, and so Django and URLs, call by another name than asyncpg."""

    @pytest.mark.parametrize(("given", "wanted"), LIBPQ)
    def test_of_django(self, given: dict[str, Any], wanted: dict[str, Any]) -> None:
        target = target_of_django(django("postgresql", "shop", OPTIONS=given), "default")
        plain = target_of_django(django("postgresql", "shop"), "default")
        assert target.credentials == plain.credentials | wanted

    @pytest.mark.parametrize(("given", "wanted"), LIBPQ[:-1])
    def test_of_a_url(self, given: dict[str, Any], wanted: dict[str, Any]) -> None:
        target = target_of_url(f"postgres://db/shop?{urlencode(given)}")
        assert target.credentials == target_of_url("postgres://db/shop").credentials | wanted

    @pytest.mark.parametrize(("mode", "checks_host"), [("verify-ca", False), ("verify-full", True)])
    def test_a_root_certificate(self, mode: str, checks_host: bool) -> None:
        certificates = ssl.get_default_verify_paths().cafile
        if certificates is None:
            pytest.skip("this Python has no file of root certificates")
        options = {"sslmode": mode, "sslrootcert": certificates}
        context = target_of_django(django("postgresql", "shop", OPTIONS=options), "default").credentials["ssl"]
        assert isinstance(context, ssl.SSLContext)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname is checks_host
        assert context.cert_store_stats()["x509"] > 0


class TestDjangosPostgres:
    @pytest.mark.parametrize("engine", ["postgresql", "postgresql_psycopg2"])
    def test_parts(self, engine: str) -> None:
        settings = django(engine, "shop", USER="me", PASSWORD=SECRET, HOST="db", PORT="6543")
        target = target_of_django(settings, "default")
        assert without_pool(target) == {
            "host": "db", "port": 6543, "user": "me", "password": SECRET, "database": "shop"
        }  # fmt: skip
        assert (target.vendor, target.in_django, target.name) == ("postgresql", True, "DATABASES['default']")

    def test_postgis(self) -> None:
        settings = django("postgresql", "shop") | {"ENGINE": "django.contrib.gis.db.backends.postgis"}
        assert target_of_django(settings, "default").vendor == "postgresql"

    def test_what_is_left_out_is_the_drivers_choice(self) -> None:
        credentials = target_of_django(django("postgresql", "shop"), "default").credentials
        assert {credentials[name] for name in ("host", "user", "password")} == {None}
        assert credentials["port"] == 5432

    def test_behind_a_transaction_pooler(self) -> None:
        """Django's sign for one is DISABLE_SERVER_SIDE_CURSORS; prepared statements don't survive it either."""
        settings = django("postgresql", "shop", DISABLE_SERVER_SIDE_CURSORS=True)
        assert target_of_django(settings, "default").credentials["statement_cache_size"] == 0


class TestDjangosSqlite:
    @pytest.mark.parametrize("kind", [str, Path])
    def test_absolute(self, tmp_path: Path, kind: Any) -> None:
        target = target_of_django(django("sqlite3", kind(tmp_path / "db.sqlite3")), "default")
        assert (target.vendor, target.in_django) == ("sqlite", True)
        assert target.credentials["file_path"] == str(tmp_path / "db.sqlite3")
        assert sqlite_options(target) == BUSY

    def test_relative(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        target = target_of_django(django("sqlite3", "db.sqlite3"), "default")
        assert target.credentials["file_path"] == str(tmp_path / "db.sqlite3")

    def test_timeout_is_in_seconds(self, tmp_path: Path) -> None:
        target = target_of_django(django("sqlite3", tmp_path / "x", OPTIONS={"timeout": 0.5}), "default")
        assert sqlite_options(target) == {"busy_timeout": 500}

    def test_pragmas_of_the_init_command(self, tmp_path: Path) -> None:
        command = "PRAGMA journal_mode=WAL; pragma synchronous = NORMAL;\nPRAGMA cache_size=-64000;"
        options = {"init_command": command, "transaction_mode": "IMMEDIATE"}
        credentials = target_of_django(django("sqlite3", tmp_path / "x", OPTIONS=options), "default").credentials
        assert credentials == BUSY | {
            "file_path": str(tmp_path / "x"), "journal_mode": "WAL", "synchronous": "NORMAL", "cache_size": "-64000"
        }  # fmt: skip

    @pytest.mark.parametrize(
        "name", [":memory:", "", None, "file:memorydb_default?mode=memory&cache=shared", "file::memory:?cache=shared"]
    )
    def test_in_memory(self, name: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            target_of_django(django("sqlite3", name), "jobs")
        assert str(caught.value) == (
            "DATABASES['jobs'] is an in-memory SQLite database, which workers can't share. "
            "Give it a file, or set RearqConfig.db_url."
        )


class TestMySQL:
    def test_a_url(self) -> None:
        target = target_of_url(f"mysql://user:{SECRET}@db:3307/tasks?connect_timeout=5&unix_socket=/run/mysqld.sock")
        assert (target.vendor, target.name, target.in_django) == ("mysql", "mysql://db/tasks", False)
        assert target.credentials == {
            "host": "db", "port": 3307, "user": "user", "password": SECRET, "database": "tasks", "minsize": 0,
            "maxsize": 5, "connect_timeout": 5, "unix_socket": "/run/mysqld.sock",
        }  # fmt: skip

    def test_of_django(self) -> None:
        settings = django(
            "mysql", "shop", USER="me", PASSWORD=SECRET, OPTIONS={"charset": "utf8mb4", "passwd": "other"}
        )
        target = target_of_django(settings, "default")
        assert (target.vendor, target.name, target.in_django) == ("mysql", "DATABASES['default']", True)
        assert target.credentials == {
            "host": None, "port": 3306, "user": "me", "password": "other", "database": "shop", "minsize": 0,
            "maxsize": 5,
        }  # fmt: skip
        socket = target_of_django(django("mysql", "shop", HOST="/run/mysqld.sock"), "default")
        assert socket.credentials["unix_socket"] == "/run/mysqld.sock"

    def test_tls(self) -> None:
        certificates = ssl.get_default_verify_paths().cafile
        for options, required, named in (
            ({"ssl_mode": "REQUIRED"}, ssl.CERT_NONE, False),
            ({"ssl": {"ca": certificates}}, ssl.CERT_REQUIRED, False),
            ({"ssl_mode": "VERIFY_IDENTITY", "ssl_ca": certificates}, ssl.CERT_REQUIRED, True),
        ):
            context = target_of_django(django("mysql", "shop", OPTIONS=options), "default").credentials["ssl"]
            assert (context.verify_mode, context.check_hostname) == (required, named)

    def test_without_tls(self) -> None:
        assert "ssl" not in target_of_url("mysql://db/tasks?ssl_mode=DISABLED").credentials


class TestRefused:
    @pytest.mark.parametrize("engine", ["oracle", "dummy"])
    def test_other_engines_of_django(self, engine: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            target_of_django(django(engine, "shop", PASSWORD=SECRET), "default")
        assert str(caught.value) == (
            f"DATABASES['default'] uses django.db.backends.{engine}, which can't hold jobs. "
            "Set RearqConfig.db_url to a PostgreSQL, MySQL or SQLite database."
        )


@pytest.mark.parametrize(
    "target",
    [
        target_of_url(f"postgres://user:{SECRET}@db/tasks"),
        target_of_url(f"postgres://db/tasks?password={SECRET}"),
        target_of_django(django("postgresql", "shop", USER="me", PASSWORD=SECRET, HOST="db"), "default"),
        target_of_url(f"mysql://user:{SECRET}@db/tasks"),
    ],
    ids=["url", "query", "django", "mysql"],
)
def test_no_password_is_shown(target: Target) -> None:
    assert target.credentials["password"] == SECRET
    assert SECRET not in f"{target!r} {target} {target.name}"
