"""Who gets in where: every route as every kind of user, whatever the project's own defaults are."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client
from django.urls import get_resolver
from rest_framework.permissions import AllowAny

from django_cfg_tasks import cron_task, get_rearq_client, task
from django_cfg_tasks.api import live
from django_cfg_tasks.health import HealthReport, check_health
from django_cfg_tasks.recorder import upsert
from django_cfg_tasks.registry import tasks
from django_cfg_tasks.store import schema
from tests.records import queued

pytestmark = pytest.mark.django_db(transaction=True)
VIEW, RETRY, CANCEL, RUN, MANAGE = (f"{act}_tasklog" for act in ("view", "retry", "cancel", "run", "manage"))
BULK = {"action": "retry", "filter": {"status": "failed"}}

# The route's name -> method, path, permission, body, what who may is answered.
ROUTES: dict[str, tuple[str, str, str, Any, int]] = {
    "log-list": ("get", "logs/", VIEW, None, 200),
    "log-detail": ("get", "logs/some/", VIEW, None, 200),
    "log-related": ("get", "logs/some/related/", VIEW, None, 200),
    "log-stats": ("get", "logs/stats/", VIEW, None, 200),
    "log-timeline": ("get", "logs/timeline/", VIEW, None, 200),
    "log-overview": ("get", "logs/overview/", VIEW, None, 200),
    "log-export": ("get", "logs/export/", VIEW, None, 200),
    "worker-list": ("get", "workers/", VIEW, None, 200),
    "queue-list": ("get", "queues/", VIEW, None, 200),
    "task-list": ("get", "tasks/", VIEW, None, 200),
    "schedule-list": ("get", "schedules/", VIEW, None, 200),
    "health": ("get", "health/", VIEW, None, 503),
    "metrics": ("get", "metrics", VIEW, None, 200),
    "schema": ("get", "schema/", VIEW, None, 200),
    "log-retry": ("post", "logs/some/retry/", RETRY, {}, 409),
    "log-cancel": ("post", "logs/some/cancel/", CANCEL, {}, 409),
    "log-bulk": ("post", "logs/bulk/", RETRY, BULK, 202),
    "task-enable": ("post", "tasks/open_task/enable/", MANAGE, {}, 200),
    "task-disable": ("post", "tasks/open_task/disable/", MANAGE, {}, 200),
    "task-enqueue": ("post", "tasks/open_task/enqueue/", RUN, {}, 201),
    "schedule-run": ("post", "schedules/nightly/run/", RUN, {}, 201),
    "schedule-pause": ("post", "schedules/nightly/pause/", MANAGE, {}, 200),
    "schedule-resume": ("post", "schedules/nightly/resume/", MANAGE, {}, 200),
}


def served() -> set[str]:
    """The names of the routes that there are."""
    names = get_resolver("django_cfg_tasks.api.urls").reverse_dict
    return {name for name in names if isinstance(name, str)}


@pytest.fixture(autouse=True)
def _engine(tasks_config: Callable[..., Any], transactional_db: None) -> Iterator[None]:
    from django.db import connection

    tasks_config()
    cache.clear()
    with connection.cursor() as cursor:
        for table in (schema.RESULTS, schema.JOBS, schema.TASKS):
            cursor.execute(f"DELETE FROM {table}")

    @task(name="open_task", allow_api=True)
    def open_task() -> None: ...

    @cron_task("0 4 * * *", name="nightly")
    def nightly() -> None: ...

    upsert([queued("some")])
    yield
    for name in ("open_task", "nightly"):
        tasks.remove(name)
    get_rearq_client().close()


@pytest.fixture
def user(django_user_model: Any) -> Callable[..., Client]:
    """Log a new user in; further arguments are permissions."""

    def make(*permissions: str, csrf: bool = False, **fields: Any) -> Client:
        made = django_user_model.objects.create_user(f"user-{django_user_model.objects.count()}", **fields)
        made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=csrf)
        client.force_login(made)
        return client

    return make


def answers(client: Client, **headers: str) -> dict[str, int]:
    """The status that each route answers."""
    found = {}
    for name in sorted(served()):
        method, path, _, body, _ = ROUTES[name]
        text = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        found[name] = getattr(client, method)(f"/cfg/tasks/{path}", **text, headers=headers).status_code
    return found


def test_every_route_is_looked_at() -> None:
    assert served() <= set(ROUTES)
    assert {name for name in ROUTES if not name.startswith("log-")} <= served()


def test_the_anonymous() -> None:
    assert set(answers(Client()).values()) <= {401, 403}


def test_a_plain_user_even_with_permissions(user: Callable[..., Client]) -> None:
    assert set(answers(user()).values()) == {403}
    assert set(answers(user(VIEW, RETRY, CANCEL, RUN, MANAGE)).values()) == {403}


def test_staff_without_a_permission(user: Callable[..., Client]) -> None:
    assert set(answers(user(is_staff=True)).values()) == {403}


@pytest.mark.parametrize("permission", [VIEW, RETRY, CANCEL, RUN, MANAGE])
def test_staff_with_one_permission_gets_in_where_it_is_asked_for(user: Callable[..., Client], permission: str) -> None:
    found = answers(user(permission, is_staff=True))
    expected = {name: ROUTES[name][4] if ROUTES[name][2] == permission else 403 for name in found}
    assert found == expected | {"log-bulk": 403}  # which asks for two


@pytest.mark.parametrize(("action", "permission"), [("retry", RETRY), ("cancel", CANCEL)])
def test_in_bulk_one_may_do_what_one_may_do_one_by_one(
    user: Callable[..., Client], action: str, permission: str
) -> None:
    body = json.dumps({"action": action, "filter": {"status": "failed"}})
    for permissions, status in (((VIEW,), 403), ((permission,), 403), ((VIEW, permission), 202)):
        client = user(*permissions, is_staff=True)
        answer = client.post("/cfg/tasks/logs/bulk/", body, content_type="application/json")
        assert answer.status_code == status


def test_a_superuser(user: Callable[..., Client]) -> None:
    found = answers(user(is_staff=True, is_superuser=True))
    assert found == {name: ROUTES[name][4] for name in found}


def test_a_session_needs_its_csrf_token_to_act(user: Callable[..., Client]) -> None:
    client = user(is_staff=True, is_superuser=True, csrf=True)
    found = answers(client)
    assert {found[name] for name in found if ROUTES[name][0] == "post"} == {403}
    assert found["worker-list"] == 200
    client.cookies["csrftoken"] = "a" * 32
    found = answers(client, **{"X-CSRFToken": "a" * 32})
    assert found == {name: ROUTES[name][4] for name in found}


def test_the_project_s_own_defaults_open_nothing(user: Callable[..., Client], settings: Any) -> None:
    settings.REST_FRAMEWORK = {
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_THROTTLE_RATES": {},
        "EXCEPTION_HANDLER": "nowhere.at_all",
        "DEFAULT_PAGINATION_CLASS": None,
    }
    assert set(answers(Client()).values()) <= {401, 403}
    assert set(answers(user(is_staff=True)).values()) == {403}
    found = answers(user(is_staff=True, is_superuser=True))
    assert found == {name: ROUTES[name][4] for name in found}


def test_the_configuration_can_open_it(user: Callable[..., Client], tasks_config: Callable[..., Any]) -> None:
    tasks_config(api_permission_classes=[f"{AllowAny.__module__}.{AllowAny.__qualname__}"])
    found = answers(user())
    assert found == {name: ROUTES[name][4] for name in found}


def test_public_health_says_whether_and_not_what(user: Callable[..., Client], tasks_config: Callable[..., Any]) -> None:
    tasks_config(public_health=True)
    for client in (Client(), user(), user(is_staff=True)):
        answer = client.get("/cfg/tasks/health/")
        assert (answer.status_code, answer.json()) == (503, {"healthy": False})
    assert user(VIEW, is_staff=True).get("/cfg/tasks/health/").json()["checks"]
    assert answers(Client())["worker-list"] in (401, 403)


def test_a_flood_of_requests_without_login_asks_redis_and_sql_once_a_second(
    tasks_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def check() -> HealthReport:
        asked.append(time.monotonic())
        return check_health()

    monkeypatch.setattr(live, "check_health", check)
    tasks_config(public_health=True)
    while len(asked) < 3:
        assert Client().get("/cfg/tasks/health/").status_code == 503
    assert all(later - earlier >= 1 for earlier, later in pairwise(asked))


@pytest.mark.parametrize("route", [name for name in ROUTES if not name.startswith("log-")])
def test_what_nothing_looks_at_is_refused(user: Callable[..., Client], route: str) -> None:
    method, path, _, body, _ = ROUTES[route]
    client = user(is_staff=True, is_superuser=True)
    text = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    answer = getattr(client, method)(f"/cfg/tasks/{path}?verbos=1", **text)
    assert (answer.status_code, list(answer.json())) == (400, ["verbos"])
    if body is not None:
        answer = client.post(f"/cfg/tasks/{path}", json.dumps({"verbos": 1}), content_type="application/json")
        assert (answer.status_code, list(answer.json())) == (400, ["verbos"])


@pytest.mark.parametrize("route", ["worker-list", "queue-list", "task-list", "schedule-list", "health"])
def test_live_state_takes_few_queries(
    user: Callable[..., Client], route: str, django_assert_max_num_queries: Any
) -> None:
    client = user(VIEW, is_staff=True)
    with django_assert_max_num_queries(6):
        client.get(f"/cfg/tasks/{ROUTES[route][1]}")


def test_without_the_extra_metrics_say_what_to_install(
    user: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "django_cfg_tasks.api.exposition", raising=False)
    answer = user(VIEW, is_staff=True).get("/cfg/tasks/metrics")
    assert answer.status_code == 501
    assert "pip install 'django-cfg-tasks[metrics]'" in answer.json()["detail"]
