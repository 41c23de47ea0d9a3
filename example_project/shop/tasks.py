"""The shop's jobs. Each is short: what it does is in the module that it calls, here is how and when it runs.

    import_orders ─┐
                   ├─► write_invoice ─► send_receipt
    charge_card  ──┘

Any of them may run twice, because a worker can die after the work and before its job was ticked off. So each
looks at what is there before it acts. And each saves its result and the jobs that follow from it in one
transaction: either both are there or neither, so the next run neither forgets nor doubles a job.
"""

from datetime import date, timedelta

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from django_cfg_tasks import Retry, cron_task, task
from pydantic import BaseModel

from shop import gateway, invoices, orders, receipts, reports, till
from shop.models import Cart, Invoice, Order

CART_LIFETIME = timedelta(days=14)


class ImportReport(BaseModel):
    imported: int
    known: int
    rejected: list[till.RejectedLine]


@task(queue="imports")
def import_orders(path: str, first_line: int, last_line: int) -> ImportReport:
    """Import some lines of a file of the till, and have the invoices of the new orders written."""
    chunk = till.read(path, first_line, last_line)
    with transaction.atomic():
        new = orders.save_missing(chunk.orders)
        write_invoice.enqueue_many([(order.number,) for order in new])
    return ImportReport(imported=len(new), known=len(chunk.orders) - len(new), rejected=chunk.rejected)


@task(bind=True, queue="payments", job_retry=3, job_retry_after=1)
async def charge_card(ctx, order_number: str) -> dict[str, object]:
    """Charge the customer's card.

    A busy provider says when to come back: `Retry`. Any other error of it is simply raised: the job is run
    again after `job_retry_after`, and fails for good when its retries are used up.
    """
    order = await Order.objects.aget(number=order_number)
    if order.status != Order.Status.NEW:
        return {"status": order.status, "charged": False}
    try:
        charge = await gateway.charge(order.card, order.total, key=order.number, attempt=ctx.job_retries + 1)
    except gateway.GatewayBusy as busy:
        raise Retry(str(busy), countdown=busy.retry_after) from busy
    # Transactions are for sync code in Django.
    status = await sync_to_async(_close_payment)(order_number, charge)
    return {"status": status, "charged": charge.paid, "reason": charge.reason}


def _close_payment(order_number: str, charge: gateway.Charge) -> str:
    with transaction.atomic():
        order = Order.objects.select_for_update().get(number=order_number)
        if order.status == Order.Status.NEW:
            order.status = Order.Status.PAID if charge.paid else Order.Status.DECLINED
            order.save(update_fields=["status"])
            if charge.paid:
                write_invoice.enqueue(order_number)
    return order.status


@task(queue="invoices")
def write_invoice(order_number: str) -> str:
    """Write the invoice of a paid order, and have it mailed."""
    order = Order.objects.select_related("customer").get(number=order_number)
    file = invoices.write(order)
    with transaction.atomic():
        _, created = Invoice.objects.get_or_create(order=order, defaults={"file": file})
        if created:
            send_receipt.enqueue(order_number)
    return file


@task(queue="mail")
async def send_receipt(order_number: str) -> bool:
    """Mail the invoice, unless it was mailed; returns whether it was mailed now."""
    invoice = await Invoice.objects.select_related("order__customer").aget(order__number=order_number)
    if invoice.receipt_sent_at:
        return False
    # If the worker dies between these two, the customer gets a second mail. The other order could mean none.
    await sync_to_async(receipts.send)(invoice)
    await Invoice.objects.filter(pk=invoice.pk).aupdate(receipt_sent_at=timezone.now())
    return True


@task()
def write_daily_summary(day: date) -> str:
    """Write the accountant's file of that day; returns its path."""
    return str(reports.write_daily_summary(day))


@cron_task(cron="*/10 * * * * *")  # every ten seconds, so that the demo can show it; a real shop: "0 4 * * *"
async def clear_old_carts() -> int:
    """Delete the carts that nobody touched for two weeks; returns how many."""
    deleted, _ = await Cart.objects.filter(touched_at__lt=timezone.now() - CART_LIFETIME).adelete()
    return deleted
