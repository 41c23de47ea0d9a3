"""Two ways to place an order (a sync and an async view), its state, its invoice, and a page of figures."""

from pathlib import Path

from asgiref.sync import sync_to_async
from django.contrib.admin.views.decorators import staff_member_required
from django.db import transaction
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from django_cfg_tasks.models import TaskLog

from shop.models import Invoice, Order
from shop.orders import OrderRefused, WebOrder, place
from shop.tasks import charge_card

STATUSES = ["queued", "deferred", "in_progress", "success", "failed", "expired", "canceled"]


@csrf_exempt  # for programs: no cookie says who is asking, so there is none to abuse
@require_POST
def take_order(request: HttpRequest) -> JsonResponse:
    """Take an order as JSON: 202 with its number and the id of the job that charges the card, or 400 and why.

    Order and job are saved in one transaction: no order without its job, and no job without its order.
    """
    try:
        draft = WebOrder.parse(request.body)
        with transaction.atomic():
            order = place(draft)
            job = charge_card.enqueue(order.number)
    except OrderRefused as reason:
        return refused(reason)
    return accepted(order, job.job_id)


@csrf_exempt
@require_POST
async def take_order_async(request: HttpRequest) -> JsonResponse:
    """The same as an async view.

    Django has no async transactions, so the order is saved first and its job next. If the server dies between
    the two, an unpaid order remains; where that matters, do as `take_order` does.
    """
    try:
        order = await sync_to_async(place)(WebOrder.parse(request.body))
    except OrderRefused as reason:
        return refused(reason)
    job = await charge_card.delay(order.number)
    return accepted(order, job.job_id)


def accepted(order: Order, job_id: str) -> JsonResponse:
    url = reverse("order", args=[order.number])
    return JsonResponse({"order": order.number, "job_id": job_id, "url": url}, status=202, headers={"Location": url})


def refused(reason: OrderRefused) -> JsonResponse:
    return JsonResponse({"error": str(reason)}, status=400)


@require_GET
def order_state(request: HttpRequest, number: str) -> JsonResponse:
    """Say how far an order is. Names no person, because who knows the number may ask."""
    order = get_object_or_404(Order.objects.select_related("invoice"), number=number)
    invoice = getattr(order, "invoice", None)
    return JsonResponse(
        {
            "order": order.number,
            "placed_at": order.placed_at,
            "status": order.status,
            "total": order.total,
            "invoice_written_at": invoice and invoice.written_at,
            "receipt_sent_at": invoice and invoice.receipt_sent_at,
        }
    )


@staff_member_required
@require_GET
def invoice(request: HttpRequest, number: str) -> HttpResponse:
    """Show an invoice's file."""
    found = get_object_or_404(Invoice, order__number=number)
    return HttpResponse(Path(found.file.path).read_bytes(), content_type="text/html; charset=utf-8")


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Show what is going on, anew every two seconds."""
    jobs = dict(TaskLog.objects.order_by().values_list("status").annotate(Count("id")))
    return render(
        request,
        "shop/home.html",
        {
            "figures": {
                "orders": Order.objects.count(),
                "invoices": Invoice.objects.count(),
                "receipts mailed": Invoice.objects.filter(receipt_sent_at__isnull=False).count(),
            },
            "jobs": {status: jobs[status] for status in STATUSES if status in jobs},
            "latest": Order.objects.order_by("-id")[:8],
        },
    )
