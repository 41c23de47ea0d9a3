"""What a good order is, and how one is saved. Knows nothing of HTTP, files or tasks.

Two kinds come in: from the web (`WebOrder`, to be paid by card) and from the till (`TillOrder`, paid
already). Whatever is wrong with one is said by `OrderRefused`, in words for the one who sent it.
"""

import secrets
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Self

from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from shop.models import Customer, Order, OrderLine, Product


class OrderRefused(ValueError):
    """The order can't be taken; the message says why."""


def _email(value: str) -> str:
    try:
        validate_email(value)
    except DjangoValidationError as error:
        raise ValueError("not an email address") from error
    return value.lower()


def _no_null(value: str) -> str:
    if "\0" in value:
        raise ValueError("null characters are not allowed")
    return value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_no_null)]


class _Draft(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, data: bytes | dict[str, Any]) -> Self:
        """Return the order that JSON or a dict describes, or raise OrderRefused."""
        try:
            return cls.model_validate_json(data) if isinstance(data, bytes) else cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise OrderRefused(": ".join(filter(None, [where, first["msg"].removeprefix("Value error, ")]))) from error


class Item(_Draft):
    sku: Text
    quantity: int = Field(ge=1, le=99)


class OrderDraft(_Draft):
    customer: Text
    email: Annotated[Text, AfterValidator(_email)]
    items: list[Item] = Field(min_length=1, max_length=50)


class WebOrder(OrderDraft):
    card: Annotated[str, StringConstraints(pattern=r"^tok_[a-z_]{1,36}$")]


class TillOrder(OrderDraft):
    number: Annotated[str, StringConstraints(pattern=r"^T-\d{1,10}$")]
    placed_at: AwareDatetime


def place(draft: WebOrder) -> Order:
    """Save an order from the web, not yet paid. OrderRefused if it names a product that we don't sell."""
    with transaction.atomic():
        products = find_products([draft])
        lines = order_lines(draft, products)
        customer, _ = Customer.objects.get_or_create(email=draft.email, defaults={"name": draft.customer})
        order = Order.objects.create(
            # Random, because whoever knows the number may look at the order's state.
            number=f"W-{secrets.token_hex(5).upper()}",
            customer=customer,
            placed_at=timezone.now(),
            card=draft.card,
            total=total(lines),
        )
        for line in lines:
            line.order = order
        OrderLine.objects.bulk_create(lines)
    return order


def save_missing(drafts: Sequence[TillOrder]) -> list[Order]:
    """Save those orders from the till that are not there yet, and return these; a second call returns none.

    Call it in a transaction, with orders whose products exist. If two transactions save the same number at
    once, the second one fails with IntegrityError and has to be repeated: then it finds the order.
    """
    wanted = {draft.number: draft for draft in drafts}
    for number in Order.objects.filter(number__in=wanted).values_list("number", flat=True):
        del wanted[number]

    # Sorted: two transactions that lock the same customers then can't wait for each other.
    names = {draft.email: draft.customer for draft in wanted.values()}
    Customer.objects.bulk_create(
        [Customer(email=email, name=names[email]) for email in sorted(names)], ignore_conflicts=True
    )
    customers = Customer.objects.in_bulk(names, field_name="email")

    products = find_products(wanted.values())
    orders, all_lines = [], []
    for draft in wanted.values():
        lines = order_lines(draft, products)
        order = Order(
            number=draft.number,
            customer=customers[draft.email],
            placed_at=draft.placed_at,
            status=Order.Status.PAID,
            total=total(lines),
        )
        for line in lines:
            line.order = order
        orders.append(order)
        all_lines += lines
    Order.objects.bulk_create(orders)
    OrderLine.objects.bulk_create(all_lines)
    return orders


def find_products(drafts: Iterable[OrderDraft]) -> dict[str, Product]:
    """Return the products that the drafts name, by article number, as far as we sell them."""
    skus = {item.sku for draft in drafts for item in draft.items}
    return Product.objects.in_bulk(skus, field_name="sku")


def order_lines(draft: OrderDraft, products: dict[str, Product]) -> list[OrderLine]:
    """Return the draft's lines at today's prices, not saved. OrderRefused if `products` lacks one."""
    lines = []
    for item in draft.items:
        product = products.get(item.sku)
        if product is None:
            raise OrderRefused(f"unknown product {item.sku}")
        lines.append(OrderLine(product=product, quantity=item.quantity, unit_price=product.price))
    return lines


def total(lines: Sequence[OrderLine]) -> Decimal:
    return sum((line.amount for line in lines), Decimal())
