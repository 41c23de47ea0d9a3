"""The API's description: complete, and valid."""

from __future__ import annotations

from collections.abc import Callable

from tests.project import TaskProject

SETTINGS = """
INSTALLED_APPS += ["drf_spectacular"]
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
"""


def test_it_is_valid_and_without_a_warning(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(settings=SETTINGS, migrate=False)
    project.manage("spectacular", "--validate", "--fail-on-warn", "--file", "schema.yml")
    schema = (project.folder / "schema.yml").read_text()
    for path in ("logs/{key}/retry/", "logs/bulk/", "tasks/{name}/enqueue/", "schedules/{name}/pause/", "health/"):
        assert f"  /cfg/tasks/{path}:\n" in schema
    assert "Idempotency-Key" in schema


def test_the_api_works_where_spectacular_is_not_installed(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(migrate=False)
    code = "import sys\nsys.modules['drf_spectacular'] = sys.modules['drf_spectacular.utils'] = None\n"
    code += "import django\ndjango.setup()\nfrom django_cfg_tasks.api.urls import urlpatterns\n"
    views = project.json(code + "emit([pattern.callback.cls.__name__ for pattern in urlpatterns])", setup=False)
    assert "TaskLogViewSet" in views
    assert "SchemaView" not in views


def test_declaring_the_package_s_own_task_loads_no_views(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(migrate=False)
    loaded = project.json(
        "import sys\nemit([name for name in sys.modules if name.startswith('django_cfg_tasks.api.')])"
    )
    assert loaded == []
