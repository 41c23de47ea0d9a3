"""Writes invoices, as HTML files that print on a sheet of A4."""

from pathlib import Path

from django.conf import settings
from django.template.loader import render_to_string

from shop.files import write_whole
from shop.models import Order


def write(order: Order) -> str:
    """Write the order's invoice and return its path below MEDIA_ROOT. A second call replaces the file."""
    name = f"invoices/{order.placed_at:%Y/%m}/{order.number}.html"
    context = {"order": order, "lines": order.lines.select_related("product")}
    write_whole(Path(settings.MEDIA_ROOT) / name, render_to_string("shop/invoice.html", context))
    return name
