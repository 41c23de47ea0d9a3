"""Fixtures of the tests of the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client


@pytest.fixture
def staff(client: Client, django_user_model: Any) -> Client:
    """A client that is logged in and may do everything."""
    client.force_login(django_user_model.objects.create_superuser("staff", password="pw"))
    return client
