"""What the shop remembers. Rules about orders are in `orders.py`; nothing here knows of tasks."""

from django.db import models
from django.utils import timezone


class Customer(models.Model):
    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    sku = models.CharField("article number", max_length=30, unique=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    class Status(models.TextChoices):
        NEW = "new", "waiting for payment"
        PAID = "paid", "paid"
        DECLINED = "declined", "card declined"

    number = models.CharField(max_length=20, unique=True)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="orders")
    placed_at = models.DateTimeField(default=timezone.now, db_index=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    card = models.CharField("card token", max_length=40, blank=True, help_text="Given by the payment provider.")
    total = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT, related_name="+")
    quantity = models.PositiveSmallIntegerField()
    unit_price = models.DecimalField(max_digits=8, decimal_places=2)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"

    @property
    def amount(self):
        return self.quantity * self.unit_price


class Invoice(models.Model):
    """Exists once the invoice's file is complete; `receipt_sent_at` is set once the customer was mailed."""

    order = models.OneToOneField(Order, models.PROTECT, related_name="invoice")
    file = models.FileField()
    written_at = models.DateTimeField(default=timezone.now)
    receipt_sent_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.file.name


class Cart(models.Model):
    """What a visitor has put aside. Deleted by a cron task when nobody touched it for a while."""

    session_key = models.CharField(max_length=40, unique=True)
    items = models.JSONField(default=dict, help_text="Quantity by article number.")
    touched_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.session_key
