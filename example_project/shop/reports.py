"""Writes what was sold on a day, as a CSV file for the accountant."""

import csv
import io
from datetime import date
from pathlib import Path

from django.conf import settings
from django.db.models import F, Sum

from shop.files import write_whole
from shop.models import Order, OrderLine


def write_daily_summary(day: date) -> Path:
    """Write and return `<day>.csv`: one row per product that was sold and paid. Replaces an earlier one."""
    sales = (
        OrderLine.objects.filter(order__placed_at__date=day, order__status=Order.Status.PAID)
        .values("product__sku", "product__name")
        .annotate(pieces=Sum("quantity"), amount=Sum(F("quantity") * F("unit_price")))
        .order_by("product__sku")
    )
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["article", "name", "pieces", "EUR"])
    for sale in sales:
        rows.writerow([sale["product__sku"], sale["product__name"], sale["pieces"], f"{sale['amount']:.2f}"])
    path = Path(settings.SHOP_REPORT_DIR) / f"{day.isoformat()}.csv"
    write_whole(path, text.getvalue())
    return path
