"""The API's description in OpenAPI: it says what the code does, whatever a project does with drf-spectacular."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from django_cfg_tasks.api.base import TasksView
from tests.project import TaskProject

SCHEMA = "/cfg/tasks/schema/"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(staff: Client) -> dict[str, Any]:
    answer = staff.get(SCHEMA)
    assert answer.status_code == 200, answer.content
    return answer.json()


def endpoints(resolver: Any = None, prefix: str = "/") -> Iterator[tuple[str, str, Any]]:
    """Every address of the API with its method and an instance of its view, as Django's own resolver has them."""
    for found in (resolver or get_resolver()).url_patterns:
        path = prefix + str(found.pattern)
        if isinstance(found, URLResolver):
            yield from endpoints(found, path)
        elif isinstance(found, URLPattern) and issubclass(getattr(found.callback, "cls", object), TasksView):
            view = found.callback.cls(**found.callback.initkwargs)
            actions = getattr(found.callback, "actions", None) or {m: m for m in METHODS if hasattr(view, m)}
            for method, action in actions.items():
                if method in METHODS:
                    view.action = action
                    yield found.callback.cls.__name__, f"{method} {action}", view


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield operation | {"path": path, "method": method}


@pytest.mark.django_db
class TestTheDocument:
    def test_has_every_endpoint_once(self, document: dict[str, Any]) -> None:
        known = sorted(operation_id(name, action.split()[1]) for name, action, _ in endpoints())
        assert sorted(operation["operationId"] for operation in operations(document)) == known
        assert len(set(known)) == len(known)

    def test_has_every_query_parameter_and_no_other(self, document: dict[str, Any]) -> None:
        described = {operation["operationId"]: query(operation) for operation in operations(document)}
        for name, action, view in endpoints():
            known = set(view.get_known_parameters()) if action.startswith("get ") else set()
            assert described[operation_id(name, action.split()[1])] == known, name

    def test_says_what_each_does_and_answers(self, document: dict[str, Any]) -> None:
        for operation in operations(document):
            assert operation["description"], operation["path"]
            assert operation["tags"] == ["tasks"]
            assert {"400", "401", "403"} <= operation["responses"].keys(), operation["path"]
            assert ("404" in operation["responses"]) == ("{" in operation["path"]), operation["path"]
            assert {"cookieAuth": []} in operation["security"]
            for parameter in operation.get("parameters", []):
                assert parameter["schema"], (operation["path"], parameter["name"])
                assert parameter["description"], (operation["path"], parameter["name"])

    def test_says_what_throttled_endpoints_answer(self, document: dict[str, Any]) -> None:
        answers = {operation["operationId"]: operation["responses"] for operation in operations(document)}
        for name, action, view in endpoints():
            assert ("429" in answers[operation_id(name, action.split()[1])]) == bool(view.throttle_scope), name

    def test_is_for_who_may_view(self, django_user_model: Any) -> None:
        assert Client().get(SCHEMA).status_code in (401, 403)
        client = Client()
        client.force_login(django_user_model.objects.create_user("ann"))
        assert client.get(SCHEMA).status_code == 403


def operation_id(view: str, action: str) -> str:
    name = view.removesuffix("ViewSet").removesuffix("View")
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return f"tasks{words}" if words == f"_{action}" else f"tasks{words}_{action}"


def query(operation: dict[str, Any]) -> set[str]:
    return {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}


OWN_SETTINGS = """
INSTALLED_APPS += ["drf_spectacular"]
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
"""
STRANGE_SETTINGS = """
REST_FRAMEWORK = {"DEFAULT_PAGINATION_CLASS": None, "URL_FORMAT_OVERRIDE": "f"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Shop", "SCHEMA_PATH_PREFIX": "/cfg/tasks", "SCHEMA_PATH_PREFIX_TRIM": True, "CAMELIZE_NAMES": True,
    "COMPONENT_SPLIT_REQUEST": True, "RENDERER_WHITELIST": [], "PARSER_WHITELIST": [], "OAS_VERSION": "3.1.0",
    "PREPROCESSING_HOOKS": ["shop.hooks.nothing"],
}
"""
HOOKS = "def nothing(endpoints):\n    return []\n"
ASK = """
from django.contrib.auth import get_user_model
from django.test import Client
client = Client()
client.force_login(get_user_model().objects.create_superuser("staff"))
emit(client.get("/cfg/tasks/schema/").json())
"""


def test_spectacular_s_own_command_has_nothing_to_say(make_project: Callable[..., TaskProject]) -> None:
    project = make_project(settings=OWN_SETTINGS)
    assert "/cfg/tasks/logs/:" in project.manage("spectacular", "--validate", "--fail-on-warn")


def test_the_project_s_settings_of_spectacular_change_nothing(make_project: Callable[..., TaskProject]) -> None:
    plain = make_project(name="plain").json(ASK)
    assert len(plain["paths"]) > 8
    strange = make_project(settings=STRANGE_SETTINGS, files={"shop/hooks.py": HOOKS}, name="strange")
    assert strange.json(ASK) == plain


def test_without_spectacular_all_else_works(make_project: Callable[..., TaskProject]) -> None:
    project = make_project()
    hidden = "import sys\nsys.modules['drf_spectacular'] = None\nimport django\ndjango.setup()\n"
    statuses = project.json(
        hidden + ASK.rpartition("emit")[0] + "emit([client.get(f'/cfg/tasks/{p}/').status_code for p in "
        "('logs', 'tasks', 'schema')])",
        setup=False,
    )
    assert statuses == [200, 200, 404]
