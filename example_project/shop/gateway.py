"""Stands in for a payment provider. Like the real ones, it has test cards that behave as they are told to.

It never charges an order twice, however often it is asked: the order's number is the idempotency key.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

# Test cards. Any other card is good.
BUSY = "tok_busy"
VERY_BUSY = "tok_very_busy"
DECLINED = "tok_declined"
BROKEN = "tok_broken"

BUSY_TIMES = {BUSY: 1, VERY_BUSY: 2}  # before the provider answers

ROUND_TRIP = 0.05  # seconds


class GatewayBusy(Exception):
    """Too many requests; try again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the payment provider is busy, try again after {retry_after} s")
        self.retry_after = retry_after


class GatewayError(Exception):
    """The provider could not process the request, and nobody knows why."""


@dataclass(frozen=True)
class Charge:
    paid: bool
    reason: str = ""


async def charge(card: str, amount: Decimal, *, key: str, attempt: int) -> Charge:
    """Charge the card, or say why not. A declined card is an answer, no error: asking again won't help."""
    await asyncio.sleep(ROUND_TRIP)
    if attempt <= BUSY_TIMES.get(card, 0):
        raise GatewayBusy(retry_after=1)
    if card == BROKEN:
        raise GatewayError(f"internal error of the payment provider while charging {amount} EUR for {key}")
    if card == DECLINED:
        return Charge(paid=False, reason="card declined")
    return Charge(paid=True)
