"""``manage.py check`` says what is wrong with the configuration, and starts nothing over it."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.core import checks

from django_cfg_tasks import conf, signals
from django_cfg_tasks.checks import TAG, check_configuration, register_checks


def found(**config: Any) -> list[tuple[str, str]]:
    return [(str(message.id), message.msg) for message in check_configuration()]


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
