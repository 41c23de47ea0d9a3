"""What becomes of an order, through all of its jobs: they run in the test's own process, without Redis and a worker."""

import shutil
import tempfile
from datetime import date
from pathlib import Path
from unittest import mock

from django.core import mail
from django.test import TestCase, override_settings
from django.utils import timezone
from django_cfg_tasks.models import TaskLog
from django_cfg_tasks.testing import (
    TaskTestMixin,
    arun_enqueued,
    assert_enqueued,
    assert_not_enqueued,
    capture_tasks,
    run_enqueued,
)

from data import make_orders
from shop import gateway
from shop.models import Cart, Invoice, Order
from shop.tasks import (
    CART_LIFETIME,
    ImportReport,
    charge_card,
    clear_old_carts,
    import_orders,
    send_receipt,
    write_daily_summary,
    write_invoice,
)
from shop.tests import WEB_ORDER


class JobsTestCase(TaskTestMixin, TestCase):
    fixtures = ["products"]

    def setUp(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        folders = override_settings(MEDIA_ROOT=Path(folder) / "media", SHOP_REPORT_DIR=Path(folder) / "reports")
        folders.enable()
        self.addCleanup(folders.disable)
        fast = mock.patch.object(gateway, "ROUND_TRIP", 0)
        fast.start()
        self.addCleanup(fast.stop)

    def order(self, card="tok_visa", url="/orders/"):
        response = self.client.post(url, WEB_ORDER | {"card": card}, content_type="application/json")
        self.assertEqual(response.status_code, 202, response.content)
        return Order.objects.get(number=response.json()["order"])


class PaymentTest(JobsTestCase):
    def test_a_paid_order_gets_its_invoice_by_mail(self):
        for url in ("/orders/", "/orders/async/"):
            with self.subTest(url):
                order = self.order(url=url)
                run_enqueued()
                order.refresh_from_db()
                self.assertEqual(order.status, Order.Status.PAID)
                self.assertIsNotNone(order.invoice.receipt_sent_at)
                self.assertEqual(mail.outbox[-1].extra_headers["X-Order"], order.number)
        self.assertEqual(TaskLog.objects.successful().count(), 6)

    def test_a_declined_card_is_no_failure(self):
        order = self.order(gateway.DECLINED)
        run_enqueued()
        order.refresh_from_db()
        self.assertEqual(order.status, Order.Status.DECLINED)
        assert_not_enqueued(write_invoice)

    def test_a_busy_provider_is_asked_again(self):
        self.order(gateway.VERY_BUSY)
        run_enqueued()
        row = TaskLog.objects.get(task_name="charge_card")
        self.assertEqual((row.status, row.job_retries, len(row.attempts)), ("success", 2, 3))
        self.assertEqual(row.result, {"status": "paid", "charged": True, "reason": ""})

    def test_an_error_that_stays_fails_the_job(self):
        order = self.order(gateway.BROKEN)
        with self.assertRaisesRegex(AssertionError, f"GatewayError: internal error .* for {order.number}"):
            run_enqueued()
        order.refresh_from_db()
        self.assertEqual(order.status, Order.Status.NEW)
        self.assertEqual(len(TaskLog.objects.failed().get().attempts), 4)

    def test_to_run_a_job_twice_charges_and_mails_once(self):
        order = self.order()
        run_enqueued()
        charge_card.enqueue(order.number)
        write_invoice.enqueue(order.number)
        self.assertIs(send_receipt.enqueue(order.number).wait().result, False)
        run_enqueued()
        self.assertEqual((Invoice.objects.count(), len(mail.outbox)), (1, 1))


class WhatIsEnqueuedTest(JobsTestCase):
    tasks_backend = "memory"

    def test_an_order_and_its_job_are_saved_together(self):
        with capture_tasks() as enqueued:
            order = self.order()
        self.assertEqual([(job.task, job.args) for job in enqueued], [(charge_card, [order.number])])
        self.assertEqual(enqueued[0].queue, "payments")

    async def test_the_same_from_an_async_view(self):
        response = await self.async_client.post("/orders/async/", WEB_ORDER, content_type="application/json")
        assert_enqueued(charge_card, response.json()["order"])
        ran = await arun_enqueued()
        self.assertEqual([job.task for job in ran], ["charge_card", "write_invoice", "send_receipt"])


class TillTest(JobsTestCase):
    def test_lines_are_imported_once(self):
        first = import_orders.enqueue("orders.csv", 2, 60).wait().result
        self.assertIsInstance(first, ImportReport)
        self.assertEqual((first.known, first.imported + len(first.rejected)), (0, 59))
        run_enqueued()
        again = import_orders.enqueue("orders.csv", 2, 60).wait().result
        self.assertEqual((again.known, again.imported), (first.imported, 0))
        self.assertEqual(Invoice.objects.filter(receipt_sent_at__isnull=False).count(), first.imported)
        self.assertLess(first.imported, len(make_orders.good_numbers()))

    def test_a_file_that_is_not_there(self):
        import_orders.using(job_retry=0).enqueue("no_such.csv", 2, 3)
        self.assertEqual(TaskLog.objects.get().error_class, "FileNotFoundError")


class ByTheClockTest(JobsTestCase):
    def test_the_summary_waits_for_the_evening(self):
        self.order()
        job = write_daily_summary.using(countdown=6 * 3600).enqueue(timezone.now().date())
        run_enqueued()
        self.assertEqual(job.refresh().status, "deferred")
        run_enqueued(until=12 * 3600)
        self.assertIn("TEA-EARL-100", Path(job.wait().result).read_text())
        self.assertIsInstance(assert_enqueued(write_daily_summary).args[0], date)

    def test_old_carts_go(self):
        now = timezone.now()
        for name, age in (("old", CART_LIFETIME * 2), ("new", CART_LIFETIME / 2)):
            Cart.objects.create(session_key=name, touched_at=now - age)
        self.assertEqual(clear_old_carts.enqueue().wait().result, 1)
        self.assertEqual(Cart.objects.get().session_key, "new")
