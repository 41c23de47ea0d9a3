from django.contrib import admin

from shop.models import Cart, Customer, Invoice, Order, OrderLine, Product


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    autocomplete_fields = ["product"]
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["number", "customer", "total", "status", "placed_at"]
    list_filter = ["status"]
    list_select_related = ["customer"]
    search_fields = ["number", "customer__name", "customer__email"]
    date_hierarchy = "placed_at"
    autocomplete_fields = ["customer"]
    inlines = [OrderLineInline]


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ["name", "email"]
    search_fields = ["name", "email"]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "price"]
    search_fields = ["sku", "name"]


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):
    list_display = ["file", "order", "written_at", "receipt_sent_at"]
    list_select_related = ["order"]
    search_fields = ["order__number"]
    raw_id_fields = ["order"]


@admin.register(Cart)
class CartAdmin(admin.ModelAdmin):
    list_display = ["session_key", "touched_at"]
