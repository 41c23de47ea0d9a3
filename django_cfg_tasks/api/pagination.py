"""How a long list is given out in pages."""

from __future__ import annotations

from rest_framework.pagination import PageNumberPagination


class LogPagination(PageNumberPagination):
    """Numbered pages of 50, or of ``page_size`` up to 200."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
