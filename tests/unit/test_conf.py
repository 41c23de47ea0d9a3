"""Which configuration is in force: the setting, django-cfg's, or the defaults; read once, until settings change."""

from __future__ import annotations

import importlib
import sys
import threading
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_cfg_tasks import RearqConfig, TaskConfig, conf, get_rearq_client
from django_cfg_tasks.exceptions import ConfigurationError

STATE = """\
current = None

def get_current_config():
    return current
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing that one test read reaches another."""
    conf.reset_config()
    yield
    conf.reset_config()


MODULES = ("django_cfg", "django_cfg.core", "django_cfg.core.state")


@pytest.fixture
def django_cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """A django_cfg that is imported: ``use(config)`` makes ``config`` its current one."""
    core = tmp_path / "django_cfg" / "core"
    core.mkdir(parents=True)
    (tmp_path / "django_cfg" / "__init__.py").write_text("")
    (core / "__init__.py").write_text("")
    (core / "state.py").write_text(STATE)
    monkeypatch.syspath_prepend(tmp_path)
    assert not sys.modules.keys() & {*MODULES}

    def use(config: Any) -> None:
        importlib.import_module("django_cfg.core.state").current = config  # type: ignore[attr-defined]

    yield use
    for name in MODULES:
        sys.modules.pop(name, None)


class DjangoConfig:
    """What a django-cfg project makes: an object whose attribute ``tasks`` may be ours."""

    def __init__(self, tasks: Any) -> None:
        self.tasks = tasks


class TestPrecedence:
    def test_the_setting_as_an_object(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = TaskConfig(enabled=False)
        assert conf.get_config() is settings.DJANGO_CFG_TASKS

    def test_the_setting_as_a_dict(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"enabled": False, "rearq": {"max_jobs": 20}}
        assert conf.get_config() == TaskConfig(enabled=False, rearq=RearqConfig(max_jobs=20))

    @pytest.mark.parametrize("setting", [{"enabled": False}, {}])
    def test_the_setting_before_django_cfg(
        self, settings: Any, django_cfg: Callable[[Any], None], setting: dict[str, Any]
    ) -> None:
        settings.DJANGO_CFG_TASKS = setting
        django_cfg(DjangoConfig(TaskConfig(task_modules=["jobs"])))
        assert conf.get_config() == TaskConfig(**setting)

    @pytest.mark.parametrize("absent", [True, False])
    def test_django_cfg_where_the_setting_is_absent_or_none(
        self, settings: Any, django_cfg: Callable[[Any], None], absent: bool
    ) -> None:
        settings.DJANGO_CFG_TASKS = None
        if absent:
            del settings.DJANGO_CFG_TASKS
        config = TaskConfig(task_modules=["jobs"])
        django_cfg(DjangoConfig(config))
        assert conf.get_config() is config

    @pytest.mark.parametrize("config", [None, object(), DjangoConfig(None), DjangoConfig({"enabled": False})])
    def test_the_defaults_where_django_cfg_holds_no_task_config(
        self, settings: Any, django_cfg: Callable[[Any], None], config: Any
    ) -> None:
        del settings.DJANGO_CFG_TASKS
        django_cfg(config)
        assert conf.get_config() == TaskConfig()

    def test_the_defaults(self, settings: Any) -> None:
        del settings.DJANGO_CFG_TASKS
        assert conf.get_config() == TaskConfig()

    def test_django_cfg_is_not_imported_by_us(self, settings: Any, django_cfg: Callable[[Any], None]) -> None:
        """It lies on the path, but nobody has imported it."""
        del settings.DJANGO_CFG_TASKS
        assert conf.get_config() == TaskConfig()
        assert not sys.modules.keys() & {*MODULES}


class TestMistakes:
    @pytest.mark.parametrize("value", ["redis://localhost", 5, [("enabled", True)], RearqConfig(), TaskConfig, False])
    def test_a_setting_of_another_type(self, settings: Any, value: Any) -> None:
        settings.DJANGO_CFG_TASKS = value
        with pytest.raises(ConfigurationError) as caught:
            conf.get_config()
        assert str(caught.value) == (
            f"settings.DJANGO_CFG_TASKS is a {type(value).__name__}; "
            "it must be a django_cfg_tasks.TaskConfig or a dict of its shape."
        )

    def test_a_dict_of_another_shape(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"redis_url": "redis://localhost"}
        with pytest.raises(ConfigurationError, match="TaskConfig has no setting 'redis_url'"):
            conf.get_config()

    def test_a_mistake_is_not_remembered(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = 5
        with pytest.raises(ConfigurationError):
            conf.get_config()
        settings.DJANGO_CFG_TASKS = {}
        assert conf.get_config() == TaskConfig()


class TestCache:
    def test_it_is_read_once(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"enabled": False}
        first = conf.get_config()
        settings.DJANGO_CFG_TASKS["enabled"] = True  # no setting changed: the same dict
        assert conf.get_config() is first

    def test_fifty_threads_see_one_object(self, settings: Any) -> None:
        settings.DJANGO_CFG_TASKS = {"enabled": False}
        seen: list[TaskConfig] = []
        start = threading.Barrier(50)

        def read() -> None:
            start.wait(10)
            seen.append(conf.get_config())

        threads = [threading.Thread(target=read) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(seen) == 50
        assert len({id(config) for config in seen}) == 1

    def test_override_settings_is_seen_and_undone(self) -> None:
        before = conf.get_config()
        with override_settings(DJANGO_CFG_TASKS={"task_modules": ["jobs"]}):
            assert conf.get_config().task_modules == ["jobs"]
        assert conf.get_config() == before
        assert conf.get_config().task_modules == ["tasks"]

    @pytest.mark.parametrize("setting", ["DJANGO_CFG_TASKS", "TIME_ZONE"])
    def test_those_who_built_on_it_start_anew(self, setting: str) -> None:
        client = get_rearq_client()
        assert get_rearq_client() is client
        with override_settings(**{setting: {} if setting == "DJANGO_CFG_TASKS" else "Asia/Tokyo"}):
            inside = get_rearq_client()
            assert inside is not client
        assert get_rearq_client() is not inside

    def test_other_settings_leave_it_alone(self) -> None:
        config, client = conf.get_config(), get_rearq_client()
        with override_settings(DEBUG=True, INSTALLED_APPS=[]):
            assert conf.get_config() is config
            assert get_rearq_client() is client

    def test_callbacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called: list[str] = []
        monkeypatch.setattr(conf, "_on_reset", [])
        conf.on_reset(lambda: called.append("first"))
        conf.on_reset(lambda: called.append("second"))
        conf.reset_config()
        assert called == ["first", "second"]


class TestDjangosSettings:
    def test_time_zone(self, settings: Any) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        assert conf.current_timezone() == zoneinfo.ZoneInfo("Europe/Berlin")

    @pytest.mark.parametrize("on", [True, False])
    def test_debug(self, settings: Any, on: bool) -> None:
        settings.DEBUG = on
        assert conf.debug() is on

    @pytest.mark.django_db
    def test_database_is_the_one_that_the_tests_use(self) -> None:
        """The test runner renames it after the settings were read."""
        from django.db import connection

        assert conf.django_database()["NAME"] == connection.settings_dict["NAME"]
        assert conf.django_database()["ENGINE"] == connection.settings_dict["ENGINE"]
