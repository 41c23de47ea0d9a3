"""Fixtures of the tests of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from django_cfg_tasks import get_rearq_client


@pytest.fixture
def staff(client: Client, django_user_model: Any) -> Iterator[Client]:
    """A client that is logged in and may do everything; connections that its requests opened are closed after."""
    client.force_login(django_user_model.objects.create_superuser("staff", password="pw"))
    yield client
    get_rearq_client().close()
