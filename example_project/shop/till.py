"""Reads the till's export: a CSV file with one order per line, some of them wrong."""

import csv
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from django.conf import settings
from pydantic import BaseModel

from shop.orders import OrderRefused, TillOrder, find_products, order_lines

FIELDS = ["order_number", "placed_at", "customer", "email", "items"]


class RejectedLine(BaseModel):
    line: int
    order: str
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Some lines of the file: the orders that can be saved, and what is wrong with the others."""

    orders: list[TillOrder]
    rejected: list[RejectedLine]


def read(path: str, first_line: int, last_line: int) -> Chunk:
    """Read lines `first_line` to `last_line` (the header is line 1) of a file below SHOP_IMPORT_DIR.

    A wrong line is rejected and hinders no other. Raises ValueError for a file outside of that folder or of
    another format: there a person has to look.
    """
    if not 2 <= first_line <= last_line:
        raise ValueError(f"no such lines: {first_line} to {last_line} (orders begin in line 2)")
    with locate(path).open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file), [])
        if header != FIELDS:
            raise ValueError(f"{path} has the columns {header}, not {FIELDS}")
        rows = list(islice(csv.reader(file), first_line - 2, last_line - 1))

    drafts: list[tuple[int, TillOrder]] = []
    rejected = []
    for line, row in enumerate(rows, first_line):
        try:
            drafts.append((line, parse(row)))
        except OrderRefused as reason:
            rejected.append(RejectedLine(line=line, order=row[0] if row else "", reason=str(reason)))

    products = find_products(draft for _, draft in drafts)
    good = []
    for line, draft in drafts:
        try:
            order_lines(draft, products)
        except OrderRefused as reason:
            rejected.append(RejectedLine(line=line, order=draft.number, reason=str(reason)))
        else:
            good.append(draft)
    return Chunk(good, sorted(rejected, key=lambda rejection: rejection.line))


def locate(path: str) -> Path:
    """Return where the file is. A path from a queue is data: it must not lead out of the import folder."""
    folder = Path(settings.SHOP_IMPORT_DIR).resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(f"{path} is outside of the import folder")
    return file


def parse(row: list[str]) -> TillOrder:
    """Return the order of one row; OrderRefused says what is wrong with it."""
    if len(row) != len(FIELDS):
        raise OrderRefused(f"{len(row)} columns instead of {len(FIELDS)}")
    number, placed_at, customer, email, items = row
    return TillOrder.parse(
        {
            "number": number,
            "placed_at": placed_at,
            "customer": customer,
            "email": email,
            "items": [dict(zip(["sku", "quantity"], item.partition("*")[::2], strict=True)) for item in items.split()],
        }
    )
