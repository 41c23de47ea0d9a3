"""Who may use the API."""

from __future__ import annotations

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


class IsStaff(BasePermission):
    """Active members of staff."""

    message = "Only staff may see this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Tell whether the user is active staff; a user model without ``is_staff`` has none."""
        user = request.user
        return bool(user is not None and user.is_active and getattr(user, "is_staff", False))
