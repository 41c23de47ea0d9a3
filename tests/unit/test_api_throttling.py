"""How often one user may ask: by our own setting, whatever the project's say, and never an error of its own."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import RequestFactory
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_cfg_tasks.api.throttling import AggregateThrottle


class Costly(APIView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (AggregateThrottle,)
    throttle_scope = "costly"

    def get(self, request: Request) -> Response:
        return Response()


@pytest.fixture(autouse=True)
def _empty_cache(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "throttle"}}
    cache.clear()


def answers(times: int, view: type[APIView] = Costly) -> list[int]:
    return [view.as_view()(RequestFactory().get("/")).status_code for _ in range(times)]


def test_the_rate_is_ours_and_each_scope_has_its_own(settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"api_aggregate_rate": "2/h"}
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {}}
    assert answers(3) == [200, 200, 429]
    assert answers(1, type("Other", (Costly,), {"throttle_scope": "other"})) == [200]


def test_there_may_be_no_rate(settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"api_aggregate_rate": None}
    assert answers(200) == [200] * 200


def test_a_cache_that_is_away_lets_all_through(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",  # nobody listens there
        }
    }
    settings.DJANGO_CFG_TASKS = {"api_aggregate_rate": "1/d"}
    assert answers(2) == [200, 200]
    assert "can't be counted" in caplog.text
