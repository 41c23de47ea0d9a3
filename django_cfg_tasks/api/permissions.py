"""Who may use the API: by default staff with the model permission that an endpoint asks for.

Other rooms of the API name a permission with `required_permission`; who has it is decided here, or by the classes
that ``TaskConfig(api_permission_classes=[...])`` names instead.
"""

from __future__ import annotations

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from django_cfg_tasks.acts.permissions import VIEW


class IsStaff(BasePermission):
    """Active members of staff."""

    message = "Only staff may use this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Tell whether the user is active staff; a user model without ``is_staff`` has none."""
        user = request.user
        return bool(user is not None and user.is_active and getattr(user, "is_staff", False))


class IsPermittedStaff(IsStaff):
    """Active members of staff who have the model permission that the endpoint asks for; superusers have all."""

    message = "Only staff with the permission for it may use this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Tell whether the user is active staff and has the view's ``required_permission``, by default to view."""
        wanted: str = getattr(view, "required_permission", VIEW)
        return super().has_permission(request, view) and bool(request.user.has_perm(wanted))
