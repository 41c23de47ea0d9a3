"""What can be said of the shop without a worker: `python manage.py test` in the folder of manage.py."""

import asyncio
import csv
import json
import shutil
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from unittest import mock

from django.core import mail
from django.test import TestCase, override_settings
from django.utils import timezone
from django_cfg_tasks.exceptions import TasksDisabledError
from django_cfg_tasks.testing import TaskTestMixin, assert_enqueued, assert_not_enqueued

from data import make_orders
from shop import gateway, invoices, receipts, reports, till
from shop.models import Invoice, Order
from shop.orders import OrderRefused, TillOrder, WebOrder, place, save_missing
from shop.tasks import charge_card

WEB_ORDER = {
    "customer": "Ada Adler",
    "email": "Ada.Adler@example.com",
    "items": [{"sku": "TEA-EARL-100", "quantity": 2}, {"sku": "CUP-GAIWAN", "quantity": 1}],
    "card": "tok_visa",
}
WEB_MISTAKES = {
    "quantity": {"items": [{"sku": "TEA-EARL-100", "quantity": 0}]},
    "greater": {"items": [{"sku": "TEA-EARL-100", "quantity": -1}]},
    "less": {"items": [{"sku": "TEA-EARL-100", "quantity": 100}]},
    "items": {"items": []},
    "unknown product TEA-UNICORN-100": {"items": [{"sku": "TEA-UNICORN-100", "quantity": 1}]},
    "not an email address": {"email": "ada.example.com"},
    "null characters": {"customer": "A\0da"},
    "card": {"card": "4111 1111 1111 1111"},
    "discount": {"discount": 100},
}


class ShopTestCase(TestCase):
    fixtures = ["products"]

    def setUp(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.folder = Path(folder)
        folders = override_settings(MEDIA_ROOT=self.folder / "media", SHOP_REPORT_DIR=self.folder / "reports")
        folders.enable()
        self.addCleanup(folders.disable)


class OrdersTest(ShopTestCase):
    def test_web_order_is_saved_with_todays_prices(self):
        order = place(WebOrder.parse(WEB_ORDER))
        self.assertEqual(order.total, Decimal("35.40"))
        self.assertEqual(order.status, Order.Status.NEW)
        self.assertEqual(order.customer.email, "ada.adler@example.com")
        self.assertEqual([line.quantity for line in order.lines.order_by("id")], [2, 1])

    def test_a_customer_who_comes_again_is_known(self):
        first, second = place(WebOrder.parse(WEB_ORDER)), place(WebOrder.parse(WEB_ORDER))
        self.assertEqual(first.customer, second.customer)
        self.assertNotEqual(first.number, second.number)

    def test_wrong_web_orders_are_refused_with_a_reason(self):
        for reason, change in WEB_MISTAKES.items():
            with self.subTest(reason), self.assertRaisesRegex(OrderRefused, reason):
                place(WebOrder.parse(WEB_ORDER | change))
        self.assertFalse(Order.objects.exists())

    def test_till_orders_are_saved_once(self):
        draft = TillOrder.parse(
            {name: WEB_ORDER[name] for name in ("customer", "email", "items")}
            | {"number": "T-1", "placed_at": "2025-03-03T08:00:00+00:00"}
        )
        self.assertEqual([order.number for order in save_missing([draft, draft])], ["T-1"])
        self.assertEqual(save_missing([draft]), [])
        order = Order.objects.get()
        self.assertEqual((order.status, order.total), (Order.Status.PAID, Decimal("35.40")))
        self.assertEqual(order.lines.count(), 2)


class TillTest(ShopTestCase):
    def test_the_file_in_the_repository_is_what_its_script_writes(self):
        make_orders.write(self.folder / "orders.csv")
        committed = make_orders.FOLDER / "orders.csv"
        self.assertEqual((self.folder / "orders.csv").read_bytes(), committed.read_bytes())

    def test_only_the_defective_lines_are_rejected(self):
        chunk = till.read("orders.csv", 2, make_orders.ROWS + 1)
        rejected = {line.order: line.reason for line in chunk.rejected}
        self.assertEqual(rejected.keys(), make_orders.DEFECTS.keys())
        self.assertTrue(all(rejected.values()))
        self.assertEqual({order.number for order in chunk.orders}, make_orders.good_numbers())
        self.assertEqual(len(chunk.orders), make_orders.ROWS - len(make_orders.DEFECTS))

    def test_chunks_are_lines_of_the_file_both_ends_included(self):
        numbers = [order.number for order in till.read("orders.csv", 2, 4).orders]
        self.assertEqual(numbers, ["T-20001", "T-20002", "T-20003"])
        line = next(iter(till.read("orders.csv", 100, 130).rejected))
        with (make_orders.FOLDER / "orders.csv").open() as file:
            self.assertEqual(list(csv.reader(file))[line.line - 1][0], line.order)

    def test_other_files_are_refused(self):
        with self.assertRaisesRegex(ValueError, "outside"):
            till.read("../project/settings.py", 2, 3)
        with self.assertRaisesRegex(ValueError, "columns"):
            till.read("make_orders.py", 2, 3)
        with self.assertRaisesRegex(ValueError, "no such lines"):
            till.read("orders.csv", 0, 3)


class PapersTest(ShopTestCase):
    def setUp(self):
        super().setUp()
        self.order = place(WebOrder.parse(WEB_ORDER | {"customer": "Ada <Adler>"}))
        Order.objects.update(status=Order.Status.PAID)

    def test_invoice_is_written_whole_and_again(self):
        names = {invoices.write(self.order), invoices.write(self.order)}
        [file] = [path for path in (self.folder / "media").rglob("*") if path.is_file()]
        self.assertEqual(names, {str(file.relative_to(self.folder / "media"))})
        text = file.read_text(encoding="utf-8")
        for part in (self.order.number, "Ada &lt;Adler&gt;", "Gaiwan, porcelain", "14.40", "35.40"):
            self.assertIn(part, text)

    def test_receipt_has_the_invoice(self):
        receipts.send(Invoice(order=self.order, file=invoices.write(self.order)))
        [message] = mail.outbox
        self.assertEqual(message.to, ["ada.adler@example.com"])
        self.assertEqual(message.extra_headers["X-Order"], self.order.number)
        self.assertIn(self.order.number, message.attachments[0][1])

    def test_daily_summary(self):
        path = reports.write_daily_summary(timezone.now().date())
        with path.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        self.assertEqual([row[0] for row in rows], ["CUP-GAIWAN", "TEA-EARL-100"])
        self.assertEqual([row[2:] for row in rows], [["1", "21.00"], ["2", "14.40"]])
        self.assertEqual(reports.write_daily_summary(date(2020, 1, 1)).read_text().count("\n"), 1)


class GatewayTest(TestCase):
    def charge(self, card, attempt=1):
        with mock.patch.object(gateway, "ROUND_TRIP", 0):
            return asyncio.run(gateway.charge(card, Decimal(1), key="W-1", attempt=attempt))

    def test_cards(self):
        self.assertTrue(self.charge("tok_visa").paid)
        self.assertEqual(self.charge(gateway.DECLINED).reason, "card declined")
        with self.assertRaises(gateway.GatewayError):
            self.charge(gateway.BROKEN, attempt=9)

    def test_busy_for_a_while(self):
        for attempt in (1, 2):
            with self.assertRaises(gateway.GatewayBusy):
                self.charge("tok_very_busy", attempt)
        self.assertTrue(self.charge("tok_very_busy", 3).paid)


class ViewsTest(TaskTestMixin, ShopTestCase):
    # What becomes of an order is in test_jobs.py: here it matters what is asked of the queue.
    tasks_backend = "memory"

    def post(self, url, body):
        return self.client.post(url, body, content_type="application/json")

    def test_both_views_take_an_order(self):
        for url in ("/orders/", "/orders/async/"):
            with self.subTest(url):
                response = self.post(url, WEB_ORDER)
                self.assertEqual(response.status_code, 202, response.content)
                number = response.json()["order"]
                self.assertEqual(response.json()["job_id"], assert_enqueued(charge_card, number).job.job_id)
                self.assertEqual(self.client.get(response["Location"]).json()["status"], "new")

    def test_wrong_orders_get_400_and_a_reason(self):
        bodies = [
            "{",
            "[]",
            "null",
            "",
            *(json.dumps(WEB_ORDER | change) for change in WEB_MISTAKES.values()),
        ]
        for url in ("/orders/", "/orders/async/"):
            for body in bodies:
                with self.subTest(url=url, body=body):
                    response = self.post(url, body)
                    self.assertEqual(response.status_code, 400)
                    self.assertTrue(response.json()["error"])
        self.assertFalse(Order.objects.exists())
        assert_not_enqueued(charge_card)

    def test_an_order_whose_job_is_not_accepted_is_not_saved(self):
        with override_settings(DJANGO_CFG_TASKS={"enabled": False}), self.assertRaises(TasksDisabledError):
            self.post("/orders/", WEB_ORDER)
        self.assertFalse(Order.objects.exists())

    def test_state_of_an_unknown_order(self):
        self.assertEqual(self.client.get("/orders/W-0/").status_code, 404)

    def test_invoices_are_for_the_staff(self):
        self.assertEqual(self.client.get("/orders/W-0/invoice/").status_code, 302)

    def test_home_page(self):
        place(WebOrder.parse(WEB_ORDER))
        self.assertContains(self.client.get("/"), "<dt>orders</dt><dd>1</dd>", html=True)
